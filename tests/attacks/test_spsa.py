"""SPSA: its estimate against the gradient of a linear function, its steps against NumPy."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks.spsa import SPSA, signs
from rlfat_tf.core import random
from tests.attacks.recording import without_gradients

SHAPE = (3, 2, 1)
RNG = np.random.default_rng(0)
IMAGES = (0.3 + 0.4 * RNG.random((6, *SHAPE))).astype(np.float32)
W = RNG.normal(size=6).astype(np.float32)
SCORES = (IMAGES.reshape(6, -1) - 0.5) @ W
LABELS = (SCORES > 0).astype(np.int32)
AWAY = np.where(LABELS == 1, 1.0, -1.0)  # J = AWAY * score
REACH = np.abs(SCORES) / np.abs(W).sum()
ATTACK = SPSA(epsilon=float(np.sort(REACH)[3:5].mean()), steps=12, samples=40)


def linear(images):
    score = tf.linalg.matvec(tf.reshape(images, [-1, 6]) - 0.5, W)
    return tf.stack([tf.zeros_like(score), score], -1)


def run(attack, images=IMAGES, labels=LABELS, fn=linear, seed=3):
    return np.asarray(tf.function(lambda x, y: attack(fn, x, y, seed=seed))(images, labels))


@functools.lru_cache
def found_by_default():
    return run(ATTACK)


def seed_of(*examples):
    return random.as_seed(3)._replace(examples=tf.constant(examples))


def directions(attack, images, seed):
    """All directions of a step by NumPy, [batch, samples, pixels]."""
    bits = attack.directions(tf.constant(images), seed).numpy().view(np.uint32)
    bits = bits.reshape(len(images), bits.shape[1], -1)
    rows = [(bits[:, i // 32] >> np.uint32(i % 32)) & np.uint32(1) for i in range(attack.samples)]
    return 1.0 - 2.0 * np.stack(rows, 1)


def estimates(attack, images, labels, seed):
    """The equation of the paper: J is linear, so its difference is delta times the slope."""
    v = directions(attack, images, seed)
    slope = np.where(labels == 1, 1.0, -1.0)[:, None] * (v @ W.astype(np.float64))
    return (slope[:, :, None] * v).mean(1).reshape(images.shape)


def test_directions_are_signs_all_of_them_different():
    v = directions(ATTACK, IMAGES, seed_of(*range(6)))
    assert v.shape == (6, 40, 6) and set(v.ravel()) == {-1.0, 1.0}
    bits = ATTACK.directions(tf.constant(IMAGES), seed_of(*range(6)))
    read = signs(bits, tf.constant([0, 31, 32, 39]))
    np.testing.assert_array_equal(tf.reshape(read, [6, 4, 6]), v[:, [0, 31, 32, 39]])
    many = directions(ATTACK.replace(samples=4000), IMAGES, seed_of(*range(6)))
    assert np.abs(many.mean(1)).max() < 0.08
    covariance = np.einsum("bmi,bmj->bij", many, many) / 4000
    assert np.abs(covariance - np.eye(6)).max() < 0.08
    assert np.abs(np.einsum("ami,bmi->ab", many, many) / 24000 - np.eye(6)).max() < 0.05


@pytest.mark.parametrize("chunk", [1, 7, 8, 64])
def test_an_estimate_is_numpys_whatever_the_chunk(chunk):
    seed = seed_of(*range(6))
    found = ATTACK.replace(chunk=chunk).estimate(linear, tf.constant(IMAGES), LABELS, seed)
    np.testing.assert_allclose(found, estimates(ATTACK, IMAGES, LABELS, seed), atol=2e-4)


def test_the_estimate_approaches_the_gradient_of_the_margin():
    attack = SPSA(samples=4000, chunk=500)
    found = attack.estimate(linear, tf.constant(IMAGES), LABELS, seed_of(*range(6))).numpy()
    gradient = AWAY[:, None] * W
    # Its variance per pixel is sum_{j != i} w_j^2 / samples.
    bound = 5 * np.linalg.norm(W) / np.sqrt(4000)
    np.testing.assert_allclose(found.reshape(6, -1), gradient, atol=bound)


def twin(attack, x, label, example):
    """The whole attack on one image in float64."""
    start, m, v = x.astype(np.float64), 0.0, 0.0
    x = start
    for t in range(1, attack.steps + 1):
        seed = seed_of(example).fold(t - 1)
        g = estimates(attack, x[None].astype(np.float32), np.array([label]), seed)[0]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - attack.learning_rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        x = np.clip(np.clip(x, start - attack.epsilon, start + attack.epsilon), 0, 1)
        if ((x.ravel() - 0.5) @ W > 0) != label:
            break
    return x, t


def test_the_attack_is_numpys_and_survivors_go_on():
    found = found_by_default()
    ends = []
    for i in range(6):
        expected, end = twin(ATTACK, IMAGES[i], LABELS[i], i)
        np.testing.assert_allclose(found[i], expected, atol=1e-4)
        ends.append(end)
    assert len(set(ends)) > 2 and max(ends) == ATTACK.steps
    wrong = np.argmax(linear(found), -1) != LABELS
    np.testing.assert_array_equal(wrong, REACH < ATTACK.epsilon)
    np.testing.assert_allclose(run(ATTACK.replace(chunk=3)), found, atol=1e-4)


def test_work_shrinks_with_the_survivors():
    seen = []

    def spy(images):
        seen.append(images.shape[0])
        return linear(images)

    attack = ATTACK.replace(samples=5, chunk=3, steps=2, epsilon=0)
    labels = LABELS.copy()
    labels[[0, 3]] = 1 - labels[[0, 3]]
    np.testing.assert_array_equal(attack(spy, IMAGES, labels), IMAGES)  # epsilon is 0
    # All six once; then the pairs of 3 and of 2 directions of the four left, their test.
    assert seen == [6, 12, 12, 8, 8, 4, 12, 12, 8, 8, 4]
    np.testing.assert_array_equal(run(ATTACK, labels=1 - LABELS), IMAGES)


def test_no_gradient_is_asked_for():
    np.testing.assert_allclose(
        run(ATTACK, fn=without_gradients(linear)), found_by_default(), atol=1e-4
    )


def test_logits_that_are_not_numbers_do_no_harm():
    def broken(images):
        total = tf.reduce_sum(images, [1, 2, 3])
        return tf.stack([tf.where(total > 3.0, np.nan, 1.0), total - 3.0], 1)

    images = np.full((2, *SHAPE), 0.495, np.float32)
    found = run(ATTACK, images, np.zeros(2, np.int32), broken)
    assert np.all(np.isfinite(found))
