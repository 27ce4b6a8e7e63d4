"""No attack is stopped, or led out of its bounds, by a gradient or a loss that is no number."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.attacks.base import Attack, is_correct
from rlfat_tf.attacks.passes import gradient_by, gradient_of, value_of
from rlfat_tf.core import losses

EPSILON = 0.2
SHAPE = (4, 4, 1)
RNG = np.random.default_rng(0)
WEIGHTS = tf.constant(RNG.normal(size=[16, 3]), tf.float32)
IMAGES = RNG.uniform(0.3, 0.7, [24, *SHAPE]).astype(np.float32)
IMAGES[:, 0] = IMAGES[:, 2, 1] = 0  # black, where the derivatives below are infinite or NaN

SMALL = {
    "fgsm": attacks.FGSM(epsilon=EPSILON),
    "pgd": attacks.LinfPGD(epsilon=EPSILON, steps=5),
    "pgd best": attacks.LinfPGD(epsilon=EPSILON, steps=5, keep="best", restarts=2),
    "l2 pgd": attacks.L2PGD(epsilon=1.0, steps=5, keep="best"),
    "mim": attacks.MIM(epsilon=EPSILON, steps=5),
    "apgd": attacks.APGD(epsilon=EPSILON, steps=10),
    "apgd-t": attacks.APGDT(epsilon=EPSILON, steps=10, targets=2),
    "fab": attacks.FABT(epsilon=EPSILON, steps=20, targets=2),
    "cw": attacks.CWTanh(epsilon=EPSILON, steps=20, binary_search_steps=2),
    "square": attacks.Square(epsilon=EPSILON, queries=100),
    "spsa": attacks.SPSA(epsilon=EPSILON, steps=10, samples=32, learning_rate=0.05),
    "nattack": attacks.NAttack(epsilon=EPSILON, population=20, iterations=10),
    # Two of its parts, each of which stands above.
    "autoattack": attacks.AutoAttack(
        version="custom", attacks=("apgd_ce", "square"), epsilon=EPSILON, budget=0.01
    ),
}


def behind(front):
    """A linear classifier behind a function of the pixels, and the labels that it gives."""

    def logits(images):
        return tf.reshape(front(images), [-1, 16]) @ WEIGHTS

    return logits, np.argmax(logits(IMAGES), -1).astype(np.int32)


@tf.custom_gradient
def safe_root(x):
    root = tf.sqrt(x)
    return root, lambda upstream: upstream * 0.5 / tf.maximum(root, 0.02)


# A front, and the same with a derivative that is a number.
FRONTS = {
    "root": (tf.sqrt, safe_root),
    "power": (lambda x: x**0.5, safe_root),
    "norm": (lambda x: tf.norm(x, axis=-1, keepdims=True), tf.abs),
}


# So many steps that they are worth a graph; those of the others are done sooner without one.
LONG = {"fab", "cw", "square", "spsa", "nattack"}


def robust(name, logits, reference_net, labels):
    attack = SMALL[name]

    def call(x, y):
        return attack(logits, x, y, seed=1)

    if name in LONG:
        call = tf.function(call, autograph=False).get_concrete_function(
            tf.TensorSpec([None, *SHAPE]), tf.TensorSpec([None], tf.int32)
        )
    found = call(tf.constant(IMAGES), tf.constant(labels)).numpy()
    delta = (found - IMAGES).reshape(len(found), -1)
    maximum = getattr(attack, "norm", "linf") == "linf"
    size = np.abs(delta).max() if maximum else np.linalg.norm(delta, axis=1).max()
    assert np.all(np.isfinite(found)) and found.min() >= 0 and found.max() <= 1
    assert size <= attack.epsilon + 1e-5
    return int(np.sum(is_correct(reference_net(found), labels)))


CASES = [(name, "root") for name in SMALL]
CASES += [(name, front) for name in ("pgd best", "mim", "fab") for front in ("power", "norm")]


@pytest.mark.parametrize("name, front", CASES)
def test_a_broken_derivative_changes_no_result(name, front):
    broken, safe = (behind(part)[0] for part in FRONTS[front])
    labels = behind(FRONTS[front][0])[1]
    left, right = (robust(name, logits, broken, labels) for logits in (broken, safe))
    assert left <= right + 2 and left < 20


def test_nan_counts_as_0_and_infinity_keeps_its_sign():
    x = tf.constant([[0.0, 0.0, 0.25, 4.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    weights = tf.constant([1.0, -1.0, 1.0, -8.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        roots, norm = tf.reduce_sum(weights * tf.sqrt(x)), tf.norm(0 * x, axis=-1)
    expected = [[2, -2, 1, -2], [1, -1, 1, -1], [0.5, -0.5, 0.5, -4]]
    np.testing.assert_array_equal(gradient_by(tape, roots, x), expected)
    np.testing.assert_array_equal(gradient_by(tape, norm, x), np.zeros([3, 4]))


def test_a_loss_of_nan_is_the_least_and_infinity_the_greatest():
    logits = tf.constant([[0.0, np.nan], [1.0, np.inf], [np.inf, 1.0], [1.0, 0.0]])
    labels = tf.zeros([4], tf.int32)

    def answer(points):
        return logits + 0 * points

    def objective(z):
        return losses.unsaturated_cross_entropy(labels, z)

    for eot in (1, 2):
        points = tf.zeros([4, 1])
        gradient, *seen = gradient_of(answer, objective, points, labels=labels, eot=eot)
        assert np.all(np.isfinite(gradient))
        for loss, correct in (seen, value_of(answer, objective, points, labels, eot=eot)):
            assert loss[0] == -np.inf and loss[1] == np.inf and loss[2] <= 0 < loss[3]
            np.testing.assert_array_equal(correct, [False, False, True, True])


def test_an_attack_of_the_users_returns_numbers_only():
    class Broken(Attack):
        def run(self, logits_fn, images, labels, seed, unroll):
            return tf.where(images > 0.5, images / 0.0, images)

    logits, labels = behind(tf.identity)
    np.testing.assert_array_equal(Broken()(logits, IMAGES, labels), IMAGES)


@pytest.mark.parametrize("loss, scale", [("ce", 1.0), ("ce", 20.0), ("ce", 1000.0), ("kl", 1000.0)])
def test_the_scale_of_the_logits_changes_no_result(scale, loss):
    """In float32 the softmax of logits 20 apart is 1 and the squares of its gradients are 0."""
    logits, labels = behind(lambda x: 3 * x)
    attack = attacks.L2PGD(epsilon=0.5, steps=10, loss=loss, random_start="gaussian")
    found = attack(lambda x: scale * logits(x), IMAGES, labels, seed=1)
    expected = attack.replace(loss="margin")(logits, IMAGES, labels, seed=1)
    counts = [int(np.sum(is_correct(logits(x), labels))) for x in (IMAGES, found, expected)]
    assert counts[1] <= counts[2] + 1 < counts[0]


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 28, 28)])
def test_square_refuses_channels_in_front_and_shows_the_wrapper(shape):
    with pytest.raises(ValueError, match=r"model\(tf.transpose\(x, \[0, 3, 1, 2\]\)\)"):
        attacks.Square()(lambda x: x[:, 0, 0, :3], np.zeros(shape, np.float32), [0, 1])
