"""What every network must satisfy, and the errors of those who ask for one."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import models
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras

SMALL = ["small_cnn", "w8-1", "wrn-10-1", "wrn-10-1-silu"]


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(
    ("name", "input_shape", "num_classes", "parameters"),
    [
        ("w32-10", (32, 32, 3), 10, 45_901_914),
        ("w32-10", (32, 32, 3), 100, 45_959_604),
        ("w40-2", (96, 96, 3), 10, 2_232_794),
        ("wrn-34-10", (32, 32, 3), 10, 46_160_474),
        ("wrn-28-10", (32, 32, 3), 10, 36_479_194),
        ("wrn-16-2", (32, 32, 3), 10, 691_674),
        ("wrn-16-2-silu", (32, 32, 3), 10, 691_674),
        ("preact_resnet18", (32, 32, 3), 10, 11_172_170),
        ("preact_resnet18-silu", (32, 32, 3), 100, 12_594_596),
        ("resnet18", (32, 32, 3), 10, 11_173_962),
        ("small_cnn", (28, 28, 1), 10, 421_738),
        ("small_cnn", (8, 8, 1), 10, 151_402),
    ],
)
def test_parameter_counts(name, input_shape, num_classes, parameters, monkeypatch):
    # Drawing 46 million numbers takes longer than the rest, and they are not looked at.
    monkeypatch.setattr(keras.initializers, "VarianceScaling", lambda *_: "zeros")
    model = models.build(name, input_shape=input_shape, num_classes=num_classes)
    assert count(model) == parameters
    assert model.name == name
    assert model.output_shape == (None, num_classes)


def test_the_family_counts_its_layers_like_the_reference():
    family = models.build("w14-2", input_shape=(8, 8, 3), num_classes=10)
    written_out = models.reference_wide_resnet(
        units_per_stage=2, widths=(32, 64, 128), input_shape=(8, 8, 3), num_classes=10
    )
    assert [v.shape for v in family.variables] == [v.shape for v in written_out.variables]


def test_every_entry_of_the_registry_builds():
    for key in models.MODELS:
        if key == "w32-10" or "resnet18" in key or "keras:" in key:  # large, and built elsewhere
            continue
        depth = "10" if key.startswith("wrn") else "8"
        name = key.replace("<depth>", depth).replace("<width>", "1")
        assert models.build(name, input_shape=(16, 16, 3), num_classes=4).output_shape == (None, 4)


@pytest.mark.parametrize("input_shape", [(8, 8, 1), (28, 28, 1), (9, 13, 2), (32, 32, 3)])
@pytest.mark.parametrize("name", SMALL)
def test_any_size_and_any_number_of_channels(name, input_shape):
    model = models.build(name, input_shape=input_shape, num_classes=3)
    logits = model(np.random.default_rng(0).random((2, *input_shape), np.float32), training=True)
    assert logits.shape == (2, 3)
    assert logits.dtype == tf.float32
    assert np.all(np.isfinite(logits))


@pytest.mark.parametrize("name", SMALL)
def test_mixed_precision_is_for_the_inside_only(name):
    with compat.dtype_policy("mixed_bfloat16"):
        model = models.build(name, input_shape=(16, 16, 3), num_classes=10)
    inside = {
        layer.compute_dtype
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer) and layer.name != "logits"
    }
    assert inside == {"bfloat16"}
    assert {tf.as_dtype(v.dtype) for v in model.variables} == {tf.float32}
    assert tf.as_dtype(model.inputs[0].dtype) == tf.float32
    assert model(np.zeros((1, 16, 16, 3), np.float32)).dtype == tf.float32


@pytest.mark.parametrize("name", SMALL)
def test_float64_reaches_from_end_to_end(name):
    with compat.dtype_policy("float64"):
        model = models.build(name, input_shape=(8, 8, 3), num_classes=10)
    images = tf.random.stateless_uniform((1, 8, 8, 3), (1, 2), dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = model(images)
    assert logits.dtype == tf.float64
    assert tape.gradient(logits, images).dtype == tf.float64
    # Rounding the images to float32 on the way would hide a difference as small as this one.
    assert np.any(model(images + 1e-12).numpy() != logits.numpy())


@pytest.mark.parametrize("name", SMALL)
def test_batch_norm_momentum_and_layer_names(name):
    first = models.build(name, input_shape=(16, 16, 3), num_classes=10)
    second = models.build(name, input_shape=(16, 16, 3), num_classes=10)
    names = [layer.name for layer in first.layers]
    assert names == [layer.name for layer in second.layers]
    assert len(set(names)) == len(names)
    norms = compat.batch_norm_layers(first)
    assert norms
    for norm in norms:
        assert norm.momentum == (0.99 if name.endswith("silu") else 0.9)
        assert norm.scale and norm.center
        assert not norm.synchronized
    assert not any(
        getattr(layer, "use_bias", False) and "conv" in n for layer, n in zip(first.layers, names)
    )


@pytest.mark.parametrize("name", SMALL)
def test_replicas_share_their_batch_statistics(name):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = models.build(name, input_shape=(8, 8, 1), num_classes=3)
    assert all(norm.synchronized for norm in compat.batch_norm_layers(model))


def test_shared_statistics_are_those_of_the_global_batch():
    images = np.random.default_rng(0).random((8, 8, 8, 1), np.float32)
    images[4:] *= 0.1  # the halves of the batch must differ
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = models.build("wrn-10-1", input_shape=(8, 8, 1), num_classes=3)
    single = models.build("wrn-10-1", input_shape=(8, 8, 1), num_classes=3)
    single.set_weights(model.get_weights())

    @tf.function
    def step(batch):
        return strategy.run(lambda x: model(x, training=True), args=(batch,))

    halves = strategy.experimental_distribute_values_from_function(
        lambda context: images[4 * context.replica_id_in_sync_group :][:4]
    )
    logits = tf.concat(strategy.experimental_local_results(step(halves)), 0)
    np.testing.assert_allclose(logits, single(images, training=True), rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(model.get_weights(), single.get_weights()):
        # The fused kernel of Keras 2 divides a variance by n - 1, the synchronised one by n.
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_saved_and_loaded(name, tmp_path):
    model = models.build(name, input_shape=(9, 9, 2), num_classes=3)
    images = np.random.default_rng(0).random((2, 9, 9, 2), np.float32)
    model(images, training=True)  # so that the moving statistics are not the initial ones
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = keras.models.load_model(path)
    np.testing.assert_array_equal(loaded(images), model(images))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("name", SMALL)
def test_a_normalised_network_is_the_plain_one_on_normalised_images(name, tmp_path):
    means, stds = np.array([0.5, 0.25]), np.array([0.125, 2.0])
    plain = models.build(name, input_shape=(8, 8, 2), num_classes=3)
    inside = models.build(name, input_shape=(8, 8, 2), num_classes=3, normalize="0.5,.25/0.125,2")
    assert [w.name for w in inside.weights] == [w.name for w in plain.weights]
    inside.set_weights(plain.get_weights())
    images = np.random.default_rng(0).random((3, 8, 8, 2), np.float32)
    expected = plain(((images - means) / stds).astype(np.float32))
    np.testing.assert_allclose(inside(images), expected, rtol=1e-4, atol=1e-5)
    inside.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded(images), inside(images))


def test_normalisation_is_not_rounded_by_mixed_precision():
    with compat.dtype_policy("mixed_bfloat16"):
        model = models.build("small_cnn", input_shape=(8, 8, 3), num_classes=3, normalize="cifar10")
    images = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    expected = (images - [0.4914, 0.4822, 0.4465]) / [0.2471, 0.2435, 0.2616]
    np.testing.assert_allclose(model.get_layer("normalize")(images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cifar", "Did you mean 'cifar10'"),
        ("0.5,0.5,0.5", "Or write <means>/<standard deviations>"),
        ("0.5/0", "standard deviations above 0.*received '0.5/0'"),
        ("0.5/nan", "above 0"),
        ("inf/1", "finite"),
        ("0.5,0.5/0.2", "one finite number a channel"),
        ("a/b", "one finite number a channel"),
        ("/", "one finite number a channel"),
        ("cifar10", r"for images of 3 channel\(s\); these have 1"),
    ],
)
def test_errors_of_normalisation(text, message):
    with pytest.raises(ValueError, match=message):
        models.build("small_cnn", input_shape=(8, 8, 1), num_classes=3, normalize=text)


@pytest.mark.parametrize(
    ("name", "input_shape", "num_classes", "message"),
    [
        ("smal_cnn", (8, 8, 1), 10, "Did you mean 'small_cnn'"),
        ("wrn-34", (32, 32, 3), 10, "wrn-34-10"),
        ("wrn-34-10-relu", (32, 32, 3), 10, "Unknown network"),
        ("wrn-12-2-silu", (32, 32, 3), 10, "received depth 12"),
        ("resnet18", (7, 8, 3), 10, "at least 8x8 pixels; received 7x8"),
        ("wrn-34-10 ", (32, 32, 3), 10, "Unknown network 'wrn-34-10 '"),
        ("xwrn-34-10", (32, 32, 3), 10, "Unknown network"),
        ("wrn-34-x", (32, 32, 3), 10, "Write numbers"),
        ("wrn-12-2", (32, 32, 3), 10, r"6n \+ 4 .* received depth 12 and width 2"),
        ("wrn-4-2", (32, 32, 3), 10, "received depth 4"),
        ("wrn-10-0", (32, 32, 3), 10, "width 0"),
        ("w10-1", (32, 32, 3), 10, r"6n \+ 2 .* received depth 10"),
        ("wrn-10-1", (3, 8, 3), 10, "at least 4x4 pixels; received 3x8"),
        ("w8-1", (2, 2, 3), 10, "w8-1 halves its maps 2 times"),
        ("preact_resnet18", (7, 7, 3), 10, "at least 8x8 pixels; received 7x7"),
        ("small_cnn", (1, 8, 1), 10, "at least 2x2 pixels; received 1x8"),
        ("small_cnn", (8, 8), 10, r"three positive integers; received \(8, 8\)"),
        ("wrn-10-1", (None, None, 3), 10, "three positive integers"),
        ("small_cnn", (8, 8, 1), 1, "num_classes of at least 2; received 1"),
    ],
)
def test_errors_say_what_came(name, input_shape, num_classes, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, input_shape=input_shape, num_classes=num_classes)


@pytest.mark.parametrize(
    ("units_per_stage", "widths", "message"),
    [
        (0, (16, 32), "at least 1"),
        (1, (32, 16), "never decrease"),
        (1, (8, 16), "start at 16"),
        (1, (), "widths must"),
    ],
)
def test_errors_of_the_reference_family(units_per_stage, widths, message):
    with pytest.raises(ValueError, match=message):
        models.reference_wide_resnet(units_per_stage=units_per_stage, widths=widths, num_classes=10)


@pytest.mark.parametrize("name", [*SMALL, "resnet18", "preact_resnet18"])
def test_networks_are_the_same_whatever_keras_json_says(name, monkeypatch):
    monkeypatch.setattr(keras.initializers, "VarianceScaling", lambda *_: "zeros")
    keras.backend.set_image_data_format("channels_first")
    try:
        model = models.build(name, input_shape=(16, 16, 3), num_classes=4)
    finally:
        keras.backend.set_image_data_format("channels_last")
    usual = models.build(name, input_shape=(16, 16, 3), num_classes=4)
    assert [v.shape for v in model.variables] == [v.shape for v in usual.variables]
    assert [tuple(each.output.shape) for each in model.layers] == [
        tuple(each.output.shape) for each in usual.layers
    ]
