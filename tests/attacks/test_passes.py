"""Means over several passes of a randomised classifier (EOT), against NumPy."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.attacks.passes import gradient_of, value_of
from rlfat_tf.core import losses
from tests import reference
from tests.attacks.contract import assert_same

IMAGES, _, _ = reference.images_and_labels(8, seed=1)
MIDDLE = np.float32(0.3 + 0.4 * IMAGES)  # away from 0 and 1: no clip to the range of pixels
LABELS = np.int32([0, 1] * 4)
PIXELS = IMAGES[0].size
W = np.random.default_rng(3).normal(size=PIXELS)
ATTACKS = {
    "last": attacks.LinfPGD(epsilon=0.1, steps=3),
    "best": attacks.L2PGD(epsilon=0.5, steps=3, keep="best"),
    "restarts": attacks.LinfPGD(epsilon=0.1, steps=2, restarts=2, loss="margin"),
    "mim": attacks.MIM(epsilon=0.1, steps=3, step_size=0.04),
    "apgd": attacks.APGD(epsilon=0.1, steps=5),
}


def noisy(weights):
    """Two classes with logits (0, w_k x), w_k another one of the rows in every pass."""
    rows, number = tf.constant(weights, tf.float32), tf.Variable(0)

    def logits(images):
        row = rows[(number.assign_add(1) - 1) % len(weights)]
        score = tf.linalg.matvec(tf.reshape(images, [-1, PIXELS]), row)
        return tf.stack([tf.zeros_like(score), score], -1)

    return logits


def rows_around(weights, count=4):
    """Rows whose mean is the weights, though most of their signs are others."""
    noise = 8 * np.random.default_rng(5).normal(size=(count, len(weights)))
    return weights + noise - noise.mean(0)


def numpy_step(rows, points, labels):
    """Mean cross entropy and mean gradient over the passes, by hand."""
    loss, gradient = 0.0, 0.0
    for w in rows:
        score = points @ w
        p = 1 / (1 + np.exp(-score))
        loss = loss + np.logaddexp(0, np.where(labels == 1, -score, score)) / len(rows)
        gradient = gradient + (p - labels)[:, None] * w / len(rows)
    return loss, gradient


@pytest.mark.parametrize(
    ("name", "unroll"),
    [*((name, False) for name in ATTACKS), ("last", True), ("best", True), ("restarts", True)],
)
def test_a_deterministic_classifier_gives_what_one_pass_gives(name, unroll):
    net, attack = reference.keras_net(seed=4), ATTACKS[name]

    def found(eot):
        some = attack.replace(eot=eot)
        call = functools.partial(some, net, seed=3, unroll=unroll)
        if name == "last":  # as a graph; the others step by step, which is sooner done
            call = tf.function(call, autograph=False)
        return call(tf.constant(IMAGES), tf.constant(LABELS))

    assert_same(found(3), found(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("unroll", [False, True])
def test_pgd_goes_along_the_mean_gradient(norm, unroll):
    """In float64 NumPy; single passes would go elsewhere."""
    rows = rows_around(0.05 * W) / 10
    attack = attacks.PGD(
        norm=norm, epsilon=1.0, steps=3, step_size=0.02, random_start="none", eot=4
    )
    points = MIDDLE.reshape(8, -1).astype(np.float64)
    single = np.sign(numpy_step(rows[:1], points, LABELS)[1])
    for _ in range(3):
        gradient = numpy_step(rows, points, LABELS)[1]
        assert np.mean(np.sign(gradient) != single) > 0.2
        length = 1 if norm == "linf" else np.linalg.norm(gradient, axis=-1, keepdims=True)
        direction = np.sign(gradient) if norm == "linf" else gradient / length
        points = points + 0.02 * direction
    found = attack(noisy(rows), MIDDLE, LABELS, unroll=unroll)
    np.testing.assert_allclose(np.reshape(found, [8, -1]), points, atol=1e-5)


def test_noise_that_averages_out_leaves_the_direction_of_the_weights():
    """The lead of a class is linear: the mean gradient is that of the mean classifier."""
    away = np.where(LABELS == 1, -1, 1)[:, None] * np.sign(W)
    corner = np.reshape(MIDDLE.reshape(8, -1) + 0.1 * away, MIDDLE.shape)
    # So far from the border that no pass is wrong: the best point is that of the greatest loss.
    sure = 1000 * (2 * LABELS - 1)

    def logits_of(rows):
        classifier = noisy(rows)
        bias = np.stack([np.zeros(8), sure], -1).astype(np.float32)
        return lambda images: classifier(images) + bias

    arguments = {"epsilon": 0.1, "steps": 2, "step_size": 0.1, "loss": "dlr"}
    for attack in (
        attacks.LinfPGD(**arguments, random_start="none"),
        attacks.LinfPGD(**arguments, keep="best", restarts=2),
        attacks.MIM(**arguments),
    ):
        found = attack.replace(eot=4)(logits_of(rows_around(W)), MIDDLE, LABELS)
        np.testing.assert_allclose(found, corner, atol=1e-6)
        once = attack(logits_of(rows_around(W)), MIDDLE, LABELS)
        assert np.abs(once - corner).max() > 0.1


def test_loss_gradient_and_what_is_right_of_the_passes():
    rows = rows_around(W)
    flat = MIDDLE.reshape(8, -1).astype(np.float64)
    expected_loss, expected = numpy_step(rows, flat, LABELS)

    def objective(logits):
        return losses.cross_entropy(LABELS, logits)

    points = tf.constant(MIDDLE)
    gradient, loss, correct = gradient_of(noisy(rows), objective, points, labels=LABELS, eot=4)
    np.testing.assert_allclose(np.reshape(gradient, [8, -1]), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4, atol=1e-5)
    each = np.stack([(flat @ w > 0) == LABELS for w in rows])
    assert np.any(each.any(0) & ~each.all(0))
    np.testing.assert_array_equal(correct, each.any(0))
    again = value_of(noisy(rows), objective, points, LABELS, eot=4)
    np.testing.assert_allclose(again[0], loss, rtol=1e-6, atol=1e-5)  # of logits up to 100
    np.testing.assert_array_equal(again[1], correct)
    assert len(gradient_of(noisy(rows), objective, points)) == 2


def test_wrong_is_what_is_wrong_in_every_pass():
    """On the right the mean loss is greater, but every second pass is correct."""
    number = tf.Variable(0)

    def logits(images):
        x = images[:, 0, 0, 0]
        by_luck = tf.where(number.assign_add(1) % 2 == 0, 5.0, -1.0)
        lead = tf.where(x > 0.5, by_luck, 0.1) + 0 * x
        return tf.stack([0 * x, lead], -1)

    images = np.full((16, 1, 1, 1), 0.5, np.float32)
    arguments = {"epsilon": 0.3, "steps": 1, "step_size": 1e-6, "restarts": 8, "loss": "dlr"}
    for keep in ("last", "best"):
        attack = attacks.LinfPGD(**arguments, keep=keep, random_start="uniform")
        assert np.all(attack.replace(eot=2)(logits, images, np.zeros(16, int)) <= 0.5)
        number.assign(0)
        assert np.any(attack(logits, images, np.zeros(16, int)) > 0.5)


@pytest.mark.parametrize(
    "attack",
    [
        attacks.MIM(epsilon=0.1, steps=3, eot=8),
        attacks.APGD(epsilon=0.1, steps=3, eot=8),
        attacks.AutoAttack(epsilon=0.1, version="rand", budget=0.03, eot=8),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_what_one_pass_gets_wrong_by_luck_is_attacked_too(attack):
    """Half of the passes misclassify an image; one of eight that does not is enough to go on."""
    found = attack(noisy([W, -W / 2]), MIDDLE, LABELS, seed=0)
    moved = np.abs(found - MIDDLE).max((1, 2, 3))
    assert (moved > 0.01).all()
