"""MART against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import MART, attacks
from rlfat_tf.core import losses
from tests import reference

BATCH = reference.images_and_labels(6, seed=2)
IMAGES, ADVERSARIAL, LABELS = BATCH


def runner_up(labels, q):
    """-log(1 - the greatest probability of a wrong class), with the constants of the code."""
    wrong = [max(row[j] for j in range(len(row)) if j != y) for y, row in zip(labels, q)]
    return -np.log(1.0001 - np.array(wrong) + 1e-12)


def terms(net, smoothing):
    clean, there = (net.forward(x)[0] for x in (IMAGES, ADVERSARIAL))
    p, q = (np.exp(reference.log_softmax(z)) for z in (clean, there))
    rows = (1 - smoothing) * np.eye(3)[LABELS] + smoothing / 3
    boosted = reference.cross_entropy(rows, there)[0] + runner_up(LABELS, q)
    weight = 1.0000001 - p[np.arange(len(LABELS)), LABELS]
    return {"boosted_loss": boosted, "kl_loss": reference.kl(clean, there)[0] * weight}


@pytest.mark.parametrize("dtype, rtol, smoothing", [("float64", 1e-6, 0.3), ("float32", 2e-3, 0.0)])
def test_loss_and_gradient(dtype, rtol, smoothing):
    robust = MART(reference.keras_net(dtype=dtype, seed=1), beta=3.0, label_smoothing=smoothing)
    result = reference.check_objective(
        robust,
        lambda net: terms(net, smoothing),
        lambda t: t["boosted_loss"] + 3 * t["kl_loss"],
        BATCH,
        rtol=rtol,
    )
    one_hot = (IMAGES, ADVERSARIAL, np.eye(3, dtype=np.int64)[LABELS])
    again = robust.batch_objective(*one_hot, seed=reference.random.as_seed(0), training=True)
    np.testing.assert_allclose(again.loss, result.loss, rtol=max(rtol, 1e-5))


def test_the_runner_up_is_a_wrong_class():
    """Among equals, where it leads, and where it is certain: then the loss is capped."""
    p = np.array([[0.4, 0.3, 0.3], [0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    logits, labels = np.log(np.maximum(p, 1e-30)), np.array([0, 2, 1, 1])
    found = losses.runner_up_loss(labels, tf.constant(logits))
    np.testing.assert_allclose(found, runner_up(labels, p), rtol=1e-6)
    assert float(found[3]) == pytest.approx(-np.log(1e-4), rel=1e-6)
    variable = tf.Variable(logits[:1])
    with tf.GradientTape() as tape:
        loss = losses.runner_up_loss(labels[:1], variable)
    # -log(1.0001 - q_1) falls back on the tied classes alike: half of each.
    q, rest = p[0], 1.0001 - 0.3
    tied = [q[j] * ((j == k) - q[k]) / rest for j in (1, 2) for k in range(3)]
    np.testing.assert_allclose(
        tape.gradient(loss, variable)[0], np.reshape(tied, [2, 3]).mean(0), rtol=1e-5
    )


def test_soft_labels_are_refused_before_anything_is_traced():
    robust = MART(reference.keras_net(), attack=attacks.FGSM(epsilon=0.1))
    assert robust.attack.loss == "ce" and robust.attack.random_start == "none"
    assert MART(reference.keras_net()).attack.random_start == "gaussian"
    robust.compile(optimizer="sgd", run_eagerly=True)
    soft = 0.7 * np.eye(3, dtype=np.float32)[LABELS] + 0.1
    with pytest.raises(ValueError, match="one class for every example.*soft label rows.* 0.8"):
        robust.fit(IMAGES, soft, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="soft label rows"):
        robust.train_step((IMAGES, soft))
    robust.train_step((IMAGES, np.eye(3, dtype=np.float32)[LABELS]))
