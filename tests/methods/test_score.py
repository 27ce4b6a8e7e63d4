"""SCORE against NumPy: its objective, and the loss that its attack ascends."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import SCORE
from rlfat_tf.core import losses
from tests import reference

BATCH = reference.images_and_labels(6, seed=2)
IMAGES, ADVERSARIAL, LABELS = BATCH
SOFT = 0.7 * np.eye(3)[LABELS] + 0.3 / 3


def softmax(logits):
    return np.exp(reference.log_softmax(logits))


@pytest.mark.parametrize(
    "dtype, rtol, labels, smoothing, rows",
    [
        ("float64", 1e-6, LABELS, 0.3, SOFT),
        ("float64", 1e-6, SOFT, 0.0, SOFT),
        ("float32", 2e-3, LABELS, 0.0, np.eye(3)[LABELS]),
    ],
)
def test_loss_and_gradient(dtype, rtol, labels, smoothing, rows):
    def terms(net):
        p, q = (softmax(net.forward(x)[0]) for x in (IMAGES, ADVERSARIAL))
        return {"clean_loss": ((p - rows) ** 2).sum(-1), "lse_loss": ((q - p) ** 2).sum(-1)}

    model = reference.keras_net(dtype=dtype, seed=1)
    distances = terms(reference.Net(model))["lse_loss"]
    c = float(np.median(distances))  # half of the examples are nearer than that
    robust = SCORE(model, beta=30.0, c=c, label_smoothing=smoothing)

    def loss(t):
        return t["clean_loss"] + 30 * np.maximum(t["lse_loss"] - c, 0)

    reference.check_objective(robust, terms, loss, (IMAGES, ADVERSARIAL, labels), rtol=rtol)
    assert (distances > c).sum() == 3


def test_the_attack_ascends_the_distance_of_the_probabilities():
    attack = SCORE(reference.keras_net()).attack
    assert (attack.loss, attack.random_start) == ("lse", "uniform")
    rng = np.random.default_rng(0)
    clean, there = rng.normal(size=(2, 4, 5))
    variable, reached = tf.Variable(there), tf.Variable(clean)
    with tf.GradientTape() as tape:
        loss = losses.attack_loss("lse", lambda: reached, None)(variable)
    np.testing.assert_allclose(loss, ((softmax(there) - softmax(clean)) ** 2).sum(-1))
    gradient, of_clean = tape.gradient(loss, [variable, reached])
    q, d = softmax(there), 2 * (softmax(there) - softmax(clean))
    np.testing.assert_allclose(gradient, q * (d - (q * d).sum(-1, keepdims=True)))
    assert of_clean is None  # p(x) is a constant of the attack
