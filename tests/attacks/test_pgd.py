"""PGD against closed forms on linear models and against NumPy on a small net."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.core import losses, random
from rlfat_tf.core.compat import keras
from tests import reference
from tests.attacks.contract import assert_same

SHAPE = reference.SHAPE
IMAGES, _, LABELS = reference.images_and_labels(8, seed=1)
MIDDLE = np.float32(0.3 + 0.4 * IMAGES)  # away from 0 and 1: no clip to the range of pixels
PIXELS = int(np.prod(SHAPE))
SIGNS = np.random.default_rng(2).choice([-1.0, 1.0], PIXELS).astype(np.float32)
W = np.random.default_rng(3).normal(size=PIXELS).astype(np.float32)
ATTACKS = {
    "fgsm": attacks.FGSM(epsilon=0.1),
    "pgd": attacks.LinfPGD(epsilon=0.1, steps=3),
    "pgd_l2": attacks.L2PGD(epsilon=0.5, steps=3),
    "restarts": attacks.LinfPGD(epsilon=0.1, steps=2, restarts=3),
    "kl": attacks.LinfPGD(epsilon=0.1, steps=3, random_start="gaussian", loss="kl"),
    "best": attacks.LinfPGD(epsilon=0.1, steps=3, keep="best"),
    "dlr": attacks.LinfPGD(epsilon=0.1, steps=3, loss="dlr"),
    "margin": attacks.L2PGD(epsilon=0.5, steps=2, restarts=2, loss="margin"),
}


def binary(weights):
    """Two classes with logits (0, w x): the sign of the input gradient is known everywhere."""

    def logits(images):
        score = tf.linalg.matvec(tf.reshape(images, [tf.shape(images)[0], -1]), weights)
        return tf.stack([tf.zeros_like(score), score], axis=-1)

    return logits


@pytest.fixture(scope="module")
def net():
    return reference.keras_net(seed=4)


def l2(x):
    return np.sqrt(np.square(np.asarray(x).reshape(len(x), -1)).sum(-1))


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("start", ["uniform", "none"])
def test_linf_on_a_linear_model_reaches_the_corner(loss, start):
    labels = LABELS % 2
    attack = attacks.LinfPGD(epsilon=0.1, steps=4, random_start=start, loss=loss)
    found = attack(binary(W), IMAGES, labels, seed=5)
    away = np.where(labels == 1, -1.0, 1.0)[:, None] * np.sign(W)
    corner = IMAGES + 0.1 * away.reshape(IMAGES.shape)
    np.testing.assert_allclose(found, np.clip(corner, 0, 1), atol=1e-6)


@pytest.mark.parametrize("start", ["gaussian", "none"])
def test_l2_on_a_linear_model_ends_along_the_weights(start):
    labels = LABELS % 2
    attack = attacks.L2PGD(epsilon=0.2, steps=10, step_size=0.15, random_start=start)
    found = attack(binary(W), MIDDLE, labels)
    away = np.where(labels == 1, -1.0, 1.0)[:, None] * W / np.linalg.norm(W)
    expected = MIDDLE + 0.2 * away.reshape(MIDDLE.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6 if start == "none" else 1e-3)


def test_l2_takes_normalised_steps():
    attack = attacks.L2PGD(epsilon=1.0, steps=2, step_size=0.1, random_start="none")
    found = attack(binary(W), MIDDLE, np.ones(8, int))
    expected = MIDDLE - 0.2 * (W / np.linalg.norm(W)).reshape(SHAPE)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_multiclass_linear_model():
    rng = np.random.default_rng(0)
    # The true class falls and all others rise with the same pixels: gradient sign -W_y.
    weights = np.stack([W, -W, -W], axis=-1).astype(np.float32)
    logits = lambda x: tf.reshape(x, [-1, PIXELS]) @ weights  # noqa: E731
    images = rng.random((5, *SHAPE), np.float32)
    found = attacks.LinfPGD(epsilon=0.05, steps=3)(logits, images, np.zeros(5, np.int64))
    expected = np.clip(images - 0.05 * np.sign(W).reshape(SHAPE), 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fgsm_is_one_step_from_the_image(net):
    attack = attacks.FGSM(epsilon=0.07)
    twin = reference.Net(net)
    logits, cache = twin.forward(IMAGES, training=False)
    gradient = twin.backward(cache, reference.cross_entropy(LABELS, logits)[1])[1]
    expected = np.clip(IMAGES + 0.07 * np.sign(gradient).reshape(IMAGES.shape), 0, 1)
    np.testing.assert_allclose(attack(net, IMAGES, LABELS), expected, atol=1e-6)


@pytest.mark.parametrize("start", ["none", "uniform", "gaussian"])
def test_pgd_on_a_net(net, start):
    attack = attacks.LinfPGD(epsilon=0.1, steps=4, step_size=0.03, random_start=start)
    seed = random.as_seed(9)
    delta = {
        "none": np.zeros_like(IMAGES),
        "uniform": random.uniform(seed.fold(0), IMAGES.shape, -0.1, 0.1).numpy(),
        "gaussian": random.normal(seed.fold(0), IMAGES.shape, 1e-3).numpy(),
    }[start]
    expected = reference.pgd(
        reference.Net(net), IMAGES, LABELS, start=delta, epsilon=0.1, step_size=0.03, steps=4
    )
    np.testing.assert_allclose(attack(net, IMAGES, LABELS, seed=seed), expected, atol=1e-6)


def test_the_kl_attack_ascends_the_divergence_from_the_clean_prediction(net):
    twin, seed = reference.Net(net), random.as_seed(9)
    start = random.normal(seed.fold(0), IMAGES.shape, 1e-3).numpy()
    clean = twin.forward(IMAGES, training=False)[0]
    expected = reference.pgd(
        twin, IMAGES, LABELS, start=start, epsilon=0.1, step_size=0.03, steps=4, reference=clean
    )
    attack = attacks.LinfPGD(
        epsilon=0.1, steps=4, step_size=0.03, random_start="gaussian", loss="kl"
    )
    found = attack(net, IMAGES, LABELS, seed=seed)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    divergence = reference.kl(clean, twin.forward(found, training=False)[0])[0]
    assert np.all(divergence > 100 * reference.kl(clean, twin.forward(IMAGES + start)[0])[0])
    # It does not read the labels.
    np.testing.assert_array_equal(attack(net, IMAGES, 2 - LABELS, seed=seed), found)


@pytest.mark.parametrize("name", ATTACKS)
def test_unrolled_it_is_the_same(net, name):
    found, unrolled = (
        tf.function(lambda x, y, u=unroll: ATTACKS[name](net, x, y, seed=3, unroll=u))
        for unroll in (False, True)
    )
    assert_same(unrolled(IMAGES, LABELS), found(IMAGES, LABELS))


@pytest.mark.parametrize("name", ["restarts", "best"])
def test_step_by_step_it_is_the_same(net, name):
    in_graph = tf.function(lambda x, y: ATTACKS[name](net, x, y, seed=3))
    assert_same(ATTACKS[name](net, IMAGES, LABELS, seed=3), in_graph(IMAGES, LABELS))


def test_xla_and_an_unknown_batch_size():
    net = keras.Sequential(  # a convolution needs to know its channels
        [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]
    )
    images = np.random.default_rng(0).random((3, 4, 4, 1), np.float32)
    attack = attacks.LinfPGD(epsilon=0.1, steps=2)
    expected = attack(net, images, np.zeros(3, int))
    signature = [tf.TensorSpec([None, 4, 4, 1]), tf.TensorSpec([None], tf.int64)]
    in_graph = tf.function(lambda x, y: attack(net, x, y), input_signature=signature)
    assert_same(in_graph(images, np.zeros(3, int)), expected)
    # XLA draws other random numbers of the same seed.
    attack = attack.replace(random_start="none")
    expected = attack(net, images, np.zeros(3, int))
    compiled = tf.function(lambda x, y: attack(net, x, y), jit_compile=True)
    assert_same(compiled(images, np.zeros(3, int)), expected)


def test_restarts_keep_the_point_with_the_greatest_loss():
    # Two humps in the first pixel: only starts on the right find the high one.
    def logits(images):
        x = images[:, 0, 0, 0]
        height = tf.where(x < 0.5, 1 - 10 * tf.abs(x - 0.4), 4 - 10 * tf.abs(x - 0.6))
        return tf.stack([-height, tf.zeros_like(height)], axis=-1)

    images = np.full((32, 1, 1, 1), 0.5, np.float32)
    labels = np.zeros(32, int)

    def found(restarts, **kwargs):
        attack = attacks.LinfPGD(epsilon=0.2, steps=8, step_size=0.02, restarts=restarts)
        return np.asarray(attack(logits, images, labels, seed=1, **kwargs)).ravel()

    once, often = found(1), found(8)
    assert 4 < np.sum(once < 0.5) < 28
    assert np.all(often > 0.5)
    assert np.all(found(8, unroll=True) == often)


def test_restarts_never_lower_the_loss_and_prefer_misclassified_points(net):
    def of(restarts):
        attack = attacks.LinfPGD(epsilon=0.05, steps=1, step_size=1e-3, restarts=restarts)
        logits = net(attack(net, IMAGES, LABELS, seed=2)).numpy()
        return reference.cross_entropy(LABELS, logits)[0], logits.argmax(-1) != LABELS

    loss, wrong = of(1)
    for restarts in (2, 4):
        more_loss, more_wrong = of(restarts)
        assert np.all(more_wrong >= wrong)
        assert np.all((more_loss >= loss - 1e-6) | (more_wrong & ~wrong))
        loss, wrong = more_loss, more_wrong


def test_a_misclassified_point_is_kept_even_if_another_has_the_greater_kl():
    # Class 1 wins only in a small region where the prediction barely differs from the clean one.
    def logits(images):
        x = images[:, 0, 0, 0]
        return tf.stack([tf.where(x > 0.5, -0.1, 5.0 * (0.5 - x) + 0.1), 0 * x], axis=-1)

    images = np.full((16, 1, 1, 1), 0.5, np.float32)
    attack = attacks.LinfPGD(
        epsilon=0.3, steps=1, step_size=1e-6, restarts=6, random_start="uniform", loss="kl"
    )
    assert np.all(np.asarray(attack(logits, images, np.zeros(16, int))) > 0.5)


def test_replicas_together_make_what_one_makes_alone(net):
    whole = random.as_seed(6)
    expected = ATTACKS["restarts"](net, IMAGES, LABELS, seed=whole)
    halves = [
        ATTACKS["restarts"](net, part, labels, seed=random.Seed(whole.value, i, 2))
        for i, (part, labels) in enumerate(zip(np.split(IMAGES, 2), np.split(LABELS, 2)))
    ]
    assert_same(np.concatenate(halves), expected)


def test_the_best_point_is_kept_if_the_last_is_worse():
    """On |x - 0.5| the second step jumps back over the place where the first had arrived."""

    def logits(images):
        score = tf.reduce_sum(tf.abs(images - 0.5), [1, 2, 3])
        return tf.stack([score - 2.0, tf.zeros_like(score)], -1)

    images = np.full((2, 1, 1, 1), 0.48, np.float32)
    arguments = {"epsilon": 0.3, "steps": 3, "step_size": 0.1, "random_start": "none"}
    labels = np.ones(2, np.int32)  # the loss rises with the score
    best = attacks.LinfPGD(**arguments, keep="best")(logits, images, labels)
    np.testing.assert_allclose(best, 0.18, atol=1e-6)
    path = attacks.LinfPGD(**{**arguments, "step_size": 0.2, "epsilon": 0.2})
    np.testing.assert_allclose(path(logits, images, labels), 0.28, atol=1e-6)


def test_keep_best_is_never_worse_than_last(net):
    arguments = {"epsilon": 0.2, "steps": 4, "step_size": 0.15}
    last, best = (
        # With seed 2 two points of an example have the same loss but for rounding.
        attacks.LinfPGD(**arguments, keep=keep)(net, MIDDLE, LABELS, seed=3)
        for keep in ("last", "best")
    )
    losses_of = [losses.cross_entropy(LABELS, net(tf.constant(x))) for x in (last, best)]
    wrong = [np.argmax(net(tf.constant(x)), -1) != LABELS for x in (last, best)]
    assert np.all(wrong[1] >= wrong[0])
    same = wrong[0] == wrong[1]
    assert np.all(np.asarray(losses_of[1])[same] >= np.asarray(losses_of[0])[same] - 1e-6)
