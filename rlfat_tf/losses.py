"""Per-example losses: each returns a vector [batch], never a mean.

The base class of the methods divides the sum by the size of the *global* batch, which is right on
one device and on many. Logits of 16 bits are raised to float32 first; float64 stays float64.
"""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.errors import unknown

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
    logits = as_float(logits)
    true_class = tf.one_hot(class_ids(labels), logits.shape[-1], dtype=logits.dtype)
    true_logit = tf.reduce_sum(true_class * logits, axis=-1)
    wrong_logit = tf.reduce_max(tf.where(true_class > 0, logits.dtype.min, logits), axis=-1)
    return -tf.nn.relu(true_logit - wrong_logit + confidence)


def squared_distance(logits_a: Any, logits_b: Any) -> Any:
    """||a - b||_2^2 summed over the logits, per example (RLFAT, Eq. 9)."""
    return tf.reduce_sum(tf.square(as_float(logits_a) - as_float(logits_b)), axis=-1)


ATTACK_LOSSES = ("ce", "kl", "margin")


def attack_loss(name: str, clean_logits: Callable[[], Any], labels: Any) -> PerExample:
    """Returns the function of the logits that an attack ascends.

    Args:
        name: ``"ce"`` (cross entropy), ``"kl"`` (KL from the clean prediction, which is a
            constant of the attack: TRADES) or ``"margin"`` (Carlini-Wagner, confidence 50).
        clean_logits: Computes the logits of the clean images; called for ``"kl"`` only.
        labels: As for :func:`cross_entropy`; not read for ``"kl"``.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "ce":
        return lambda logits: cross_entropy(labels, logits)
    if name == "margin":
        return lambda logits: margin(labels, logits)
    if name == "kl":
        reference = tf.stop_gradient(clean_logits())
        return lambda logits: kl_divergence(reference, logits)
    raise unknown("attack loss", name, ATTACK_LOSSES)
