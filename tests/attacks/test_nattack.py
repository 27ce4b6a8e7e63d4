"""N-attack against a NumPy twin that is given the same noise."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks.nattack import NAttack
from rlfat_tf.core import random
from tests.attacks.recording import without_gradients

SHAPE = (1, 2, 1)
RNG = np.random.default_rng(0)
# No pixel is black or white: there tanh is so flat that rewards differ by rounding only.
IMAGES = (0.1 + 0.8 * RNG.random((6, *SHAPE))).astype(np.float32)
IMAGES_T = tf.constant(IMAGES)
# Three classes, close together: members of one population have different runners-up.
A = np.array([[2.0, -1.0, -1.1], [-0.5, 1.0, -1.0]], np.float32)
BIAS = np.array([-0.6, 0.0, 1.2], np.float32)
ATTACK = NAttack(epsilon=0.2, population=24, iterations=12, test_every=5, learning_rate=0.005)


def logits_fn(images):
    return tf.reshape(images, [-1, 2]) @ A + BIAS


def leads(points, label):
    """The runner-up of every single point, minus the true class."""
    logits = points.reshape(-1, 2).astype(np.float64) @ A + BIAS
    return np.delete(logits, label, axis=1).max(1) - logits[:, label]


LABELS = np.argmax(logits_fn(IMAGES), -1).astype(np.int32)


def run(attack, images=IMAGES, labels=LABELS, fn=logits_fn, seed=3):
    return np.asarray(tf.function(lambda x, y: attack(fn, x, y, seed=seed))(images, labels))


@functools.lru_cache
def found_by_default():
    return run(ATTACK)


def seed_of(*examples):
    return random.as_seed(3)._replace(examples=tf.constant(examples))


def points_of(attack, x, shift):
    x = np.asarray(x, np.float64)
    latent = np.arctanh((1 - 1e-6) * (2 * x - 1))
    delta = 0.5 * np.tanh(latent + shift) + 0.5 - x
    return x + np.clip(delta, -attack.epsilon, attack.epsilon)


def updated(attack, x, label, mean, noise):
    """The equations of the paper for one image; noise is [population, ...]."""
    points = points_of(attack, x, mean + attack.sigma * noise)
    reward = -0.5 * np.maximum(0, -leads(points, label))
    score = (reward - reward.mean()) / (reward.std() + 1e-7)
    total = (score[:, None, None, None] * noise).sum(0)
    return mean + attack.learning_rate / (attack.population * attack.sigma) * total


def test_an_update_is_numpys():
    seed, n = seed_of(*range(6)), ATTACK.population
    mean = RNG.normal(0, 0.1, IMAGES.shape).astype(np.float32)
    noise = ATTACK.noise(IMAGES_T, tf.range(3), seed).numpy()
    assert noise.shape == (6, n, *SHAPE)
    found = ATTACK.update(logits_fn, IMAGES_T, tf.constant(LABELS), tf.constant(mean), seed)
    for i in range(6):
        expected = updated(ATTACK, IMAGES[i], LABELS[i], mean[i], noise[i])
        np.testing.assert_allclose(found[i], expected, atol=1e-5)
        assert np.abs(expected - mean[i]).max() > 0.001


def test_members_have_runners_up_of_their_own():
    """Or the test above could not tell them from one runner-up for all."""
    noise = ATTACK.noise(IMAGES_T, tf.range(3), seed_of(*range(6))).numpy()
    differ = 0
    for i in range(6):
        points = points_of(ATTACK, IMAGES[i], ATTACK.sigma * noise[i])
        logits = points.reshape(-1, 2) @ A + BIAS
        logits[:, LABELS[i]] = -np.inf
        differ += len(set(logits.argmax(1))) > 1
    assert differ > 0


def test_equal_rewards_leave_the_mean_alone():
    mean = tf.constant(RNG.normal(0, 0.1, IMAGES.shape), tf.float32)
    wrong = tf.constant((LABELS + 1) % 3)
    constants = (
        lambda x: tf.one_hot(tf.repeat(LABELS, 24), 3) + 0 * x[:, :1, 0, 0],  # all wrong: R = 0
        lambda x: 0.3 * tf.one_hot(tf.repeat(wrong, 24), 3) + 0 * x[:, :1, 0, 0],  # all R = -0.15
    )
    whole = ATTACK.replace(chunk=24)
    for constant in constants:
        found = whole.update(constant, IMAGES_T, wrong, mean, seed_of(*range(6)))
        np.testing.assert_array_equal(found, mean)


@pytest.mark.parametrize("chunk", [20, 50])
def test_the_chunk_does_not_change_the_result(chunk):
    seed = seed_of(*range(6))
    whole = ATTACK.noise(IMAGES_T, tf.range(3), seed).numpy()
    part = ATTACK.noise(IMAGES_T, tf.range(1, 3), seed)
    np.testing.assert_array_equal(part, whole[:, 10:])
    flat = whole.reshape(144, 2)
    assert len({tuple(row) for row in flat}) == 144
    assert abs(flat.mean()) < 0.2 and abs(flat.std() - 1) < 0.15
    np.testing.assert_allclose(run(ATTACK.replace(chunk=chunk)), found_by_default(), atol=1e-4)


def twin(attack, x, label, example):
    """The whole attack on one image; returns the point and the iterations that it took."""
    seed, x_t = seed_of(example), tf.constant(x[None])
    mean = random.normal(seed.fold(0), x_t.shape, 1e-3).numpy()[0]
    for i in range(attack.iterations):
        noise = attack.noise(x_t, tf.range(3), seed.fold(1, i)).numpy()[0]
        mean = updated(attack, x, label, mean, noise)
        if (i + 1) % attack.test_every == 0 or i + 1 == attack.iterations:
            point = points_of(attack, x, mean)
            if leads(point, label)[0] > 0:
                break
    return point, i + 1


def test_the_attack_is_numpys_and_survivors_go_on():
    found = found_by_default()
    ends = []
    for i in range(6):
        expected, end = twin(ATTACK, IMAGES[i], LABELS[i], i)
        np.testing.assert_allclose(found[i], expected, atol=1e-5)
        ends.append(end)
    assert set(ends) == {5, 10, 12}  # or the test says nothing of those that go on


def test_work_shrinks_with_the_survivors():
    seen = []

    def spy(images):
        seen.append(images.shape[0])
        return logits_fn(images)

    attack = ATTACK.replace(population=14, chunk=10, iterations=3, test_every=2, epsilon=0.0)
    labels = LABELS.copy()
    labels[[0, 3]] = (labels[[0, 3]] + 1) % 3
    found = np.asarray(attack(spy, IMAGES, labels))
    np.testing.assert_array_equal(found, IMAGES)  # epsilon is 0
    # All six once; then chunks of 10 and 4 members of the four that are correct, and their test.
    assert seen == [6, 40, 16, 40, 16, 4, 40, 16, 4]
    labels = (LABELS + 1) % 3
    np.testing.assert_array_equal(run(ATTACK, labels=labels), IMAGES)


def test_it_finds_examples_where_there_are_some():
    weights = RNG.normal(size=6).astype(np.float32)
    images = (0.3 + 0.4 * RNG.random((8, 3, 2, 1))).astype(np.float32)
    scores = (images.reshape(8, -1) - 0.5) @ weights

    def linear(x):
        score = tf.linalg.matvec(tf.reshape(x, [-1, 6]) - 0.5, weights)
        return tf.stack([0 * score, score], -1)

    labels = (scores > 0).astype(np.int32)
    reach = np.abs(scores) / np.abs(weights).sum()
    epsilon = float(np.sort(reach)[4:6].mean())
    attack = NAttack(epsilon=epsilon, population=40, iterations=60, learning_rate=0.05)
    found = run(attack, images, labels, linear)
    wrong = np.argmax(linear(found), -1) != labels
    np.testing.assert_array_equal(wrong, reach < epsilon)


def test_no_gradient_is_asked_for():
    np.testing.assert_allclose(
        run(ATTACK, fn=without_gradients(logits_fn)), found_by_default(), atol=1e-4
    )


def test_logits_that_are_not_numbers_do_no_harm():
    def broken(images):
        total = tf.reduce_sum(images, [1, 2, 3])
        return tf.stack([tf.where(total > 1.0, np.nan, 1.0), total, 0 * total], 1)

    images = np.full((2, *SHAPE), 0.49, np.float32)
    found = run(ATTACK, images, np.zeros(2, np.int32), broken)
    assert np.all(np.isfinite(found))
