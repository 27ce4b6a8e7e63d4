"""Which points Auto-PGD returns, its targets, and broken classifiers."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.attacks.apgd import APGD, APGDT
from rlfat_tf.core import losses
from tests.attacks.recording import (
    IMAGES,
    MIDDLE,
    NETS,
    ONES,
    PIXELS,
    SHAPE,
    W,
    directly,
    is_right,
    linear,
    make_net,
    path_of,
    right_labels,
    run,
    spy,
)

QUICK = [APGD(epsilon=0.05, steps=7), APGDT(epsilon=0.05, steps=7, restarts=2, targets=2)]


# --- Which point is returned ---------------------------------------------------------------------


def test_an_example_is_done_when_it_is_misclassified():
    """It keeps its first such point, and when all have one, the attack ends."""
    bias = np.float32(-0.5 * W.sum() + 0.2)

    def logits(images):
        score = tf.linalg.matvec(tf.reshape(images, [-1, PIXELS]), W) + bias
        return tf.stack([tf.zeros_like(score), score], -1)

    images = np.full((8, *SHAPE), 0.5, np.float32)
    seen = []
    found = directly(APGD(epsilon=0.1, steps=100), spy(logits, seen), images, np.ones(8), seed=1)
    assert len(seen) < 8  # the corner is two steps away
    path = path_of(seen, images, 0)
    wrong_at_once = path[0] @ W + bias <= 0
    assert 0 < wrong_at_once.sum() < 8
    np.testing.assert_array_equal(found.reshape(8, -1)[wrong_at_once], path[0][wrong_at_once])
    assert np.all(np.argmax(logits(found), -1) == 0)


@pytest.mark.parametrize("attack", QUICK)
def test_misclassified_images_are_returned_as_they_are(attack):
    net = NETS[10]
    labels = right_labels(net)
    labels[[1, 4]] = (labels[[1, 4]] + 1) % 10
    seen = []
    found = directly(attack, spy(net, seen), IMAGES, labels)
    np.testing.assert_array_equal(found[[1, 4]], IMAGES[[1, 4]])
    # Whoever sees all of them sees these two as they are.
    assert {len(x) for x in seen} <= {*range(7), 8} and 6 in {len(x) for x in seen}
    assert all(np.array_equal(x[[1, 4]], IMAGES[[1, 4]]) for x in seen if len(x) == 8)
    seen.clear()
    found = directly(attack, spy(net, seen), IMAGES, (right_labels(net) + 1) % 10)
    np.testing.assert_array_equal(found, IMAGES)
    assert all(np.array_equal(x, IMAGES) for x in seen)


def test_one_pass_for_each_step():
    seen = []
    attack = APGD(epsilon=0.01, steps=9, loss="margin")
    directly(attack, spy(linear, seen), IMAGES, ONES)
    # The images, x_0 to x_9, and at most two to compare the end with what there was.
    assert 11 <= len(seen) <= 13


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_restarts_are_never_worse_and_go_to_what_is_right(loss):
    net = NETS[10]
    labels = right_labels(net)
    attack = APGD(norm="l2", epsilon=0.1, steps=1, loss=loss)
    value = {
        "ce": lambda x: losses.cross_entropy(labels, net(x)),
        "margin": lambda x: losses.negative_margin(labels, net(x)),
    }[loss]
    correct, height, rises = np.ones(8, bool), np.full(8, -np.inf), 0
    for restarts in (1, 2, 5):
        seen = []
        found = directly(attack.replace(restarts=restarts), spy(net, seen), IMAGES, labels, 3)
        still, reached = is_right(net, found, labels), np.asarray(value(found))
        assert np.all(still <= correct)
        assert np.all(reached[still] >= height[still] - 1e-6)
        rises += np.sum(reached[still] > height[still] + 1e-4) if restarts > 1 else 0
        correct, height = still, reached
        sizes = [len(x) for x in seen]
        assert sizes[-1] <= sizes[1]
    assert rises > 0


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.02), ("l2", 0.1)])
def test_it_leaves_no_more_right_points_than_pgd(norm, epsilon):
    net = make_net(10, seed=5)
    images = np.random.default_rng(1).random((60, *SHAPE), np.float32)
    labels = np.argmax(net(images), -1).astype(np.int32)
    pgd = attacks.PGD(norm=norm, epsilon=epsilon, steps=20, keep="best")
    left = {"pgd": is_right(net, run(pgd, net, images, labels, seed=1), labels).sum()}
    for name, attack in {
        "ce": APGD(norm=norm, epsilon=epsilon, steps=100),
        "targeted": APGDT(norm=norm, epsilon=epsilon, steps=50, targets=3),
    }.items():
        left[name] = is_right(net, run(attack, net, images, labels, seed=1), labels).sum()
    assert 0 < left["pgd"] < 60
    assert left["ce"] <= left["pgd"]
    assert left["targeted"] <= left["pgd"]


# --- Targets -------------------------------------------------------------------------------------


def blocks(bias):
    """Class k has the logit bias_k + the sum of the k-th pair of pixels."""

    def logits(images):
        return tf.reduce_sum(tf.reshape(images, [-1, len(bias), 2]), -1) + tf.constant(bias)

    return logits


def test_targets_follow_the_order_of_the_clean_logits():
    """Three classes: the target's pixels rise, the true class's fall, the third's stay."""
    bias, seen = [5.0, 0.0, 9.0], []  # the true class is 2, then comes 0, then 1
    images = np.full((1, 3, 2, 1), 0.5, np.float32)
    attack = APGDT(epsilon=0.1, steps=5)
    found = directly(attack, spy(blocks(bias), seen), images, [2])
    path = path_of(seen, images, 5)
    np.testing.assert_allclose(path[-1][0, [0, 1]], 0.6, atol=1e-6)
    np.testing.assert_allclose(path[-1][0, [4, 5]], 0.4, atol=1e-6)
    np.testing.assert_array_equal(path[-1][0, [2, 3]], path[0][0, [2, 3]])
    # Class 1 had its turn too, class 2 had none; the point where 0 comes closest is returned.
    ends = np.stack([x.ravel() for x in seen[-4:]])
    assert np.any(np.all(np.abs(ends[:, [2, 3]] - 0.6) < 1e-6, -1))
    assert len(seen) < 2 * 6 + 12
    np.testing.assert_allclose(np.ravel(found)[[0, 1]], 0.6, atol=1e-6)


@pytest.mark.parametrize("classes", [5, 3])
def test_a_class_far_behind_is_found_by_its_turn(classes):
    """Only the last class in the order moves with the pixels."""
    images = np.full((4, 4, 3, 1), 0.5, np.float32)
    steady = tf.constant([0.0, -0.1, -0.2, -0.25][: classes - 1])

    def logits(images):
        last = 10 * tf.reduce_mean(images - 0.5, [1, 2, 3]) - 0.4
        return tf.concat([tf.tile(steady[None], [tf.shape(images)[0], 1]), last[:, None]], -1)

    for targets in (classes - 2, classes - 1):
        attack = APGDT(epsilon=0.1, steps=20, targets=targets)
        found = run(attack, logits, images, np.zeros(4), seed=3)
        moved = np.argmax(logits(tf.constant(found)), -1) != 0
        assert np.all(moved == (targets == classes - 1))


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(classes):
    net = NETS[classes]
    labels = right_labels(net)
    for attack in (APGD(epsilon=0.1, steps=10, loss="dlr"), APGDT(epsilon=0.1, steps=10)):
        found = directly(attack, net, IMAGES, labels)
        assert np.all(np.isfinite(found)) and np.abs(found - IMAGES).max() <= 0.1 + 1e-6
        loss = losses.dlr if classes == 3 and isinstance(attack, APGD) else losses.negative_margin
        before, after = (np.asarray(loss(labels, net(tf.constant(x)))) for x in (IMAGES, found))
        assert np.all(after > before)
    # With two classes all of these ascend the same lead.
    if classes == 2:
        all_of_them = [APGD(steps=5, loss=loss) for loss in ("dlr", "margin")] + [APGDT(steps=5)]
        found = [directly(attack, linear, IMAGES, ONES) for attack in all_of_them]
        np.testing.assert_allclose(found[1], found[0], atol=1e-6)
        np.testing.assert_allclose(found[2], found[0], atol=1e-6)


# --- Random and broken classifiers ---------------------------------------------------------------


def test_gradients_are_means_over_the_passes():
    """What one pass adds the next one takes away."""
    calls, seen = [], []

    def noise(images):  # none for the images themselves
        calls.append(0)
        return np.float32(0 if np.array_equal(images, MIDDLE) else 2 * (-1) ** len(calls))

    def noisy(images):
        slope = tf.ensure_shape(tf.numpy_function(noise, [images], tf.float32), [])
        wrong = slope * tf.reduce_sum(images, [1, 2, 3])
        return linear(images) + tf.stack([wrong, tf.zeros_like(wrong)], -1)

    attack = APGD(norm="l2", epsilon=0.01, steps=3, loss="margin")
    directly(attack, spy(linear, seen), MIDDLE, ONES, seed=1)
    quiet = path_of(seen, MIDDLE, 3)
    seen.clear()
    directly(attack.replace(eot=2), spy(noisy, seen), MIDDLE, ONES, seed=1)
    twice = path_of(seen, MIDDLE, 7)
    np.testing.assert_array_equal(twice[::2], twice[1::2])
    np.testing.assert_allclose(twice[::2], quiet, atol=1e-5)


def test_values_that_are_not_numbers_do_no_harm():
    def steep(images):
        """The gradient is infinite, or no number, where a pixel is at 0.5."""
        root = tf.reduce_sum(tf.sqrt(tf.nn.relu(images - 0.5)), [1, 2, 3])
        return tf.stack([root, tf.fill(tf.shape(root), 100.0)], -1)

    def broken(images):
        total = tf.reduce_sum(images, [1, 2, 3])
        return tf.stack([tf.where(tf.abs(total - 3.0) > 1e-3, np.nan, 1.0) + 0 * total, total], 1)

    images = np.full((2, 3, 2, 1), 0.5, np.float32)
    for logits_fn in (steep, broken):
        for attack in (APGD(epsilon=0.1, steps=6), APGDT(norm="l2", steps=6)):
            found = directly(attack, logits_fn, images, [1, 1])
            assert np.all(np.isfinite(found)) and found.min() >= 0 and found.max() <= 1
