"""SmoothGrad where its value is known: without noise, of linear and of quadratic classifiers."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import random
from rlfat_tf.evaluation.measures.saliency import salience_picture, smooth_grad
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(4, seed=1)
NET = reference.keras_net(seed=4)
# Of the second the range is half of the first's.
LARGE = np.random.default_rng(0).random((2, 24, 24, 3), np.float32)
LARGE[0, 0, 0], LARGE[0, 0, 1] = 0.0, 1.0
LARGE[1] = 0.25 + LARGE[0] / 2
FACTORS = tf.constant([1.0, 0.5, -2.0])


def quadratic(images):
    """S_c(x) = a_c sum x^2 / 2, whose gradient is a_c x."""
    return tf.reduce_sum(images**2, [1, 2, 3])[:, None] * FACTORS / 2


def test_without_noise_it_is_the_gradient_of_the_logit():
    found = smooth_grad(NET, IMAGES, LABELS, noise=0.0, samples=3)
    net = reference.Net(NET)
    _, cache = net.forward(IMAGES, training=False)
    expected = net.backward(cache, np.eye(3)[LABELS])[1].reshape(IMAGES.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    squared = smooth_grad(NET, IMAGES, LABELS, noise=0.0, samples=3, magnitude=True)
    np.testing.assert_allclose(squared, expected**2, atol=1e-5)


def test_noise_changes_nothing_where_the_gradient_is_the_same_everywhere():
    weights = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    found = smooth_grad(lambda x: tf.reshape(x, [-1, 60]) @ weights, IMAGES, LABELS)
    expected = weights.T[LABELS].reshape(IMAGES.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_noise_has_the_right_mean_and_spread():
    samples, noise, classes = 16, 0.2, [1, 2]
    found = smooth_grad(quadratic, LARGE, classes, samples=samples, noise=noise).numpy()
    squares = smooth_grad(
        quadratic, LARGE, classes, samples=samples, noise=noise, magnitude=True
    ).numpy()
    for image, map_, square, factor, extent in zip(LARGE, found, squares, (0.5, -2.0), (1, 0.5)):
        mean_of_noise = map_ / factor - image
        spread = noise * extent / np.sqrt(samples)
        assert abs(mean_of_noise.mean()) < 4 * spread / np.sqrt(image.size)
        np.testing.assert_allclose(mean_of_noise.std(), spread, rtol=0.06)
        expected = factor**2 * (image**2 + (noise * extent) ** 2)
        np.testing.assert_allclose(square.mean(), expected.mean(), rtol=0.02)


def test_one_sample_is_the_gradient_at_one_noisy_image():
    found = smooth_grad(quadratic, LARGE, [0, 0], samples=1, noise=0.15, seed=3).numpy()
    draw = random.normal(random.as_seed(3).of_examples(2).fold(0), LARGE.shape).numpy()
    extent = np.array([1, 0.5]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(found, LARGE + 0.15 * extent * draw, atol=1e-5)


def test_reproduces_and_does_not_depend_on_the_rest_of_the_batch():
    whole = smooth_grad(NET, IMAGES, LABELS, seed=5)
    np.testing.assert_array_equal(smooth_grad(NET, IMAGES, LABELS, seed=5), whole)
    np.testing.assert_allclose(
        smooth_grad(NET, IMAGES[:2], LABELS[:2], seed=5), whole[:2], rtol=1e-4, atol=1e-6
    )
    last = random.as_seed(5)._replace(examples=tf.constant([3]))
    np.testing.assert_allclose(
        smooth_grad(NET, IMAGES[3:], LABELS[3:], seed=last), whole[3:], rtol=1e-4, atol=1e-6
    )
    assert not np.allclose(smooth_grad(NET, IMAGES, LABELS, seed=6), whole)


def test_the_classifier_is_traced_once():
    traces = []

    def counted(images):
        traces.append(tf.executing_eagerly())
        return NET(images)

    smooth_grad(counted, IMAGES, LABELS, samples=50)
    assert traces == [False]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="at least 1 sample; received 0"):
        smooth_grad(NET, IMAGES, LABELS, samples=0)
    with pytest.raises(ValueError, match="noise of at least 0; received -0.1"):
        smooth_grad(NET, IMAGES, LABELS, noise=-0.1)


def test_pictures():
    maps = np.random.default_rng(0).normal(size=(3, 10, 20, 2)).astype(np.float32)
    maps[1] *= 1000
    maps[2] = 0.5
    found = salience_picture(maps)
    assert found.shape == (3, 10, 20) and found.dtype == np.float32
    for picture, map_ in zip(found[:2], maps):
        strength = np.abs(map_[..., 0]) + np.abs(map_[..., 1])
        ordered = np.sort(strength.ravel())
        high = ordered[197] + 0.01 * (ordered[198] - ordered[197])  # 99 % of the way to the 199th
        expected = np.minimum((strength - ordered[0]) / (high - ordered[0]), 1)
        np.testing.assert_allclose(picture, expected, atol=1e-5)
        assert picture.min() == 0 and (picture == 1).sum() == 2
    assert not found[2].any()


def test_gradients_that_are_no_numbers_are_gaps():
    def root(images):  # whose derivative at 0 is infinite
        return tf.reduce_sum(tf.sqrt(images), [2, 3])[:, :3]

    images = np.full((2, 4, 5, 1), 0.25, np.float32)
    images[0, 1, 2], images[0, 2, 2] = 0.0, 0.5
    with pytest.warns(UserWarning, match="NaN or infinite somewhere on 1 of 2 images"):
        found = smooth_grad(root, images, [1, 2], noise=0.0, samples=2).numpy()
    expected = np.zeros_like(images)
    expected[0, 1], expected[1, 2] = 1.0, 1.0
    expected[0, 1, 2] = np.inf
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    picture = salience_picture(np.stack([found[0], np.full_like(found[0], np.nan)]))
    assert np.isnan(picture[1]).all()
    np.testing.assert_array_equal(picture[0, 1], [1, 1, np.nan, 1, 1])
    assert not picture[0, [0, 2, 3]].any()
