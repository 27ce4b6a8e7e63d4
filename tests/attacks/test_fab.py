"""FAB-T: its projections, exactness on linear models, and its steps against float64 NumPy."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks.fab import FABT, step_to_hyperplane
from tests import reference

SHAPE = reference.SHAPE
PIXELS = int(np.prod(SHAPE))
NET = reference.keras_net(seed=4)
IMAGES = reference.images_and_labels(8, seed=1)[0]
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
NORMS = ("linf", "l2")
WEIGHTS = np.random.default_rng(6).normal(size=(PIXELS, 4)).astype(np.float32)


def linear(images):
    return tf.reshape(images, [-1, PIXELS]) @ WEIGHTS


def length(delta, norm):
    flat = np.abs(np.asarray(delta, np.float64)).reshape(len(delta), -1)
    return flat.max(-1) if norm == "linf" else np.sqrt(np.square(flat).sum(-1))


def shortest(x, w, value, norm):
    """The projection by bisection: how far must the pixels go to gain |value|, in float64."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    way = -np.sign(value) * w
    room = np.where(way > 0, 1 - x, np.where(way < 0, x, 0))
    speed = np.abs(w) if norm == "l2" else np.ones_like(w)
    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        enough = np.sum(np.abs(w) * np.minimum(middle * speed, room)) >= abs(value)
        low, high = (low, middle) if enough else (middle, high)
    return np.sign(way) * np.minimum(high * speed, room)


def inside(found, images, attack):
    assert found.min() >= 0 and found.max() <= 1
    assert np.all(length(found - images, attack.norm) <= attack.epsilon + 1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sign", [1, -1])
def test_projection(norm, sign):
    rng = np.random.default_rng(0)
    x, w = rng.random((7, 4, 3, 2), np.float32), rng.normal(size=(7, 4, 3, 2)).astype(np.float32)
    w[:, 0, 0] = 0
    x[:, 1] = np.round(x[:, 1])  # no room, or a whole pixel of it
    room = np.where(-sign * w > 0, 1 - x, x)
    reach = (np.abs(w) * room).sum((1, 2, 3))
    # From planes that no border hinders to such as can hardly be reached, and one that cannot.
    value = (sign * np.array([0, 0.001, 0.2, 0.5, 0.9, 0.99, 1.5]) * reach).astype(np.float32)
    step = step_to_hyperplane(tf.constant(x), tf.constant(w), tf.constant(value), norm).numpy()
    expected = [shortest(*row, norm) for row in zip(x, w, value)]
    np.testing.assert_allclose(step, expected, atol=2e-5)
    on_plane = (w * step).sum((1, 2, 3))[:-1] + value[:-1]
    np.testing.assert_allclose(on_plane, 0, atol=3e-6)
    np.testing.assert_array_equal(step[0], 0)
    assert np.all(step[:, 0, 0] == 0)
    assert x.min() <= (x + step).min() and (x + step).max() <= 1
    saturated = np.isclose(np.abs(step), room) & (w != 0) & (room > 0)
    assert list(saturated.sum((1, 2, 3)) > 0) == [False, False, True, True, True, True, True]
    corner = np.where(w == 0, 0, -sign * np.sign(w) * room)
    np.testing.assert_allclose(step[-1], corner[-1], atol=1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_without_borders_is_the_closed_form(norm):
    rng = np.random.default_rng(1)
    w = rng.normal(size=(3, PIXELS)).astype(np.float32)
    value = np.array([0.5, -0.7, 0.1], np.float32)
    step = step_to_hyperplane(tf.fill([3, PIXELS], 0.5), tf.constant(w), tf.constant(value), norm)
    if norm == "linf":
        expected = -value[:, None] * np.sign(w) / np.abs(w).sum(1, keepdims=True)
    else:
        expected = -value[:, None] * w / np.square(w).sum(1, keepdims=True)
    # Sums of 60 terms of one sign: each is exact to 60 u of itself, u = 2^-24, and they divide.
    exact = 2 * PIXELS * 2.0**-24
    np.testing.assert_allclose(step, expected, rtol=exact)
    # Neither tiny nor large gradients change it; a zero one leads nowhere.
    for scale in (1e-30, 1e25):
        scaled = tf.constant(w * np.float32(scale)), tf.constant(value * np.float32(scale))
        same = step_to_hyperplane(tf.fill([3, PIXELS], 0.5), *scaled, norm)
        np.testing.assert_allclose(same, expected, rtol=exact)
    none = step_to_hyperplane(tf.fill([3, PIXELS], 0.5), 0.0 * w, tf.constant(value), norm)
    np.testing.assert_array_equal(none, 0)


@functools.lru_cache
def minimal(norm, eta, steps):
    attack = FABT(norm=norm, epsilon=0.01, steps=steps, eta=eta)
    return tf.function(lambda x, y: attack.minimal(linear, x, y))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("borders", [False, True])
def test_the_minimal_perturbation_of_a_linear_classifier(norm, borders):
    images = IMAGES if borders else np.float32(0.4 + 0.2 * IMAGES)
    labels = np.argmax(linear(images), -1)
    logits = np.asarray(images, np.float64).reshape(8, -1) @ WEIGHTS
    exact, clipped = [], 0
    for image, label, z in zip(images.reshape(8, -1), labels, logits):
        others = [c for c in range(4) if c != label]
        steps = [
            shortest(image, WEIGHTS[:, c] - WEIGHTS[:, label], z[c] - z[label], norm)
            for c in others
        ]
        sizes = length(np.stack(steps), norm)
        exact.append(sizes.min())
        step = steps[np.argmin(sizes)]
        clipped += np.sum(np.isclose(image + step, 0) | np.isclose(image + step, 1))
    assert (clipped > 0) == borders

    for eta, steps, tolerance in ((1.0002, 1, 3e-4), (1.05, 6, 0.01)):
        found = minimal(norm, eta, steps)(images, labels).numpy()
        assert np.all(np.argmax(linear(found), -1) != labels)
        assert found.min() >= 0 and found.max() <= 1
        ratio = length(found - images, norm) / exact
        assert np.all(ratio >= 1 - 1e-5) and np.all(ratio <= 1 + tolerance), ratio


def simulate(attack, images, labels, net=NET):
    """The same search in float64, one example at a time."""
    twin = reference.Net(net)

    def look(x):
        logits, cache = twin.forward(x[None], training=False)
        return logits[0], cache

    def nearest(x, label):
        best, distance = x, np.inf
        clean = look(x)[0]
        assert np.argmax(clean) == label
        for target in [c for c in np.argsort(-clean) if c != label]:
            now = x
            for _ in range(attack.steps):
                logits, cache = look(now)
                towards = np.zeros((1, 3))
                towards[0, target], towards[0, label] = 1, -1
                w = twin.backward(cache, towards)[1].reshape(SHAPE)
                value = logits[target] - logits[label]
                here = shortest(now, w, value, attack.norm)
                there = shortest(x, w, value + np.sum(w * (x - now)), attack.norm)
                a, b = length(np.stack([here, there]), attack.norm)
                alpha = min(a / (a + b), attack.alpha_max)
                now = (1 - alpha) * (now + attack.eta * here) + alpha * (x + attack.eta * there)
                now = np.clip(now, 0, 1)
                if np.argmax(look(now)[0]) != label:
                    size = length((now - x)[None], attack.norm)[0]
                    if size < distance:
                        best, distance = now, size
                    now = x + attack.beta * (now - x)
        return best

    return np.stack([nearest(x, y) for x, y in zip(np.asarray(images, np.float64), labels)])


@pytest.mark.parametrize("norm", NORMS)
def test_the_steps_against_numpy(norm):
    attack = FABT(norm=norm, steps=5)
    expected = simulate(attack, IMAGES, LABELS)
    found = tf.function(lambda x, y: attack.minimal(NET, x, y))(IMAGES, LABELS).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-4)
    # The attack itself gives back what is not within epsilon.
    distance = length(expected - IMAGES, norm)
    attack = attack.replace(epsilon=np.median(distance))
    near = distance <= attack.epsilon
    assert near.sum() == 4
    attacked = tf.function(lambda x, y: attack(NET, x, y))(IMAGES, LABELS).numpy()
    inside(attacked, IMAGES, attack)
    np.testing.assert_array_equal(attacked[~near], IMAGES[~near])
    wrong = np.argmax(NET(attacked), -1) != LABELS
    np.testing.assert_array_equal(wrong, near)


class Recorder:
    """Counts the passes of a model and keeps the points that it sees."""

    def __init__(self, logits_fn):
        self.logits_fn, self.seen = logits_fn, []

    def __call__(self, images):
        self.seen.append(np.asarray(images))
        return self.logits_fn(images)


def test_the_nearest_examples_are_checked_as_those_of_a_call_are():
    nearest = FABT(steps=3).minimal
    expected = nearest(NET, IMAGES, LABELS)
    found = nearest(lambda x: {"logits": NET(x)}, IMAGES, LABELS)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="uint8"):
        nearest(NET, (255 * IMAGES).astype(np.uint8), LABELS)
    for images, labels in ((255 * IMAGES, LABELS), (IMAGES, LABELS + 3)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            nearest(NET, images, labels)


def test_targets_are_tried_in_order_and_only_where_needed():
    # Class 1 is the runner-up but cannot win; class 2 can, if the second pixel rises.
    def logits(images):
        first, second = images[:, 0, 0, 0], images[:, 0, 1, 0]
        return tf.stack([0 * first, -0.1 + 0.01 * first, 10.0 * (second - 0.6)], -1)

    images = np.full((3, 1, 2, 1), 0.5, np.float32)
    images[1, 0, 1] = 0.59  # near the border to class 2
    images[2, 0, 1] = 0.7  # misclassified to begin with
    model = Recorder(logits)
    attack = FABT(epsilon=0.2, steps=2)
    found = attack(model, images, np.zeros(3, int)).numpy()
    # The clean pass; towards class 1 what is correct; towards class 2 what is left.
    assert [len(x) for x in model.seen] == [3] + 4 * [2] + 4 * [2]
    assert np.all(np.argmax(logits(found), -1) == 2)
    assert found[1, 0, 1, 0] < 0.61 and found[0, 0, 1, 0] < 0.61
    np.testing.assert_array_equal(found[2], images[2])
    # The second example fails towards its runner-up, class 2, and is left alone from then on.
    images[1, 0, 1] = 0.595
    model = Recorder(logits)
    attack(model, images, np.zeros(3, int))
    assert [len(x) for x in model.seen] == [3] + 4 * [2] + 4 * [1]
    # One target: class 1 for the first.
    model = Recorder(logits)
    one = attack.replace(targets=1)(model, images, np.zeros(3, int)).numpy()
    assert [len(x) for x in model.seen] == [3] + 4 * [2]
    np.testing.assert_array_equal(one[0], images[0])
    # All targets for all, if the nearest is asked for.
    model = Recorder(logits)
    nearest = attack.minimal(model, images, np.zeros(3, int)).numpy()
    assert [len(x) for x in model.seen] == [3] + 8 * [2]
    np.testing.assert_allclose(nearest[:, 0, 1, 0], [0.6, 0.6, 0.7], atol=0.01)


@pytest.mark.parametrize("norm", NORMS)
def test_later_starts_are_at_random_at_half_the_distance(norm):
    images = np.float32(0.4 + 0.2 * IMAGES[:2])
    labels = np.argmax(linear(images), -1)
    model = Recorder(linear)
    attack = FABT(norm=norm, epsilon=0.004, steps=1, restarts=3, targets=1)
    attack(model, images, labels, seed=1)
    starts = model.seen[1::2]
    assert len(starts) == 3
    np.testing.assert_array_equal(starts[0], images)
    for start in starts[1:]:  # nothing was found within epsilon
        np.testing.assert_allclose(length(start - images, norm), 0.002, rtol=1e-3)
    assert np.any(starts[1] != starts[2])
    model = Recorder(linear)
    found = attack.replace(epsilon=0.9).minimal(model, images, labels, seed=1)
    distance = length(model.seen[2] - images, norm)
    np.testing.assert_allclose(length(model.seen[3] - images, norm), distance / 2, rtol=1e-3)
    assert np.all(length(found - images, norm) <= distance + 1e-6)


def test_a_point_within_epsilon_counts_and_none_beyond():
    def logits(images):
        x = images[:, 0, 0, 0]
        return tf.stack([0 * x, x - 0.6], -1)

    image, label = np.full((1, 1, 1, 1), 0.5, np.float32), np.zeros(1, int)
    for epsilon in (0.09, 0.1, 0.11, 0.2):
        found = FABT(epsilon=epsilon, steps=4)(logits, image, label).numpy()
        if epsilon > 0.1:
            assert 0.6 < found <= 0.5 + epsilon
        else:
            np.testing.assert_array_equal(found, image)


def test_a_batch_without_a_correct_example_costs_one_pass():
    model = Recorder(NET)
    attack = FABT(epsilon=0.1, steps=2)
    np.testing.assert_array_equal(attack(model, IMAGES, (LABELS + 1) % 3), IMAGES)
    assert len(model.seen) == 1
