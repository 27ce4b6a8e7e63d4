"""Two replicas together do what one does alone at the same global batch."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import METHODS, attacks, random
from rlfat_tf.compat import keras
from rlfat_tf.methods import base
from tests import reference

IMAGES, ADVERSARIAL, LABELS = reference.images_and_labels(24, seed=1)
VALID, _, VALID_LABELS = reference.images_and_labels(12, seed=2)  # batches of 8 and 4


@pytest.fixture(scope="module")
def mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def batches(images, labels, drop_remainder):
    data = tf.data.Dataset.from_tensor_slices((images, labels.astype(np.int64)))
    return data.batch(8, drop_remainder=drop_remainder)


def make(name, batch_norm, **kwargs):
    net = reference.keras_net(batch_norm=batch_norm, synchronized=batch_norm, seed=3)
    robust = METHODS[name](net, **kwargs)
    robust.compile(optimizer=keras.optimizers.SGD(0.2), metrics=["accuracy"])
    return robust


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch-norm"])
def test_weight_gradient_on_given_adversarial_images(mirrored, batch_norm):
    with mirrored.scope():
        robust = make("rlfat_t", batch_norm, block_shuffle="image", seed=5)

    def gradients(x, x_adv, labels):
        seed = random.replica_seed(robust.seed, base.TRAIN, 0)
        with tf.GradientTape() as tape:
            result = robust.batch_objective(x, x_adv, labels, seed, training=True)
            loss = tf.reduce_sum(result.loss) / base.global_batch_size(result.loss)
        found = tape.gradient(loss, robust.model.trainable_variables)
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, [loss, *found])

    full = [tf.constant(a[:8]) for a in (IMAGES, ADVERSARIAL, LABELS)]
    distributed = [
        mirrored.experimental_distribute_values_from_function(
            lambda context, a=a: a[4 * context.replica_id_in_sync_group :][:4]
        )
        for a in full
    ]
    found = tf.function(lambda: mirrored.run(gradients, args=tuple(distributed)))()
    found = [mirrored.experimental_local_results(g)[0] for g in found]

    from_one = make("rlfat_t", batch_norm, block_shuffle="image", seed=5)
    with tf.GradientTape() as tape:
        seed = random.replica_seed(5, base.TRAIN, 0)
        loss = tf.reduce_mean(from_one.batch_objective(*full, seed, training=True).loss)
    expected = [loss, *tape.gradient(loss, from_one.model.trainable_variables)]
    scale = max(np.abs(g).max() for g in expected)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale)


# Batch normalisation in training mode inside of the attack is the hardest case: every pass of the
# attack shares its statistics and updates them.
@pytest.mark.parametrize(
    ("name", "batch_norm", "steps", "arguments"),
    [
        ("rlfat_p", True, 1, {"attack_bn": "train"}),
        ("rlfat_t", False, 2, {"block_shuffle": "image", "weight_decay": 0.1}),
    ],
)
def test_three_steps_of_fit(mirrored, name, batch_norm, steps, arguments):
    attack = attacks.LinfPGD(epsilon=0.1, steps=steps)

    def trained():
        robust = make(name, batch_norm, attack=attack, seed=4, **arguments)
        # The second case does not know the size of its batches, and validates too.
        data = batches(IMAGES, LABELS, drop_remainder=batch_norm)
        valid = None if batch_norm else batches(VALID, VALID_LABELS, False)
        logs = robust.fit(data, validation_data=valid, shuffle=False, verbose=0).history
        return robust.get_weights(), logs

    start = make(name, batch_norm).get_weights()
    with mirrored.scope():
        weights, logs = trained()
    one_weights, one_logs = trained()
    for first, ours, theirs in zip(start, weights, one_weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        assert np.any(ours != first) or batch_norm  # the bias in front of it has no gradient
    assert set(logs) == set(one_logs)
    for key, values in one_logs.items():
        np.testing.assert_allclose(logs[key], values, rtol=1e-4, atol=1e-5, err_msg=key)


def test_evaluation_without_an_attack_counts_uneven_shards_right(mirrored):
    def evaluated():
        robust = make("standard", False)
        data = batches(VALID[:11], VALID_LABELS[:11], False)  # the last replica holds 1 of 3
        return robust.evaluate(data, return_dict=True, verbose=0)

    with mirrored.scope():
        logs = evaluated()
    expected = evaluated()
    assert set(logs) == set(expected) == {"loss", "clean_loss", "accuracy"}
    for key, value in expected.items():
        np.testing.assert_allclose(logs[key], value, rtol=1e-5, err_msg=key)


def test_unsynchronised_batch_normalisation_is_warned_of(mirrored):
    with mirrored.scope():
        net = reference.keras_net(batch_norm=True)
        with pytest.warns(UserWarning, match="not synchronised.*synchronized=True"):
            METHODS["pgdat"](net)
