"""Classifiers of others become networks from images in [0, 1] to logits, and stay what they are."""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf.core import compat
from rlfat_tf.core.compat import KERAS_3, keras
from rlfat_tf.models import LogOfProbabilities
from tests.models.theirs import BY_HAND, IMAGES, SHAPE, layers, net, same


def activation_last():
    inner = net(activation=None)
    return keras.Model(inner.inputs, layers.Activation("softmax")(inner.outputs[0]))


def row_of_one_pixel():  # as MobileNet ends
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(3, 1)(layers.GlobalAveragePooling2D(keepdims=True)(inputs))
    return keras.Model(inputs, layers.Activation("softmax")(layers.Reshape((3,))(x)))


def behind_branches():
    inputs = keras.Input(SHAPE)
    flat = layers.Flatten()(inputs)
    both = layers.Add()([layers.Dense(3)(flat), layers.Dense(3)(flat)])
    return keras.Model(inputs, layers.Softmax()(both))


def function_last():
    softmax = keras.ops.softmax if KERAS_3 else tf.nn.softmax
    inner = net(activation=None)
    return keras.Model(inner.inputs, softmax(inner.outputs[0]))


def behind(*ends):
    """A network whose softmax is in its last layer, and what follows that layer."""
    model = net()
    outputs = model.outputs[0]
    for end in ends:
        outputs = end(outputs)
    return keras.Model(model.inputs, outputs)


CAST, RESHAPE = (keras.ops.cast, keras.ops.reshape) if KERAS_3 else (tf.cast, tf.reshape)
ENDS = {
    "dense": net,
    "cast": lambda: behind(lambda x: CAST(x, "float64"), layers.Reshape((3,)), layers.Identity()),
    "shaped": lambda: behind(lambda x: RESHAPE(x, (-1, 3))),
    "function, cast": lambda: keras.Model(
        (softmax := function_last()).inputs, CAST(softmax.outputs[0], "float64")
    ),
    "on a backbone": lambda: keras.Sequential(
        [
            keras.Input(SHAPE),
            net(head=False),
            layers.Dropout(0.1),
            layers.Dense(4, "relu"),
            layers.Dense(3, "softmax"),
        ]
    ),  # fmt: skip
    "activation": activation_last,
    "one pixel": row_of_one_pixel,
    "branches": behind_branches,
    "function": function_last,
    "sequential": lambda: keras.Sequential([keras.Input(SHAPE), net(name="inner")]),
    "nested": lambda: keras.Sequential(
        [keras.Input(SHAPE), keras.Sequential([keras.Input(SHAPE), activation_last()])]
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_softmax_is_cut_off_and_the_model_stays_as_it_is(case):
    model = ENDS[case]()
    before = [np.copy(w) for w in model.get_weights()]
    adapted = rlfat_tf.adapt(model, input="tf")
    same(adapted, model, BY_HAND["tf"])
    rlfat_tf.PGDAT(adapted, attack=rlfat_tf.attacks.LinfPGD(steps=1))  # is content with it
    adapted.set_weights([0 * w for w in adapted.get_weights()])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert np.ptp(np.asarray(model(IMAGES)).sum(-1)) < 1e-5  # still probabilities


def test_images_may_be_flattened_first():
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(3, "softmax"),
        ]
    )
    same(rlfat_tf.adapt(model), model, BY_HAND["0-255"])


def test_the_logits_of_several_named_outputs():
    model = net(layers.Rescaling(1 / 255), activation=None)
    named = {"embedding": model.layers[-2].output, "logits": model.outputs[0]}
    adapted = rlfat_tf.adapt(keras.Model(model.inputs, named))
    np.testing.assert_allclose(adapted(IMAGES), model(255 * IMAGES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_copy_does_not_compute_in_float16(policy):
    with compat.dtype_policy(policy):
        model = net(layers.Rescaling(1 / 255))
    adapted = rlfat_tf.adapt(model)
    narrow = {"mixed_float16": set(), "mixed_bfloat16": {"bfloat16"}}[policy]
    assert compat.compute_dtypes(adapted) - {"float32"} == narrow
    found = tf.nn.softmax(tf.cast(adapted(IMAGES, training=False), tf.float32))
    expected = tf.cast(model(255 * IMAGES, training=False), tf.float32)
    np.testing.assert_allclose(found, expected, atol=0.02)
    rlfat_tf.PGDAT(adapted, attack=rlfat_tf.attacks.LinfPGD(steps=1))  # is content with it


def test_logits_stay_logits():
    model = net(activation=None)
    found = rlfat_tf.adapt(model, input="unit")(IMAGES, training=False)
    np.testing.assert_allclose(found, model(IMAGES, training=False), rtol=1e-5)


def hidden_softmax():
    inner = net(activation=None)
    return keras.Model(inner.inputs, layers.Lambda(tf.nn.softmax)(inner.outputs[0]))


def test_a_softmax_that_cannot_be_seen():
    model = hidden_softmax()
    with pytest.raises(ValueError, match="seems to return probabilities.*classifier_activation"):
        rlfat_tf.adapt(model, input="unit")
    adapted = rlfat_tf.adapt(model, input="unit", logits="log_softmax")
    expected = np.log(np.asarray(model(IMAGES, training=False)))
    np.testing.assert_allclose(adapted(IMAGES, training=False), expected, rtol=1e-5)
    found = LogOfProbabilities()(tf.constant([[0.0, 1.0]]))
    np.testing.assert_allclose(found, [[-85.19, 0.0]], atol=0.01)


def test_what_has_no_logits():
    with pytest.raises(ValueError, match="one output, but a logit.*adapt"):
        inputs = keras.Input(SHAPE)
        one = layers.Dense(1, activation="sigmoid")(layers.Flatten()(inputs))
        rlfat_tf.adapt(keras.Model(inputs, one), input="unit")
    with pytest.raises(ValueError, match="sigmoid for each class.*before_sigmoid"):
        rlfat_tf.adapt(net(activation="sigmoid"), input="unit")
    with pytest.raises(ValueError, match="Expected a sigmoid at the end.*is softmax"):
        rlfat_tf.adapt(net(activation="softmax"), input="unit", logits="before_sigmoid")
    inputs = keras.Input(SHAPE)
    maps = keras.Model(inputs, layers.Conv2D(4, 3)(inputs))
    with pytest.raises(ValueError, match="no classification layer.*classes="):
        rlfat_tf.adapt(maps, input="unit")
    assert rlfat_tf.adapt(maps, input="unit", classes=5).output_shape == (None, 5)


def test_what_a_sigmoid_receives():
    model = net(activation="sigmoid")
    adapted = rlfat_tf.adapt(model, input="unit", logits="before_sigmoid")
    found = tf.sigmoid(adapted(IMAGES, training=False))
    np.testing.assert_allclose(found, model(IMAGES, training=False), rtol=1e-5, atol=1e-6)


def pooled(activation):
    inputs = keras.Input(SHAPE)
    maps = layers.Conv2D(4, 3, activation=activation)(inputs)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(maps))


FEATURES = {
    "without its head": lambda: net(head=False),
    "nested": lambda: keras.Sequential([keras.Input(SHAPE), net(head=False), layers.Dropout(0.1)]),
    "activated maps": lambda: pooled("relu"),
    "flattened": lambda: keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(4, 3), layers.Flatten()]
    ),
    "normalised": lambda: keras.Sequential(
        [keras.Input(SHAPE), net(head=False), layers.LayerNormalization()]
    ),
}


@pytest.mark.parametrize("case", FEATURES)
def test_features_are_no_logits(case):
    with pytest.raises(ValueError, match="no classification layer.*classes="):
        rlfat_tf.adapt(FEATURES[case](), input="unit")


def test_the_mean_over_the_maps_of_a_convolution_may_be_logits():
    linear = pooled(None)
    np.testing.assert_allclose(rlfat_tf.adapt(linear, input="unit")(IMAGES), linear(IMAGES))


def test_a_new_head_knows_the_order_of_the_axes():
    maps = pooled(None).layers[1]
    model = keras.Model(maps.input, maps.output)
    old = keras.backend.image_data_format()
    keras.backend.set_image_data_format("channels_first")
    try:
        adapted = rlfat_tf.adapt(model, input="unit", classes=5)
    finally:
        keras.backend.set_image_data_format(old)
    kernel, bias = adapted.layers[-1].get_weights()
    expected = np.asarray(model(IMAGES)).mean((1, 2)) @ kernel + bias
    np.testing.assert_allclose(adapted(IMAGES), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", [True, False])
def test_a_new_head_keeps_the_features(head):
    model = net(head=head)
    adapted = rlfat_tf.adapt(model, input="tf", classes=5)
    features = model if not head else keras.Model(model.inputs, model.layers[-2].output)
    kernel, bias = adapted.layers[-1].get_weights()
    expected = np.asarray(features(2 * IMAGES - 1, training=False)) @ kernel + bias
    np.testing.assert_allclose(adapted(IMAGES, training=False), expected, rtol=1e-4, atol=1e-5)
    assert adapted.output_shape == (None, 5)


def test_maps_that_are_flattened_are_features():
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, layers.Flatten()(layers.Conv2D(2, 3)(inputs)))
    adapted = rlfat_tf.adapt(model, input="unit", classes=5)
    kernel, bias = adapted.layers[-1].get_weights()
    expected = np.asarray(model(IMAGES)) @ kernel + bias
    np.testing.assert_allclose(adapted(IMAGES), expected, rtol=1e-4, atol=1e-6)


TRAINED = {"head": [4, 5], "last:1": [2, 3, 4, 5], "last:2": list(range(6)), "all": list(range(6))}


@pytest.mark.parametrize("trainable", TRAINED)
def test_what_is_trained(trainable, recwarn, tmp_path):
    model = net()
    adapted = rlfat_tf.adapt(model, input="unit", trainable=trainable)
    shapes = [(3, 3, 3, 4), (4,), (4,), (4,), (4, 3), (3,)]
    found = [tuple(w.shape) for w in adapted.trainable_weights]
    assert sorted(found) == sorted(shapes[i] for i in TRAINED[trainable])
    assert all(layer.trainable for layer in model.layers)
    (norm,) = compat.batch_norm_layers(adapted)
    rlfat_tf.PGDAT(adapted, attack=rlfat_tf.attacks.LinfPGD(epsilon=0.1, steps=1))
    warned = any("momentum above 0.9" in str(w.message) for w in recwarn)
    assert warned == norm.trainable == (trainable != "head")
    before = np.copy(norm.moving_mean)
    adapted(IMAGES, training=True)
    assert np.array_equal(before, norm.moving_mean) == (trainable == "head")
    adapted.save(tmp_path / "adapted.keras")
    again = rlfat_tf.load(tmp_path / "adapted.keras")
    assert sorted(tuple(w.shape) for w in again.trainable_weights) == sorted(found)
    np.testing.assert_allclose(again(IMAGES), adapted(IMAGES), rtol=1e-5)


def test_batch_normalisation_follows_the_scope_and_the_momentum(strategy2):
    with strategy2.scope():
        (norm,) = compat.batch_norm_layers(
            rlfat_tf.adapt(net(), input="unit", classes=2, bn_momentum=0.9)
        )
    assert norm.synchronized and norm.momentum == 0.9
    (norm,) = compat.batch_norm_layers(rlfat_tf.adapt(net(), input="unit"))
    assert not norm.synchronized and norm.momentum == 0.99


class Own(keras.Model):
    def call(self, inputs):
        return inputs


class OfParts(keras.Model):
    """Its attribute is a part of it only."""

    def __init__(self):
        super().__init__()
        self.model, self.head = net(activation=None), layers.Dense(3)

    def call(self, inputs):
        return self.head(self.model(inputs))


def two_inputs():
    inputs = [keras.Input(SHAPE), keras.Input((4,))]
    both = layers.Concatenate()([layers.Flatten()(inputs[0]), inputs[1]])
    return keras.Model(inputs, layers.Dense(3)(both))


def two_outputs():
    model = net(activation=None)
    return keras.Model(model.inputs, [model.outputs[0], model.layers[-2].output])


def front():
    flat = [layers.Permute((2, 3, 1)), layers.Flatten(), layers.Dense(3)]
    return keras.Sequential([keras.Input((3, 8, 8)), *flat])


REFUSED = {
    "no model": (lambda: "vgg16", {}, "Expected a Keras model; received str"),
    "subclassed": (lambda: Own(), {}, "layers cannot be seen.*models.Pixels"),
    "of parts": (OfParts, {}, "'of_parts.*layers cannot be seen.*models.Pixels"),
    "unbuilt": (
        lambda: keras.Sequential([layers.Flatten()]),
        {},
        r"not built yet.*model\(images\)",
    ),
    "two inputs": (two_inputs, {}, "one input, the images; .* has 2"),
    "two outputs": (two_outputs, {}, "logits"),
    "grey": (lambda: net(shape=(6, 6, 1)), {"input": "caffe"}, r"1 channel\(s\).*input of 3"),
    "any size": (lambda: net(shape=(None, None, 3)), {}, r"any size.*image_size=224"),
    "another size": (net, {"image_size": 8}, r"takes images of 6x6 pixels; received image_size=8"),
    "trainable": (net, {"trainable": "last:0"}, "Unknown trainable 'last:0'"),
    "too many": (net, {"trainable": "last:9"}, "n of at most 2.*received 9"),
    "a size and channels": (net, {"image_size": (6, 6, 3)}, r"pixels a side or \(height, width\)"),
    "channels in front": (front, {"input": "torch"}, r"\[channels, height, width\].*Permute"),
    "one class": (net, {"classes": 1}, "at least 2; received 1"),
    "classes": (net, {"classes": 5.0}, "integer of at least 2; received 5.0"),
    "logits": (net, {"logits": "softmax"}, "Did you mean 'log_softmax'"),
    "momentum": (net, {"bn_momentum": 1.0}, r"bn_momentum in \[0, 1\)"),
    "at random": (lambda: net(layers.Lambda(noise)), {"input": "tf"}, "draw at random"),
}


def noise(x):
    return x + tf.random.uniform(tf.shape(x))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    build, arguments, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        rlfat_tf.adapt(build(), **{"input": "unit", **arguments})


def test_any_size_becomes_one():
    adapted = rlfat_tf.adapt(net(shape=(None, None, 3)), input="unit", image_size=(6, 8))
    assert adapted.input_shape == (None, 6, 8, 3)


class Backbone(keras.Model):
    """A backbone with a configuration of its own, as those of keras-hub."""

    def __init__(self, width=4, **kwargs):
        inputs = keras.Input(SHAPE)
        maps = layers.Conv2D(width, 3, name="conv")(inputs)
        super().__init__(inputs, layers.GlobalAveragePooling2D()(maps), **kwargs)
        self.width = width

    def get_config(self):
        return {"width": self.width, "name": self.name}


@pytest.mark.parametrize("frozen", [True, False])
def test_what_is_frozen_stays_frozen(frozen):
    backbone = Backbone()
    backbone.trainable = not frozen
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, layers.Dense(3)(backbone(inputs)))
    adapted = rlfat_tf.adapt(model, input="unit")
    assert len(adapted.trainable_variables) == len(model.trainable_variables) == 4 - 2 * frozen


def test_of_a_method_its_classifier_is_adapted():
    classifier = net(activation=None)
    adapted = rlfat_tf.adapt(rlfat_tf.PGDAT(classifier), input="unit", classes=5)
    assert adapted.output_shape == (None, 5)
