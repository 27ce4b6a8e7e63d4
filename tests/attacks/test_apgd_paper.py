"""Auto-PGD against Algorithm 1 in NumPy, one example at a time, and against closed forms."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks.apgd import APGD, APGDT, checkpoints
from tests import reference
from tests.attacks.contract import size_of
from tests.attacks.recording import (
    AWAY,
    IMAGES,
    MIDDLE,
    NETS,
    ONES,
    SHAPE,
    W,
    directly,
    linear,
    path_of,
    right_labels,
    run,
    spy,
)

# --- Algorithm 1 in NumPy ------------------------------------------------------------------------


def schedule(steps):
    """The paper's recurrence in fractions, with w_0."""
    p, marks = [Fraction(0), Fraction(22, 100)], {0}
    while p[-1] <= 1:
        marks.add(math.ceil(p[-1] * steps))
        p.append(p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)))
    return sorted(marks)


def auto_pgd(f, x, first, *, norm, epsilon, steps, rho=0.75):
    """Algorithm 1 for one example x [pixels].

    ``f(k, x_k)`` returns the loss and its gradient. Returns all x_k, the point of the greatest loss
    and, for each checkpoint, how many of how many steps rose and whether conditions 1 and 2 held.
    """

    def project(point):
        delta = point - x
        if norm == "linf":
            delta = np.clip(delta, -epsilon, epsilon)
        else:
            delta = delta * min(1, epsilon / max(np.linalg.norm(delta), 1e-30))
        return np.clip(x + delta, 0, 1)

    def direction(g):
        return np.sign(g) if norm == "linf" else g / max(np.linalg.norm(g), 1e-30)

    w, eta = schedule(steps), 2 * epsilon
    value, gradient = f(0, first)
    point = last = first
    best = (value, point, gradient)
    path, loss_at, rose = [first], [value], []  # loss_at[k]: of x_k after a return, if there is one
    halved_at, best_at, events = {0: False}, {0: value}, []
    for k in range(1, steps + 1):
        alpha = 1 if k == 1 else 0.75
        z = project(point + eta * direction(gradient))
        new = project(point + alpha * (z - point) + (1 - alpha) * (point - last))
        last, point = point, new
        path.append(point)
        value, gradient = f(k, point)
        rose.append(value > loss_at[-1])
        if value > best[0]:
            best = (value, point, gradient)
        if k in w:
            before = w[w.index(k) - 1]
            count, interval = sum(rose[before:k]), k - before
            one = count < rho * interval
            two = not halved_at[before] and best_at[before] == best[0]
            events.append((count, interval, one, two))
            halved_at[k], best_at[k] = one or two, best[0]
            if one or two:
                eta /= 2
                value, point, gradient = best
        loss_at.append(value)
    return path, best[1], events


def prescribed(values, gradients):
    """A classifier whose losses and gradients at x_0, x_1, ... are what is given [k, batch, ...].

    The first call sees the images; label 1 always leads.
    """
    calls = []

    def play(_):
        calls.append(0)
        k = min(max(len(calls) - 2, 0), len(values) - 1)
        return values[k], gradients[k]

    def logits(images):
        value, gradient = tf.numpy_function(play, [images], [tf.float32, tf.float32])
        slope = tf.reduce_sum(gradient * (images - tf.stop_gradient(images)), [1, 2, 3])
        loss = tf.ensure_shape(value + slope, [None])
        return tf.stack([loss, tf.fill(tf.shape(loss), 1000.0)], -1)

    return logits


@pytest.mark.parametrize(
    ("norm", "epsilon", "steps", "rho"),
    [("linf", 0.1, 100, 0.75), ("l2", 0.3, 100, 0.75), ("linf", 0.1, 23, 0.5)],
)
def test_the_path_on_any_losses_is_numpys(norm, epsilon, steps, rho):
    rng = np.random.default_rng(steps)
    count, shape = 8, (3, 2, 1)
    images = rng.uniform(0, 1, (count, *shape)).astype(np.float32)
    # Walks of integers, some falling and some rising, so that equal losses are equal exactly.
    moves = rng.integers(-2, 3, (steps + 1, count)) + np.linspace(-0.5, 2, count).round()
    moves[:, 7] = 1
    moves[steps // 2, 7] = -300  # it rises and rises, but nowhere near its best
    values = np.cumsum(moves, 0).astype(np.float32)
    gradients = rng.normal(size=(steps + 1, count, *shape)).astype(np.float32)
    attack = APGD(norm=norm, epsilon=epsilon, steps=steps, loss="margin", rho=rho)
    seen = []
    labels = np.ones(count, np.int32)
    found = run(attack, spy(prescribed(values, gradients), seen), images, labels, seed=1)
    path = path_of(seen, images, steps)
    kinds = set()
    for i in range(count):
        expected, _, events = auto_pgd(
            lambda k, _, i=i: (values[k, i], gradients[k, i].ravel().astype(np.float64)),
            images[i].ravel().astype(np.float64),
            path[0, i].astype(np.float64),
            norm=norm,
            epsilon=epsilon,
            steps=steps,
            rho=rho,
        )
        np.testing.assert_allclose(path[:, i], expected, atol=2e-6)
        kinds |= {(bool(one), bool(two)) for _, _, one, two in events}
    assert {(False, False), (True, False), (False, True), (True, True)} <= kinds
    assert size_of(norm, found - images).max() <= epsilon + 1e-6


def test_condition_1_needs_fewer_rises_than_rho():
    """The third interval of 100 steps has 16 of them, and 0.75 * 16 = 12."""
    rises, halves = [13, 12, 11], np.array([False, False, True])  # of three examples
    moves = [[1] * 41 + [-1] * (16 - n) + [1] * (n - 1) + [100] + [1] * 43 for n in rises]
    values = np.cumsum([[0, *of_one] for of_one in moves], 1).astype(np.float32).T
    # Up to the checkpoint at 57 the pixel is at its upper border; then the gradient turns.
    gradients = np.where(np.arange(101) < 57, 1, -1).astype(np.float32).reshape(101, 1, 1, 1, 1)
    gradients = gradients.repeat(3, axis=1)
    seen, images = [], np.full((3, 1, 1, 1), 0.5, np.float32)
    attack = APGD(epsilon=0.1, steps=100, loss="margin")
    run(attack, spy(prescribed(values, gradients), seen), images, [1, 1, 1])
    path = path_of(seen, images, 100)[:, :, 0]
    np.testing.assert_allclose(path[10:58], 0.6, atol=1e-6)
    # x_58 = x_57 + 0.75 * (z - x_57), and z is eta or the diameter away.
    np.testing.assert_allclose(path[58], 0.6 - 0.75 * np.where(halves, 0.1, 0.2), atol=1e-6)


def dlr(label, logits):
    """The difference of logits ratio of one example and its gradient."""
    order = np.argsort(-logits)
    other = next(j for j in order if j != label)
    eye = np.eye(len(logits))
    scale = logits[order[0]] - logits[order[2]]
    value = (logits[other] - logits[label]) / scale
    return value, (eye[other] - eye[label] - value * (eye[order[0]] - eye[order[2]])) / scale


def targeted_dlr(label, logits, target):
    order, eye = np.argsort(-logits), np.eye(len(logits))
    s = logits[order]
    scale = s[0] - (s[2] + s[3]) / 2
    value = (logits[target] - logits[label]) / scale
    d_scale = eye[order[0]] - (eye[order[2]] + eye[order[3]]) / 2
    return value, (eye[target] - eye[label] - value * d_scale) / scale


def loss_of(kind, label, logits, clean):
    if kind == "ce":
        value, gradient = reference.cross_entropy(np.array([label]), logits[None])
        return value[0], gradient[0]
    if kind == "targeted":  # at the class that comes second on the image
        return targeted_dlr(label, logits, [j for j in np.argsort(-clean) if j != label][0])
    if kind == "dlr":
        return dlr(label, logits)
    other = max((j for j in range(len(logits)) if j != label), key=lambda j: logits[j])
    eye = np.eye(len(logits))
    return logits[other] - logits[label], eye[other] - eye[label]


@pytest.mark.parametrize(
    ("norm", "epsilon", "kind"),
    [
        ("linf", 0.02, "ce"),
        ("l2", 0.1, "dlr"),
        ("linf", 0.02, "margin"),
        ("linf", 0.02, "targeted"),
        ("l2", 0.1, "targeted"),
    ],
)
def test_the_path_on_a_net_is_numpys(norm, epsilon, kind):
    # Few steps: near a maximum, rounding decides whether the loss rises.
    classes, steps = 3 if kind == "dlr" else 10, 5
    net = NETS[classes]
    labels, twin = right_labels(net), reference.Net(net)
    ball = {"norm": norm, "epsilon": epsilon, "steps": steps}
    attack = APGDT(**ball, targets=1) if kind == "targeted" else APGD(**ball, loss=kind)
    seen = []
    found = directly(attack, spy(net, seen), IMAGES, labels, seed=2)
    path = path_of(seen, IMAGES, steps)
    stood = 0
    for i, label in enumerate(labels):
        wrong = []

        def f(k, x, i=i, label=label, wrong=wrong):
            logits, cache = twin.forward(x[None], training=False)
            wrong.append(np.argmax(logits[0]) != label)
            clean = twin.forward(IMAGES[i : i + 1], training=False)[0][0]
            value, d_logits = loss_of(kind, label, logits[0], clean)
            return value, twin.backward(cache, d_logits[None])[1][0]

        x, first = (v.ravel().astype(np.float64) for v in (IMAGES[i], path[0, i]))
        expected, best, _ = auto_pgd(f, x, first, norm=norm, epsilon=epsilon, steps=steps)
        last = wrong.index(True) if any(wrong) else steps
        np.testing.assert_allclose(path[: last + 1, i], expected[: last + 1], atol=2e-5)
        result = expected[last] if any(wrong) else best
        np.testing.assert_allclose(found[i].ravel(), result, atol=2e-5)
        stood += not any(wrong)
    assert 0 < stood


# --- Checkpoints, start, closed forms ------------------------------------------------------------


def test_checkpoints_by_hand():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    # 4.4, 8.2, 11.4, 14, 16, 17.4, 18.6, 19.8
    assert checkpoints(20) == [5, 9, 12, 14, 16, 18, 19, 20]
    # 1.1, 2.05, 2.85, 3.5, 4, 4.35, 4.65, 4.95
    assert checkpoints(5) == [2, 3, 4, 5]
    assert checkpoints(1) == [1]
    assert checkpoints(50)[0] == 11  # not 12: 0.22 * 50 is 11
    for steps in range(1, 400):
        assert checkpoints(steps) == schedule(steps)[1:]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_start_lies_on_the_border_and_the_first_step_is_two_epsilon(norm):
    seen = []
    attack = APGD(norm=norm, epsilon=0.02, steps=1, loss="margin")
    directly(attack, spy(linear, seen), MIDDLE, ONES, seed=4)
    path = path_of(seen, MIDDLE, 1)
    flat = MIDDLE.reshape(8, -1)
    np.testing.assert_allclose(size_of(norm, path[0] - flat), 0.02, rtol=1e-4)
    assert len(np.unique(np.sign(path[0] - flat), axis=0)) == 8  # a draw for each example
    if norm == "linf":
        expected = flat + 0.02 * np.sign(AWAY)  # from anywhere in the ball
    else:
        delta = path[0] - flat + 0.04 * AWAY / np.linalg.norm(W)
        expected = flat + 0.02 * delta / size_of("l2", delta)[:, None]
    np.testing.assert_allclose(path[1], expected, atol=1e-6)


def test_the_start_is_clipped_to_the_range_of_pixels():
    seen = []
    images = np.round(IMAGES)
    attack = APGD(epsilon=0.5, steps=1)
    directly(attack, spy(linear, seen), images, ONES)
    start = path_of(seen, images, 1)[0]
    assert start.min() == 0 and start.max() == 1


@pytest.mark.parametrize("loss", ["ce", "dlr", "margin", "targeted"])
def test_linf_reaches_the_corner_of_two_classes(loss):
    ball = {"epsilon": 0.1, "steps": 10}
    attack = APGDT(**ball) if loss == "targeted" else APGD(**ball, loss=loss)
    # Where 100 leads, the cross entropy is 0 in float32.
    classifier = (lambda x: linear(x) / 50) if loss == "ce" else linear
    found = directly(attack, classifier, IMAGES, ONES)
    expected = np.clip(IMAGES + 0.1 * np.sign(AWAY).reshape(SHAPE), 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_l2_ends_along_the_weights():
    attack = APGD(norm="l2", epsilon=0.2, steps=60, loss="margin")
    expected = MIDDLE + 0.2 * (AWAY / np.linalg.norm(W)).reshape(SHAPE)
    np.testing.assert_allclose(run(attack, linear, MIDDLE, ONES), expected, atol=1e-3)


def test_halving_finds_a_maximum_inside_the_ball():
    """On -|x - m|^2 a fixed step of 2 epsilon would jump about m for ever."""
    middle = np.float32(0.5 + np.random.default_rng(0).uniform(-0.05, 0.05, (3, 2, 1)))

    def logits(images):
        loss = -tf.reduce_sum((images - middle) ** 2, [1, 2, 3])
        return tf.stack([loss, tf.ones_like(loss)], -1)

    images = np.full((4, 3, 2, 1), 0.5, np.float32)
    for norm, epsilon in (("linf", 0.1), ("l2", 0.3)):
        attack = APGD(norm=norm, epsilon=epsilon, steps=100, loss="margin")
        found = run(attack, logits, images, np.ones(4))
        assert np.abs(found - middle).max() < epsilon / 20
