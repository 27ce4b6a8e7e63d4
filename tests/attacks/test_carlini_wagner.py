"""Carlini & Wagner against the distance to a hyperplane, Adam and the search over c by NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks.carlini_wagner import CWL2, CWTanh
from rlfat_tf.attacks.points import adam
from tests.attacks.contract import assert_same

SHAPE = (3, 2, 1)
PIXELS = 6
RNG = np.random.default_rng(0)
IMAGES = (0.35 + 0.3 * RNG.random((6, *SHAPE))).astype(np.float32)
W = RNG.normal(size=PIXELS).astype(np.float32)
BIAS = np.float32(-0.5 * W.sum())  # the hyperplane passes through the middle of the cube
SCORES = IMAGES.reshape(6, -1) @ W + BIAS
LABELS = (SCORES > 0).astype(np.int32)
QUICK_L2 = CWL2(steps=60, binary_search_steps=4, learning_rate=0.05, initial_const=0.1)
QUICK_TANH = CWTanh(epsilon=0.08, steps=30, binary_search_steps=3)


def linear(images):
    """Two classes with logits (0, w x + b): correct where SCORES say so."""
    score = tf.linalg.matvec(tf.reshape(images, [-1, PIXELS]), W) + BIAS
    return tf.stack([tf.zeros_like(score), score], -1)


def run(attack, logits_fn=linear, images=IMAGES, labels=LABELS):
    """Runs the attack as a graph, which is many times faster than step by step."""
    return np.asarray(tf.function(lambda x, y: attack(logits_fn, x, y))(images, labels))


def lengths(delta):
    return np.sqrt(np.square(np.asarray(delta, np.float64).reshape(len(delta), -1)).sum(-1))


def leads(images, labels=LABELS):
    score = np.asarray(images).reshape(len(images), -1) @ W + BIAS
    return np.where(labels == 1, -score, score)


def test_adam_is_the_papers():
    rng = np.random.default_rng(3)
    m = v = mean = square = np.zeros(4)
    mean, square = tf.constant(mean, tf.float32), tf.constant(square, tf.float32)
    for t in range(1, 6):
        gradient = rng.normal(size=4)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        expected = -0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        change, mean, square = adam(t - 1, tf.constant(gradient, tf.float32), mean, square, 0.02)
        np.testing.assert_allclose(change, expected, rtol=1e-4)


@pytest.mark.parametrize("confidence", [0.0, 0.3])
def test_l2_reaches_the_hyperplane_along_the_normal(confidence):
    attack = CWL2(
        confidence=confidence,
        steps=300,
        binary_search_steps=9,
        learning_rate=0.01,
        initial_const=0.1,
    )
    found = run(attack)
    delta = found - IMAGES
    nearest = (np.abs(SCORES) + confidence) / np.linalg.norm(W)
    assert found.min() > 0 and found.max() < 1  # or the closed form would not hold
    assert np.all(leads(found) >= confidence - 1e-5)
    assert np.all(lengths(delta) >= nearest - 1e-4)
    np.testing.assert_allclose(lengths(delta), nearest, rtol=0.03, atol=2e-3)
    direction = np.where(LABELS == 1, -1, 1)[:, None] * W / np.linalg.norm(W)
    cosine = (delta.reshape(6, -1) * direction).sum(-1) / lengths(delta)
    assert np.all(cosine > 0.98)


def reference_search(x, label, *, steps, searches, rate, const, epsilon=None):
    """One example in float64 from the paper: w, Adam, the bisection of c; confidence 0."""
    x, w_normal = x.ravel().astype(np.float64), W.astype(np.float64) * (1 - 2 * label)
    low_x, high_x = (0, 1) if epsilon is None else (x - epsilon, x + epsilon)
    middle, half = (low_x + high_x) / 2, (high_x - low_x) / 2
    c, low, high, best, best_length = const, 0, np.inf, x, np.inf
    for _ in range(searches):
        w, found = np.arctanh(np.clip((x - middle) / half, 1e-6 - 1, 1 - 1e-6)), False
        m = v = np.zeros_like(w)
        for t in range(1, steps + 2):
            point = middle + half * np.tanh(w)
            delta = point - x
            lead = point @ w_normal + BIAS * (1 - 2 * label)
            length = np.sqrt((delta**2).sum())
            if lead > 0:
                found = True
                if length < best_length:
                    best, best_length = point, length
            pull = 2 * delta if epsilon is None else delta / max(length, 1e-6) * (length > 1e-6)
            gradient = (pull - c * w_normal * (lead < 0)) * half * (1 - np.tanh(w) ** 2)
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        low, high = (low, c) if found else (c, high)
        c = 10 * c if np.isinf(high) else (low + high) / 2
    return best


@pytest.mark.parametrize("epsilon", [None, 0.2])
def test_the_search_is_numpys(epsilon):
    arguments = {"steps": 25, "learning_rate": 0.05, "initial_const": 0.02}
    if epsilon is None:
        attack = CWL2(binary_search_steps=5, **arguments)
    else:
        attack = CWTanh(epsilon=epsilon, binary_search_steps=5, **arguments)
    found = run(attack)
    for i in range(6):
        expected = reference_search(
            IMAGES[i], LABELS[i], steps=25, searches=5, rate=0.05, const=0.02, epsilon=epsilon
        )
        np.testing.assert_allclose(found[i].ravel(), expected, atol=2e-4)


def test_every_example_has_a_c_of_its_own():
    """The image far from the plane needs c 100 times as great; the near one loses nothing by it."""
    scale = np.float32(1e-2)
    images = IMAGES[[np.argmin(np.abs(SCORES)), np.argmax(np.abs(SCORES))]]
    labels = LABELS[[np.argmin(np.abs(SCORES)), np.argmax(np.abs(SCORES))]]
    attack = QUICK_L2.replace(binary_search_steps=6)
    both = run(attack, lambda x: scale * linear(x), images, labels)
    for i in range(2):
        alone = run(attack, lambda x: scale * linear(x), images[i : i + 1], labels[i : i + 1])
        assert_same(both[i], alone[0])
    assert np.all(leads(both, labels) > 0)


def test_tanh_finds_examples_exactly_where_there_are_some():
    reach = np.abs(SCORES) / np.abs(W).sum()  # of the corner of the ball; the range is not met
    epsilon = float(np.sort(reach)[2:4].mean())
    found = run(CWTanh(epsilon=epsilon))
    assert np.abs(found - IMAGES).max() <= epsilon + 1e-6
    np.testing.assert_array_equal(leads(found) > 0, reach < epsilon)
    np.testing.assert_array_equal(found[reach > epsilon], IMAGES[reach > epsilon])
    # The nearest point of the plane is one of the ball where no pixel needs more than epsilon.
    inside = np.abs(SCORES) / (W @ W) * np.abs(W).max() < epsilon
    assert inside.any()
    ratio = lengths(found - IMAGES)[inside] / (np.abs(SCORES) / np.linalg.norm(W))[inside]
    assert np.all(ratio >= 1 - 1e-3) and np.all(ratio < 1.25)


def test_an_unreachable_confidence_leaves_the_misclassified_point_that_came_closest():
    reach = np.abs(SCORES) / np.abs(W).sum()
    epsilon = float(1.5 * np.sort(reach)[3])
    found = run(CWTanh(epsilon=epsilon, confidence=50.0))
    np.testing.assert_array_equal(leads(found) > 0, reach < epsilon)
    corner = epsilon * np.abs(W).sum() - np.abs(SCORES)
    np.testing.assert_allclose(leads(found)[reach < epsilon], corner[reach < epsilon], rtol=0.05)


def test_black_and_white_pixels_do_move():
    images = np.zeros((2, *SHAPE), np.float32)
    images[1] = 1
    scores = np.array([0.0, W.sum()]) + BIAS
    labels = (scores > 0).astype(np.int32)
    for attack in (CWL2(initial_const=1.0, binary_search_steps=5), CWTanh(epsilon=1.0)):
        found = run(attack, linear, images, labels)
        assert np.all(leads(found, labels) > 0)
        assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("attack", [QUICK_L2, QUICK_TANH])
def test_misclassified_images_are_returned_as_they_are(attack):
    labels = LABELS.copy()
    labels[[1, 4]] = 1 - labels[[1, 4]]
    seen = []

    def logits_fn(images):
        seen.append(images.shape[0])
        return linear(images)

    short = attack.replace(steps=3, binary_search_steps=2)
    found = np.asarray(short(logits_fn, IMAGES, labels))
    np.testing.assert_array_equal(found[[1, 4]], IMAGES[[1, 4]])
    assert seen[0] == 6 and set(seen[1:]) == {4}
    np.testing.assert_array_equal(attack(linear, IMAGES, 1 - LABELS), IMAGES)


def test_logits_that_are_not_numbers_do_no_harm():
    def broken(images):
        total = tf.reduce_sum(images, [1, 2, 3])
        return tf.stack([tf.where(tf.abs(total - 3.0) > 1e-3, np.nan, 1.0) + 0 * total, total], 1)

    images = np.full((2, *SHAPE), 0.5, np.float32)
    for attack in (QUICK_L2, QUICK_TANH):
        found = run(attack, broken, images, np.array([1, 1]))
        assert np.all(np.isfinite(found)) and found.min() >= 0 and found.max() <= 1
