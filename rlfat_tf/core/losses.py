"""Per-example losses: each returns a vector [batch], never a mean.

The base class of the methods divides the sum by the size of the *global* batch, which is right on
one device and on many. Logits of 16 bits are raised to float32 first; float64 stays float64.
"""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core.errors import unknown

PerExample = Callable[[Any], Any]


def as_float(logits: Any) -> Any:
    """Raises 16-bit floats to float32 and leaves wider floats as they are."""
    logits = tf.convert_to_tensor(logits)
    return tf.cast(logits, tf.float32) if logits.dtype in (tf.float16, tf.bfloat16) else logits


def is_one_hot(labels: Any) -> bool:
    """Tells label vectors [batch, classes] from integer labels [batch] or [batch, 1]."""
    shape = tf.convert_to_tensor(labels).shape
    return shape.rank == 2 and shape[-1] != 1


def class_ids(labels: Any) -> Any:
    """Returns int32 labels [batch] from integer labels or (soft) one-hot rows."""
    if is_one_hot(labels):
        return tf.argmax(labels, axis=-1, output_type=tf.int32)
    return tf.cast(tf.reshape(labels, [-1]), tf.int32)


def cross_entropy(labels: Any, logits: Any) -> Any:
    """Cross entropy of softmax(logits), per example.

    Args:
        labels: Integers [batch] or [batch, 1] in [0, classes), or (soft) one-hot [batch, classes].
        logits: [batch, classes].

    Returns:
        [batch], in the dtype of the logits (at least float32).
    """
    logits = as_float(logits)
    if is_one_hot(labels):
        return tf.nn.softmax_cross_entropy_with_logits(tf.cast(labels, logits.dtype), logits)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(class_ids(labels), logits)


def check_smoothing(delta: float) -> None:
    """Refuses a label smoothing that is no probability.

    Raises:
        ValueError: If it is not in [0, 1).
    """
    if not 0 <= delta < 1:
        raise ValueError(f"Expected label_smoothing in [0, 1); received {delta}.")


def smooth_labels(labels: Any, logits: Any, delta: float) -> Any:
    """Returns label vectors with 1 - delta for the true class and delta / (K - 1) for the others.

    Args:
        labels: Integers [batch], or one-hot rows [batch, K].
        logits: [batch, K]; tells K and the dtype.
        delta: In [0, 1).
    """
    logits = as_float(logits)
    classes = logits.shape[-1]
    one_hot = tf.one_hot(class_ids(labels), classes, dtype=logits.dtype)
    others = delta / (classes - 1)
    return (1 - delta - others) * one_hot + others


def kl_divergence(logits_p: Any, logits_q: Any) -> Any:
    """KL(p || q) of two softmax distributions given as logits, per example.

    Gradients flow through both; stop the one that is a constant. Computed from log-softmax, so no
    probability is clipped (Keras' metric of this name clips at 1e-7).

    Args:
        logits_p: [batch, classes].
        logits_q: [batch, classes].

    Returns:
        [batch], not negative up to rounding.
    """
    log_p = tf.nn.log_softmax(as_float(logits_p))
    log_q = tf.nn.log_softmax(as_float(logits_q))
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


def margin(labels: Any, logits: Any, confidence: float = 50.0) -> Any:
    """The Carlini-Wagner margin as a loss to ascend, per example.

    -max(z_y - max_{j != y} z_j + confidence, 0), the true class masked out of the inner maximum
    (Carlini & Wagner 2017, Eq. f_6 of the paper; confidence 50 as in the RLFAT experiments).

    Args:
        labels: Integers [batch], or one-hot [batch, classes] (the largest entry counts).
        logits: [batch, classes].
        confidence: How far the wrong class may lead before the loss is flat.

    Returns:
        [batch], at most 0.
    """
    return -tf.nn.relu(confidence - lead(labels, as_float(logits)))


def lead(labels: Any, logits: Any) -> Any:
    """By how much the greatest wrong logit exceeds the true one, per example: < 0 where right."""
    logits = as_float(logits)
    true_class = tf.one_hot(
        class_ids(labels), tf.shape(logits)[-1], dtype=tf.bool, on_value=True, off_value=False
    )
    true_logit = tf.reduce_sum(tf.where(true_class, logits, 0.0), axis=-1)
    return tf.reduce_max(tf.where(true_class, logits.dtype.min, logits), axis=-1) - true_logit


def dlr(labels: Any, logits: Any) -> Any:
    """The difference of logits ratio, as a loss to ascend, per example.

    -(z_y - max_{j != y} z_j) / (z_(1) - z_(3)), with z_(i) the i-th largest logit: it changes
    neither when the logits are shifted nor when they are scaled (Croce & Hein, "Reliable
    evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
    ICML 2020, Eq. 6). At or above 0 the example is misclassified.

    Args:
        labels: As for :func:`margin`.
        logits: [batch, classes], at least 3 classes.

    Returns:
        [batch]; 0 where the three largest logits are equal.
    """
    logits = as_float(logits)
    top = tf.math.top_k(logits, 3).values
    return tf.math.divide_no_nan(lead(labels, logits), top[:, 0] - top[:, 2])


def targeted_dlr(labels: Any, targets: Any, logits: Any) -> Any:
    """The targeted difference of logits ratio, as a loss to ascend, per example.

    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2) (Croce & Hein 2020, Eq. 7).

    Args:
        labels: As for :func:`margin`.
        targets: Integers [batch]: the class that each example is to be taken for.
        logits: [batch, classes], at least 4 classes.

    Returns:
        [batch]; 0 where the four largest logits are equal.
    """
    logits = as_float(logits)
    top = tf.math.top_k(logits, 4).values
    scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    return tf.math.divide_no_nan(targeted_lead(labels, targets, logits), scale)


def targeted_lead(labels: Any, targets: Any, logits: Any) -> Any:
    """By how much the target's logit exceeds the true class's, z_t - z_y, per example."""
    logits = as_float(logits)
    return _logit(targets, logits) - _logit(class_ids(labels), logits)


def _logit(classes: Any, logits: Any) -> Any:
    return tf.gather(logits, tf.cast(classes, tf.int32), axis=1, batch_dims=1)


def squared_distance(logits_a: Any, logits_b: Any) -> Any:
    """||a - b||_2^2 summed over the logits, per example (RLFAT, Eq. 9)."""
    return tf.reduce_sum(tf.square(as_float(logits_a) - as_float(logits_b)), axis=-1)


ATTACK_LOSSES = ("ce", "kl", "margin", "dlr")


def attack_loss(name: str, clean_logits: Callable[[], Any], labels: Any) -> PerExample:
    """Returns the function of the logits that an attack ascends.

    Args:
        name: ``"ce"`` (cross entropy), ``"kl"`` (KL from the clean prediction, which is a
            constant of the attack: TRADES), ``"margin"`` (Carlini-Wagner, confidence 50) or
            ``"dlr"`` (difference of logits ratio; below 3 classes, where it has no meaning, the
            plain lead of the wrong class).
        clean_logits: Computes the logits of the clean images; called for ``"kl"`` only.
        labels: As for :func:`cross_entropy`; not read for ``"kl"``.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "ce":
        return lambda logits: cross_entropy(labels, logits)
    if name == "margin":
        return lambda logits: margin(labels, logits)
    if name == "dlr":
        return lambda logits: (dlr if logits.shape[-1] > 2 else lead)(labels, logits)
    if name == "kl":
        reference = tf.stop_gradient(clean_logits())
        return lambda logits: kl_divergence(reference, logits)
    raise unknown("attack loss", name, ATTACK_LOSSES)
