"""What a Keras model must be to be attacked, whether or not its layers can be read."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import model_checks
from rlfat_tf.core.compat import KERAS_3, keras

layers = keras.layers
SHAPE = (8, 8, 3)


def functional(outputs, **inputs):
    image = keras.Input(SHAPE)
    return keras.Model([image, *inputs.values()] if inputs else image, outputs(image))


def logits(x, classes=3):
    return layers.Dense(classes)(layers.Flatten()(x))


REFUSED = {
    "several inputs": (
        lambda: functional(lambda x: logits(x), age=keras.Input((1,))),
        "one input, the images; .* has 2. An attack moves one image",
    ),
    "several outputs": (
        lambda: functional(lambda x: [logits(x), logits(x)]),
        "one output, the logits.* received 2 outputs. .*keras.Model",
    ),
    "a dictionary without logits": (
        lambda: functional(lambda x: {"a": logits(x), "b": logits(x)}),
        r"received the entries \['a', 'b'\]",
    ),
    "one sigmoid": (lambda: functional(lambda x: logits(x, 1)), r"one output, .* Dense\(2\)"),
    "logits [n, 1, 1, K]": (
        lambda: functional(lambda x: layers.Conv2D(3, 8)(x)),
        r"has shape \(None, 1, 1, 3\). End the model in Flatten",
    ),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_models_that_are_no_classifiers_of_images(build, message):
    with pytest.raises(ValueError, match=message):
        model_checks.check_model(build())


def as_in_16_bits(end):
    return functional(lambda x: layers.Activation("linear", dtype="float32")(end(x)))


@pytest.mark.parametrize("name", ["sigmoid", "softmax"])
def test_an_ending_behind_layers_that_only_pass_numbers_on(name):
    bounded = as_in_16_bits(
        lambda x: layers.Dropout(0.1)(layers.Dense(3, name)(layers.Flatten()(x)))
    )
    within = functional(lambda x: layers.Reshape((3,))(bounded(x)))
    for model in (bounded, within, keras.Sequential([keras.Input(SHAPE), within])):
        with pytest.raises(ValueError, match=name):
            model_checks.check_ending(model)
    model_checks.check_ending(as_in_16_bits(logits))


PASSING = {
    "cast": lambda x: keras.ops.cast(x, "float32") if KERAS_3 else tf.cast(x, tf.float64),
    "reshape": lambda x: (keras.ops.reshape if KERAS_3 else tf.reshape)(x, (-1, 3)),
    "squeeze": lambda x: (
        keras.ops.squeeze(keras.ops.expand_dims(x, 1), 1)
        if KERAS_3
        else tf.squeeze(tf.expand_dims(x, 1), 1)
    ),
    "copy": lambda x: keras.ops.copy(x) if KERAS_3 else tf.identity(x),
    "stop": lambda x: (keras.ops if KERAS_3 else tf).stop_gradient(x),
}


@pytest.mark.parametrize("operation", PASSING.values(), ids=PASSING)
def test_an_ending_behind_operations_that_only_pass_numbers_on(operation):
    image = keras.Input(SHAPE)
    for name in ("sigmoid", "softmax", "tanh"):
        bounded = layers.Dense(3, name)(layers.Flatten()(image))
        for end in (operation(bounded), operation(operation(bounded))):  # Keras numbers the second
            with pytest.raises(ValueError, match=f"ends in a {name}"):
                model_checks.check_ending(keras.Model(image, end))
    model_checks.check_ending(keras.Model(image, operation(logits(image))))


@pytest.mark.parametrize(
    "activation",
    [
        tf.nn.softmax,
        functools.partial(tf.nn.softmax, axis=-1),
        keras.activations.softmax,
        layers.Softmax(),
        tf.nn.sigmoid,
        tf.tanh,
    ],
)
@pytest.mark.parametrize("last", [lambda a: layers.Dense(3, a), layers.Activation])
def test_every_spelling_of_an_ending(activation, last):
    with pytest.raises(ValueError, match="ends in a (softmax|sigmoid|tanh)"):
        model_checks.check_ending(functional(lambda x: last(activation)(layers.Flatten()(x))))


@pytest.mark.parametrize(
    "activation", [layers.LeakyReLU(), functools.partial(keras.activations.elu, alpha=0.5)]
)
def test_an_ending_without_a_name(activation):
    model_checks.check_ending(functional(lambda x: layers.Activation(activation)(logits(x))))


class Own(keras.Model):
    """Its layers and outputs are known only when it is called."""

    def __init__(self, last, before=lambda x: x):
        super().__init__()
        self.before, self.last, self.pool = before, last, layers.Conv2D(4, 3, name="stem")

    def call(self, inputs):
        return self.last(self.pool(self.before(inputs)))


def flat(classes=3):
    return keras.Sequential([layers.Flatten(), layers.Dense(classes)])


ONLY_BY_TRIAL = {
    "several outputs": (lambda x: (x, x), "received 2 outputs"),
    "maps": (layers.Conv2D(3, 6), r"\(3, 1, 1, 3\). End the model in Flatten"),
    "one sigmoid": (flat(1), r"one output, .* Dense\(2\)"),
}


@pytest.mark.parametrize(("last", "message"), ONLY_BY_TRIAL.values(), ids=ONLY_BY_TRIAL)
def test_subclassed_models_are_tried_out(last, message):
    model = Own(last)
    model_checks.check_model(model)
    with pytest.raises(ValueError, match=message):
        model_checks.try_out(model, SHAPE)


def test_logits_in_a_dictionary():
    model = functional(lambda x: {"features": layers.Flatten()(x), "logits": logits(x)})
    model_checks.check_model(model)
    assert model_checks.symbolic_logits(model).shape == (None, 3)
    assert model_checks.count_classes(model) == 3
    assert model_checks.try_out(model, SHAPE).logits.shape == (3, 3)


def front(*parts):
    return keras.Sequential(
        [keras.Input(SHAPE), *parts, layers.Conv2D(4, 3, name="stem"), layers.Flatten(), flat()]
    )


def adapted(scale):
    layer = layers.Normalization()
    layer.adapt(scale * np.random.default_rng(0).random((64, *SHAPE), np.float32))
    return layer


def nested(*parts):
    inputs = keras.Input(SHAPE)
    inner = keras.Sequential([keras.Input(SHAPE), *parts])
    return keras.Model(inputs, logits(layers.Conv2D(4, 3, name="stem")(inner(inputs))))


caffe = keras.applications.resnet50.preprocess_input
zero_to_one = keras.applications.mobilenet_v2.preprocess_input
SCALED_TWICE = {
    "1/255": lambda: front(layers.Rescaling(1 / 255)),
    "1/127.5 - 1": lambda: front(layers.Rescaling(1 / 127.5, -1.0)),
    "adapted on 0 to 255": lambda: front(adapted(255.0)),
    "ImageNet's means": lambda: front(
        layers.Rescaling(1 / 255), layers.Normalization(mean=[0.5] * 3, variance=[0.05] * 3)
    ),
    "behind other layers": lambda: front(layers.ZeroPadding2D(), layers.Rescaling(1 / 255)),
    "nested": lambda: nested(layers.Rescaling(1 / 255)),
    "nested twice": lambda: nested(nested_part()),
    "batch normalisation": lambda: front(layers.Rescaling(1 / 255), layers.BatchNormalization()),
    "Lambda": lambda: front(layers.Lambda(lambda x: zero_to_one(x))),
    "Lambda, caffe": lambda: front(layers.Lambda(lambda x: caffe(x))),
    "in call": lambda: Own(flat(), before=lambda x: x / 255.0),
    "layer in call": lambda: Own(flat(), before=layers.Rescaling(1 / 255)),
    "frozen": lambda: frozen(front(layers.Rescaling(1 / 255))),
}


def nested_part():
    return keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255)])


def frozen(model):
    model.trainable = False
    return model


@pytest.mark.parametrize("build", SCALED_TWICE.values(), ids=SCALED_TWICE)
def test_a_model_that_scales_images_of_0_to_255_itself(build):
    model = build()
    said = model_checks.try_out(model, SHAPE).scaling
    assert "images of 0 to 255 itself" in said and "Rescaling(255.0) in front" in said
    remedy = keras.Sequential([keras.Input(SHAPE), layers.Rescaling(255.0), model])
    assert model_checks.try_out(remedy, SHAPE).scaling is None


RIGHT = {
    "as they are": lambda: front(),
    "to [-1, 1]": lambda: front(layers.Rescaling(2.0, -1.0)),
    "adapted on [0, 1]": lambda: front(adapted(1.0)),
    "by image": lambda: front(layers.Lambda(tf.image.per_image_standardization)),
    "pooled": lambda: front(layers.AveragePooling2D(2)),
    "to 255": lambda: front(layers.Rescaling(255.0)),
    "batch normalisation": lambda: front(layers.BatchNormalization()),
    "all weights 0": lambda: constant(front()),
    "small weights": lambda: constant(front(), 1e-4),
    "in call": lambda: Own(flat()),
}


def constant(model, value=0.0):
    model.set_weights([np.full_like(w, value) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("build", RIGHT.values(), ids=RIGHT)
def test_models_for_images_in_0_to_1(build):
    model = build()
    assert model_checks.try_out(model, SHAPE).scaling is None
    assert not any("call" in vars(layer) for layer in model.layers)  # nothing of ours stays
