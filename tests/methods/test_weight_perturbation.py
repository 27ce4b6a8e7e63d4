"""Adversarial weight perturbation against its equation in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import AWP, METHODS
from rlfat_tf.core import random
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.steps import ATTACK_DRAW, TRAIN
from tests import reference
from tests.methods.test_objectives import drawn_shuffle

IMAGES, _, LABELS = reference.images_and_labels(8, seed=4)
ATTACK = rlfat_tf.attacks.LinfPGD(epsilon=0.1, steps=1)
RATE, GAMMA = 0.5, 0.1


def made(name, rate=RATE, batch_norm=False, **arguments):
    net = reference.keras_net(batch_norm=batch_norm, synchronized=False, seed=8)
    given = {} if name == "standard" else {"attack": ATTACK}
    robust = METHODS[name](net, **given, **arguments)
    robust.compile(optimizer=keras.optimizers.SGD(rate))
    return robust


def step(robust):
    robust.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0)
    return robust.model.get_weights()


@pytest.mark.parametrize("name, decay", [("standard", 0.0), ("trades", 0.02), ("rlfat_p", 0.0)])
def test_a_step_is_that_of_the_equation(name, decay):
    robust = made(name, weight_perturbation=AWP(GAMMA), weight_decay=decay)
    seed = random.replica_seed(robust.seed, TRAIN, tf.constant(0, tf.int64))
    adversarial = robust.adversarial_examples(IMAGES, LABELS, seed.fold(ATTACK_DRAW))
    net = reference.Net(robust.model)
    before = [w.copy() for w in (net.w1, net.b1, net.w2, net.b2)]

    def gradients():
        shuffle = drawn_shuffle(seed)
        return reference.objective(name, net, IMAGES, adversarial, LABELS, shuffle)[2]

    first = gradients()
    for kernel, gradient in ((net.w1, first[0]), (net.w2, first[2])):
        kernel += GAMMA * np.linalg.norm(kernel) * gradient / np.linalg.norm(gradient)
    moved = (net.w1, net.b1, net.w2, net.b2)
    wanted = [w - RATE * (g + decay * m) for w, g, m in zip(before, gradients(), moved)]
    for found, expected in zip(step(robust), wanted):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_without_a_learning_rate_nothing_moves_but_the_statistics():
    robust = made("pgdat", rate=0.0, batch_norm=True, weight_perturbation=AWP(GAMMA))
    before = robust.model.get_weights()
    after = step(robust)
    for i in (0, 1, 2, 3, 6, 7):
        np.testing.assert_array_equal(before[i], after[i])
    # One pass has updated the moving mean, of momentum 0.9, at the perturbed weights.
    plain = made("pgdat", rate=0.0, batch_norm=True)
    once = step(plain)[4] - before[4]
    assert 0.5 < np.linalg.norm(after[4] - before[4]) / np.linalg.norm(once) < 1.5
    assert not np.array_equal(after[4] - before[4], once)


def test_no_length_and_the_warmup_are_the_plain_step():
    plain = step(made("rlfat_t", batch_norm=True))
    for off in (AWP(0.0), AWP(GAMMA, warmup=1)):
        for found, expected in zip(
            step(made("rlfat_t", batch_norm=True, weight_perturbation=off)), plain
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # another graph
    second = [made("pgdat", weight_perturbation=AWP(GAMMA, warmup=w)) for w in (1, 2)]
    first, later = ([step(robust), step(robust)][1] for robust in second)
    assert not np.array_equal(first[0], later[0])


def test_direction():
    kernel = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    gradient = np.random.default_rng(1).normal(size=kernel.shape).astype(np.float32)
    found = AWP().direction(kernel, 1e-30 * gradient)
    np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(kernel), rtol=1e-5)
    expected = gradient / np.linalg.norm(gradient) * np.linalg.norm(kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert not np.any(AWP().direction(kernel, np.zeros_like(kernel)))


def test_replicas_perturb_by_the_gradient_of_the_global_batch(strategy2):
    with strategy2.scope():
        replicas = made("trades", weight_perturbation=AWP(GAMMA))
    alone = made("trades", weight_perturbation=AWP(GAMMA))
    for found, expected in zip(step(replicas), step(alone)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_arguments():
    for arguments in ({"gamma": -1.0}, {"gamma": float("inf")}, {"warmup": -1}):
        with pytest.raises(ValueError, match="Expected"):
            AWP(**arguments)
    assert AWP.from_config(AWP(0.01, warmup=3).get_config()) == AWP(0.01, warmup=3)
