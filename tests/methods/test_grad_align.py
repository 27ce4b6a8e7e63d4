"""GradAlign against NumPy, whose g1 is a number: the gradient must not go through it."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import GradAlign
from rlfat_tf.core import norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.methods import Batch
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(5, seed=2)
SEED = random.as_seed(4)
OWN = SEED.fold(random.number("grad_align_loss"))


def batch(scale=None, dtype=tf.float64):
    return Batch(tf.constant(IMAGES, dtype), None, LABELS, None, SEED, scale)


def noise(number, epsilon, norm="linf"):
    draw = norms.get(norm).random_start(tf.constant(IMAGES), epsilon, "uniform", OWN.fold(number))
    return draw.numpy()


def slopes(net, images):
    """The gradient of CE by the images, flat."""
    logits, cache = net.forward(images)
    return net.backward(cache, reference.cross_entropy(LABELS, logits)[1])[1].reshape(5, -1)


def unlike(one, other):
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return 1 - (one * other).sum(1) / lengths


@pytest.mark.parametrize(
    ("arguments", "scale"),
    [({}, None), ({"start": "uniform"}, None), ({"norm": "l2", "epsilon": 2.0}, 0.5)],
)
def test_value_and_gradient(arguments, scale):
    term = GradAlign(**{"epsilon": 0.3, **arguments})
    model = reference.keras_net(dtype="float64", seed=1)
    net = reference.Net(model)
    radius = term.epsilon * (1.0 if scale is None else scale)
    first = IMAGES + (noise(1, radius, term.norm) if term.start == "uniform" else 0)
    fixed = slopes(net, first)
    second = IMAGES + noise(0, radius, term.norm)
    with tf.GradientTape() as tape:
        found = term(model, batch(scale and tf.constant(scale)), training=True)
        mean = tf.reduce_mean(found)
    np.testing.assert_allclose(found, unlike(fixed, slopes(net, second)), rtol=1e-4)
    assert np.min(found) > 1e-4
    # If the gradient went through g1 as well, it would be another one.
    numeric = reference.numeric_gradients(lambda: unlike(fixed, slopes(net, second)).mean(), net)
    gradients = tape.gradient(mean, model.trainable_variables)
    for variable, ours, theirs in zip(model.trainable_variables, gradients, numeric):
        ours = tf.zeros_like(variable) if ours is None else ours
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * np.abs(theirs).max())
    assert max(np.abs(theirs).max() for theirs in numeric) > 1e-3


def linear(classes):
    layers = [keras.Input(reference.SHAPE), keras.layers.Flatten(), keras.layers.Dense(classes)]
    return keras.Sequential(layers)


def test_two_classes_of_a_linear_model_are_aligned_and_three_are_not():
    labels = LABELS % 2
    two, three = (
        GradAlign(epsilon=0.5)(
            linear(classes), batch(dtype=tf.float32)._replace(labels=labels), training=True
        )
        for classes in (2, 3)
    )
    np.testing.assert_allclose(two, 0, atol=1e-6)
    assert np.max(three) > 1e-5


def test_an_example_without_a_gradient_is_left_out():
    model = linear(3)
    weights = [np.zeros(w.shape, np.float32) for w in model.get_weights()]
    model.set_weights(weights)
    with tf.GradientTape() as tape:
        found = GradAlign(epsilon=0.1)(model, batch(dtype=tf.float32), training=True)
    np.testing.assert_array_equal(found, np.zeros(5))
    for gradient in tape.gradient(found, model.trainable_variables):
        assert gradient is None or np.all(np.isfinite(gradient))
