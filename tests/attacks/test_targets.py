"""Targets by the distance of their borders: linear networks, where it is exact."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks import APGDT
from rlfat_tf.attacks.targets import linear_distances, nearest_first, wrong_classes

POINT = tf.fill([1, 2], 0.5)
WEIGHTS = np.array([[0, 0], [1, 0], [10, 10]], np.float32)
BIAS = np.array([1.0, 0.0, -9.8], np.float32)  # logits 1, .5, .2
LABEL = np.zeros(1, np.int32)


def linear(images):
    return tf.matmul(images, WEIGHTS.T) + BIAS


@pytest.mark.parametrize(
    "norm, expected", [("linf", [0.5, 0.8 / 20]), ("l2", [0.5, 0.8 / 200**0.5])]
)
def test_a_border_far_in_logits_may_be_near_in_images(norm, expected):
    np.testing.assert_allclose(linear(POINT), [[1, 0.5, 0.2]], atol=1e-6)
    order = wrong_classes(linear(POINT), LABEL)
    np.testing.assert_array_equal(order, [[1, 2]])
    found = linear_distances(linear, POINT, LABEL, order, norm=norm)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    np.testing.assert_array_equal(nearest_first(linear, POINT, LABEL, order, norm=norm), [[2, 1]])


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_against_numpy(norm, scale):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(6, 4, 3, 1)).astype(np.float32)
    weights = rng.normal(size=(12, 9)).astype(np.float32)

    def net(x):
        return tf.matmul(tf.reshape(x, [-1, 12]), weights) * scale

    logits = images.reshape(6, 12).astype(np.float64) @ weights
    labels = logits.argmax(-1).astype(np.int32)
    order = wrong_classes(tf.constant(logits, tf.float32), labels).numpy()
    expected = np.empty((6, 8))
    for i, label in enumerate(labels):
        for j, target in enumerate(order[i]):
            gradient = weights[:, label].astype(np.float64) - weights[:, target]
            size = np.abs(gradient).sum() if norm == "linf" else np.linalg.norm(gradient)
            expected[i, j] = (logits[i, label] - logits[i, target]) / size
    found = linear_distances(net, tf.constant(images), labels, order, norm=norm)
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    ranked = np.take_along_axis(order, np.argsort(expected, -1), 1)
    np.testing.assert_array_equal(
        nearest_first(net, tf.constant(images), labels, order, norm=norm), ranked
    )


def test_a_class_without_a_gradient_comes_last():
    weights = WEIGHTS.copy()
    weights[1] = 0  # as the label's: the difference is flat

    def net(images):
        return tf.matmul(images, weights.T) + BIAS

    order = tf.constant([[1, 2]])
    distances = linear_distances(net, POINT, LABEL, order, norm="linf")
    np.testing.assert_allclose(distances, [[np.inf, 0.8 / 20]], rtol=1e-5)
    np.testing.assert_array_equal(nearest_first(net, POINT, LABEL, order, norm="linf"), [[2, 1]])


def test_the_attack_follows_the_order():
    """One target and an epsilon that reaches the nearest border only, the other way."""
    weights = WEIGHTS * [[1, 1], [1, 1], [-1, 1]]

    def net(images):
        return tf.matmul(images, tf.constant(weights.T, tf.float32)) + [1.0, 0.0, 0.2]

    robust = [
        int(np.argmax(net(attack(net, POINT, LABEL)), -1)[0]) == 0
        for attack in (
            APGDT(epsilon=0.05, steps=5, targets=1, order=order) for order in ("logits", "malt")
        )
    ]
    assert robust == [True, False]


def test_what_is_misclassified_already_has_the_targets_of_its_label():
    """It is attacked too, for another classifier or where one of several passes errs by luck."""
    attack = APGDT(epsilon=0.1, targets=2, order="malt")
    # Away from class 2, to 0 by -0.8 / 20 and to 1 by -0.3 / 19; a label may be no class.
    np.testing.assert_array_equal(attack._aims(linear, POINT, tf.constant([2])), [[0, 1]])
    assert attack._aims(linear, POINT, tf.constant([7])).shape == (1, 2)
    assert attack._aims(linear, POINT[:0], tf.constant([], tf.int32)).shape == (0, 2)
