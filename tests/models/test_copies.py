"""Layers that Keras cannot make again from their configuration: copied all the same, or named."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf.core.compat import keras
from tests.models.theirs import SHAPE, layers


@pytest.mark.parametrize(
    "activation",
    [tf.nn.silu, lambda x: tf.maximum(x, 0.1 * x), functools.partial(tf.nn.leaky_relu, alpha=0.2)],
)
def test_activations_that_keras_cannot_name(activation):
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(2, 3, activation=activation),
            layers.Flatten(),
            layers.Dense(3, activation=tf.nn.softmax),
        ]
    )
    images = np.random.default_rng(3).random((2, *SHAPE), np.float32)
    logits = rlfat_tf.adapt(model, input="unit")(images)
    np.testing.assert_allclose(tf.nn.softmax(logits), model(images), rtol=1e-5)
    assert model.layers[0].activation is activation


class Activating(layers.Layer):
    """A layer that keeps its activation under another name in its configuration."""

    def __init__(self, function=None, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(function)

    def call(self, inputs):
        return self.activation(inputs)

    def get_config(self):
        return {**super().get_config(), "function": keras.activations.serialize(self.activation)}


@pytest.mark.parametrize("activation", ["tanh", tf.nn.silu])
def test_an_activation_under_another_name(activation):
    model = keras.Sequential(
        [keras.Input(SHAPE), Activating(activation), layers.Flatten(), layers.Dense(3)]
    )
    images = np.random.default_rng(3).random((2, *SHAPE), np.float32)
    adapted = rlfat_tf.adapt(model, input="unit")
    np.testing.assert_allclose(adapted(images), model(images), rtol=1e-5)


class Scaled(layers.Layer):
    """A layer that does not say what its constructor was given."""

    def __init__(self, factor, other):
        super().__init__()
        self.factor = factor + other

    def call(self, inputs):
        return self.factor * inputs

    def get_config(self):
        return {"factor": self.factor}


def test_a_layer_that_cannot_be_copied_is_named():
    model = keras.Sequential(
        [keras.Input(SHAPE), Scaled(2.0, 1.0), layers.Flatten(), layers.Dense(3)]
    )
    with pytest.raises(
        ValueError, match=r"\(Scaled\) cannot be copied.* give the class of the layer"
    ):
        rlfat_tf.adapt(model, input="unit")
