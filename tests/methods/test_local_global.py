"""Local and global terms around weak adversaries, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import LocalGlobal, attacks
from rlfat_tf.core import random
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.steps import METHOD_DRAW
from tests import reference

IMAGES, ADVERSARIAL, LABELS = reference.images_and_labels(6, seed=2)
ATTACK = attacks.LinfPGD(epsilon=0.1, steps=1)
SEED = random.as_seed(4)


def outcome(robust, dtype="float64"):
    with tf.GradientTape() as tape:
        images = [tf.constant(x, dtype) for x in (IMAGES, ADVERSARIAL)]
        result = robust.batch_objective(*images, LABELS, SEED, training=True)
        loss = tf.reduce_mean(result.loss)
    return result, tape.gradient(loss, robust.model.trainable_variables)


def neighbor(net, radius):
    """z of the inner maximum, from the step's own draw."""
    draw = random.uniform(SEED.fold(METHOD_DRAW), IMAGES.shape, -radius, radius).numpy()
    target = net.forward(ADVERSARIAL)[0]
    start = ADVERSARIAL + draw.astype(np.float64)
    logits, cache = net.forward(start)
    slope = net.backward(cache, reference.kl(target, logits)[2])[1].reshape(IMAGES.shape)
    moved = np.clip(start + radius * np.sign(slope), ADVERSARIAL - radius, ADVERSARIAL + radius)
    return np.clip(np.clip(moved, IMAGES - 0.1, IMAGES + 0.1), 0, 1)


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-5), ("float32", 5e-3)])
def test_inner_variant(dtype, rtol):
    model = reference.keras_net(dtype=dtype, seed=1)
    net = reference.Net(model)
    robust = LocalGlobal(
        model, attack=ATTACK, local_weight=2.0, global_weight=3.0, local_radius=0.04
    )
    point = neighbor(net, 0.04)

    def terms():
        clean, there, near = (net.forward(x)[0] for x in (IMAGES, ADVERSARIAL, point))
        return (
            reference.cross_entropy(LABELS, there)[0],
            reference.kl(there, near)[0],
            reference.kl(clean, there)[0],
        )

    result, gradients = outcome(robust, dtype)
    tight = 1e-6 if dtype == "float64" else 1e-3
    for name, values in zip(("adv_loss", "local_loss", "global_loss"), terms()):
        np.testing.assert_allclose(result.terms[name], values, rtol=tight, atol=tight)

    def mean():
        adv, local, wide = terms()
        return (adv + 2 * local + 3 * wide).mean()

    for ours, theirs in zip(gradients, reference.numeric_gradients(mean, net)):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


def test_first_order_variant():
    model = reference.keras_net(dtype="float64", seed=1)
    net = reference.Net(model)
    robust = LocalGlobal(
        model, attack=ATTACK, local_weight=2.0, global_weight=0.0, local_radius=0.04,
        variant="first_order",
    )  # fmt: skip

    def terms():
        logits, cache = net.forward(ADVERSARIAL)
        loss, d_logits = reference.cross_entropy(LABELS, logits)
        return loss, 0.04 * np.abs(net.backward(cache, d_logits)[1]).sum(-1)

    result, gradients = outcome(robust)
    for name, values in zip(("adv_loss", "local_loss"), terms()):
        np.testing.assert_allclose(result.terms[name], values, rtol=1e-6)
    numeric = reference.numeric_gradients(lambda: (terms()[0] + 2 * terms()[1]).mean(), net)
    for ours, theirs in zip(gradients, numeric):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_without_weights_it_is_pgd_training():
    model = reference.keras_net(dtype="float64", seed=1)
    result, gradients = outcome(LocalGlobal(model, attack=ATTACK, local_weight=0, global_weight=0))
    loss, _, expected = reference.objective(
        "pgdat", reference.Net(model), IMAGES, ADVERSARIAL, LABELS, None
    )
    np.testing.assert_allclose(result.loss, loss, rtol=1e-6)
    for ours, theirs in zip(gradients, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_arguments():
    assert LocalGlobal(reference.keras_net(), attack=ATTACK).radius == 0.05
    with pytest.raises(ValueError, match="Did you mean 'inner'"):
        LocalGlobal(reference.keras_net(), variant="iner")
    with pytest.raises(
        ValueError, match="global_weight to be a finite number of at least 0; received -1"
    ):
        LocalGlobal(reference.keras_net(), global_weight=-1)


@pytest.mark.parametrize("attack_bn", ["train", "batch"])
def test_evaluation_changes_nothing(attack_bn):
    """The attack of its objective works in inference mode then, whatever that of training does."""
    net = reference.keras_net(batch_norm=True, seed=3)
    net.add(keras.layers.Dropout(0.5))
    robust = LocalGlobal(net, attack=ATTACK, attack_bn=attack_bn)
    robust.compile("sgd")
    before = [np.array(weight) for weight in robust.get_weights()]
    first, second = (robust.evaluate(IMAGES, LABELS, verbose=0, return_dict=True) for _ in range(2))
    assert first == second
    for one, other in zip(before, robust.get_weights()):
        np.testing.assert_array_equal(one, other)
    plain = LocalGlobal(net, attack=ATTACK)
    plain.compile("sgd")
    assert plain.evaluate(IMAGES, LABELS, verbose=0, return_dict=True) == first
