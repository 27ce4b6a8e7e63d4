"""The fused layer computes what Keras's own computes, with the same weights."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.models import wide_resnet
from rlfat_tf.models.batch_norm import FirstBatchNormalization, FusedBatchNormalization

IMAGES = np.random.default_rng(0).normal(1, 2, (6, 5, 4, 3)).astype(np.float32)


def layer(kind, dtype="float32", **arguments):
    made = kind(momentum=0.9, epsilon=0.01, dtype=dtype, **arguments)
    made.build(IMAGES.shape)
    rng = np.random.default_rng(1)
    made.set_weights([rng.uniform(0.5, 1.5, 3) for _ in made.weights])
    return made


def outcome(made, training, inputs=IMAGES):
    images = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = made(images, training=training)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 3)
    variables = made.trainable_variables
    return [outputs, *tape.gradient(loss, [images, *variables]), *made.get_weights()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "arguments", [{}, {"scale": False}, {"center": False}, {"trainable": False}], ids=str
)
def test_values_gradients_and_moving_statistics_are_keras_own(training, arguments):
    own, ours = (
        outcome(layer(kind, **arguments), training)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    )
    if not compat.KERAS_3:  # which keeps the unbiased variance of a batch; the next test has ours
        own, ours = own[:-1], ours[:-1]
    for expected, found in zip(own, ours):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-4)


def test_against_the_equation():
    made = layer(FusedBatchNormalization)
    gamma, beta, moving_mean, moving_variance = (w.astype(np.float64) for w in made.get_weights())
    mean, variance = IMAGES.mean((0, 1, 2)), IMAGES.var((0, 1, 2))
    expected = (IMAGES - moving_mean) / np.sqrt(moving_variance + 0.01) * gamma + beta
    np.testing.assert_allclose(made(IMAGES, training=False), expected, rtol=1e-4, atol=1e-5)
    expected = (IMAGES - mean) / np.sqrt(variance + 0.01) * gamma + beta
    np.testing.assert_allclose(made(IMAGES, training=True), expected, rtol=1e-4, atol=1e-5)
    _, _, new_mean, new_variance = made.get_weights()
    np.testing.assert_allclose(new_mean, 0.9 * moving_mean + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(new_variance, 0.9 * moving_variance + 0.1 * variance, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_bfloat16_keeps_float32_statistics(training):
    made = layer(FusedBatchNormalization, dtype="mixed_bfloat16")
    exact = outcome(layer(FusedBatchNormalization), training)
    found = outcome(made, training)
    assert found[0].dtype == tf.bfloat16
    for wide, narrow in zip(exact, found):
        scale = np.abs(np.asarray(wide, np.float64)).max()
        error = np.abs(np.asarray(tf.cast(narrow, tf.float64)) - np.asarray(wide)).max()
        assert error < 0.02 * scale
    np.testing.assert_allclose(found[-2], exact[-2], rtol=5e-3)


def test_float64_and_other_ranks_go_keras_own_way():
    made = layer(FusedBatchNormalization, dtype="float64")
    assert made(IMAGES.astype(np.float64), training=True).dtype == tf.float64
    flat = FusedBatchNormalization(momentum=0.9)
    outputs = flat(IMAGES.reshape(-1, 3), training=True)
    np.testing.assert_allclose(np.mean(outputs, 0), 0, atol=1e-5)


def test_synchronised_statistics_are_those_of_all_replicas(strategy2):
    with strategy2.scope():
        made = FusedBatchNormalization(momentum=0.5, synchronized=True)
        made.build(IMAGES.shape)
    parts = strategy2.experimental_distribute_values_from_function(
        lambda context: tf.constant(IMAGES[context.replica_id_in_sync_group * 3 :][:3])
    )
    strategy2.run(tf.function(lambda images: made(images, training=True)), args=(parts,))
    mean = compat.variables_of(made)[2]
    np.testing.assert_allclose(mean, 0.5 * IMAGES.mean((0, 1, 2)), rtol=1e-4)


def test_our_networks_use_it_and_load_weights_of_either_kind(monkeypatch):
    arguments = {"depth": 10, "width": 1, "num_classes": 3, "input_shape": (8, 8, 3)}
    ours = wide_resnet(**arguments)
    assert {type(x) for x in compat.batch_norm_layers(ours)} == {FusedBatchNormalization}
    own = keras.models.clone_model(
        ours,
        clone_function=lambda x: (
            keras.layers.BatchNormalization.from_config(x.get_config())
            if isinstance(x, FusedBatchNormalization)
            else type(x).from_config(x.get_config())
        ),
    )
    own.set_weights(ours.get_weights())
    images = np.random.default_rng(2).random((2, 8, 8, 3), np.float32)
    for training in (False, True):
        np.testing.assert_allclose(
            ours(images, training=training), own(images, training=training), atol=1e-4
        )
    assert [w.name for w in own.weights] == [w.name for w in ours.weights]


def first_batch(dtype="float32", shape=IMAGES.shape, **arguments):
    made = FirstBatchNormalization(momentum=0.99, epsilon=0.01, dtype=dtype, **arguments)
    made.build(shape)
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
def test_moving_statistics_begin_with_the_first_batch(dtype):
    """Float64 goes Keras's own way, the others by the fused kernel."""
    made = first_batch(dtype)
    batches = [IMAGES, 3 * IMAGES + 1]
    step = tf.function(lambda x: made(x, training=True))
    means, variances = ([getattr(b, what)((0, 1, 2)) for b in batches] for what in ("mean", "var"))
    near = {"rtol": 1e-2} if "16" in dtype else {"rtol": 1e-5}
    for _ in range(2):  # what an attack does with its passes: the next one is the first again
        made(IMAGES, training=False)
        np.testing.assert_array_equal(made.get_weights()[2:], [np.zeros(3), np.ones(3)])
        outputs = step(tf.constant(batches[0], made.compute_dtype))
        _, _, mean, variance = made.get_weights()
        np.testing.assert_allclose(mean, means[0], **near)
        np.testing.assert_allclose(variance, variances[0], **near)
        np.testing.assert_allclose(np.mean(tf.cast(outputs, tf.float32), (0, 1, 2)), 0, atol=1e-2)
        step(tf.constant(batches[1], made.compute_dtype))
        _, _, mean, variance = made.get_weights()
        np.testing.assert_allclose(mean, 0.99 * means[0] + 0.01 * means[1], **near)
        np.testing.assert_allclose(variance, 0.99 * variances[0] + 0.01 * variances[1], **near)
        made.set_weights([*made.get_weights()[:2], np.zeros(3), np.ones(3)])


def test_a_frozen_layer_keeps_its_statistics():
    made = first_batch(trainable=False)
    made(IMAGES, training=True)
    np.testing.assert_array_equal(made.get_weights()[2:], [np.zeros(3), np.ones(3)])


def test_replicas_begin_with_the_global_batch(strategy2):
    with strategy2.scope():
        made = first_batch(synchronized=True)
    parts = strategy2.experimental_distribute_values_from_function(
        lambda context: tf.constant(IMAGES[3 * context.replica_id_in_sync_group :][:3])
    )

    @tf.function
    def step(images):
        return strategy2.run(lambda x: made(x, training=True), args=(images,))

    for _ in range(2):  # the same batch moves nothing
        step(parts)
        np.testing.assert_allclose(made.moving_mean, IMAGES.mean((0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(made.moving_variance, IMAGES.var((0, 1, 2)), rtol=1e-5)


def test_saving(tmp_path):
    model = wide_resnet(depth=10, width=1, num_classes=3, input_shape=(8, 8, 3))
    model.save(tmp_path / "net.keras")
    images = np.random.default_rng(2).random((2, 8, 8, 3), np.float32)
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_allclose(again(images), model(images), atol=1e-6)
