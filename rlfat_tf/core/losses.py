"""Per-example losses: each returns a vector [batch], never a mean.

The base class of the methods divides the sum by the size of the *global* batch, which is right on
one device and on many. Logits of 16 bits are raised to float32 first; float64 stays float64.
"""

from __future__ import annotations

import math
from typing import Callable

import tensorflow as tf

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Labels, Logits, LossFn, Tensor

SATURATED = 60.0  # margin beyond which the attacks' cross entropy goes on as a straight line


def as_float(logits: Logits) -> Logits:
    """Raises 16-bit floats to float32 and leaves wider floats as they are."""
    logits = tf.convert_to_tensor(logits)
    return tf.cast(logits, tf.float32) if logits.dtype in (tf.float16, tf.bfloat16) else logits


def is_one_hot(labels: Labels) -> bool:
    """Tells label vectors [batch, classes] from integer labels [batch] or [batch, 1]."""
    shape = tf.convert_to_tensor(labels).shape
    return shape.rank == 2 and shape[-1] != 1


def class_ids(labels: Labels) -> Tensor:
    """Returns int32 labels [batch] from integer labels or (soft) one-hot rows."""
    if is_one_hot(labels):
        return tf.argmax(labels, axis=-1, output_type=tf.int32)
    return tf.cast(tf.reshape(labels, [-1]), tf.int32)


def towards(classes: Labels) -> Tensor:
    """Marks classes as ones to reach, where the labels of an attack are else classes to leave.

    To get nearer to a class is to get away from it with the opposite sign. The losses that read
    the marks say so; no label outside of a targeted attack is marked.

    Args:
        classes: Integers [batch] or one-hot rows.

    Returns:
        int32 [batch], -1 - class.
    """
    return -1 - class_ids(classes)


def goal(labels: Labels) -> tuple[Tensor, Tensor]:
    """Returns the classes of labels, int32 [batch], and which :func:`towards` has marked."""
    ids = class_ids(labels)
    marked = ids < 0
    return tf.where(marked, -1 - ids, ids), marked


def label_rows(labels: Labels, logits: Logits) -> Tensor:
    """Returns labels as rows [batch, classes] in the dtype of the logits; soft rows stay soft."""
    logits = as_float(logits)
    if is_one_hot(labels):
        return tf.cast(labels, logits.dtype)
    return tf.one_hot(class_ids(labels), logits.shape[-1], dtype=logits.dtype)


def cross_entropy(labels: Labels, logits: Logits) -> Tensor:
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


def unsaturated_cross_entropy(labels: Labels, logits: Logits) -> Tensor:
    """The cross entropy with a gradient that is right at any margin, per example.

    The gradient by the true class's logit is p_y - 1, which float32 takes for 0 once the logit
    leads by 17: an attack then raises the other logits and no longer lowers the true one. Written
    as log(1 + exp(lead)), with the lead of log sum_{j != y} exp(z_j) over z_y, it is the sum of the
    other probabilities and keeps its digits. For a lead below -60, where these underflow, the loss
    goes on as the tangent, which changes its value by less than 1e-20 and never its direction.

    Args:
        labels: As for :func:`cross_entropy`; of label vectors the greatest entry is the true class.
            Those marked by :func:`towards` have minus the loss of their class.
        logits: [batch, classes], at least 2 classes.

    Returns:
        [batch], the values of :func:`cross_entropy`.
    """
    logits = as_float(logits)
    true_class = _true_class(labels, logits)
    true_logit = tf.reduce_sum(tf.where(true_class, logits, 0.0), axis=-1)
    others = tf.where(true_class, tf.constant(-math.inf, logits.dtype), logits)
    ahead = tf.reduce_logsumexp(others, axis=-1) - true_logit
    line = math.exp(-SATURATED) * tf.minimum(ahead + SATURATED, 0.0)
    loss = tf.math.softplus(tf.maximum(ahead, -SATURATED)) + line
    if not is_one_hot(labels):
        return tf.where(goal(labels)[1], -loss, loss)
    shares = tf.cast(labels, logits.dtype)
    others = tf.where(true_class, tf.zeros_like(shares), shares)  # all 0 unless labels are soft
    rest = tf.math.multiply_no_nan(true_logit[:, None] - logits, others)
    return tf.reduce_sum(shares, axis=-1) * loss + tf.reduce_sum(rest, axis=-1)


def smooth_labels(labels: Labels, logits: Logits, smoothing: float) -> Tensor:
    """Returns label rows (1 - smoothing) y + smoothing / K, as Keras and PyTorch smooth them.

    A part of the smoothing goes to every class, the true one too: the wrong ones have
    smoothing (K - 1) / K together. (Szegedy et al., "Rethinking the Inception Architecture", 2016.)

    Args:
        labels: Integers [batch], or (soft) one-hot rows [batch, K].
        logits: [batch, K]; tells K and the dtype.
        smoothing: In [0, 1].
    """
    rows = label_rows(labels, logits)
    return (1 - smoothing) * rows + smoothing / rows.shape[-1]


def without_smoothing(labels: Labels) -> Labels:
    """Returns labels of which every row that :func:`smooth_labels` may have made is as before.

    That is a row in which more than half of the classes, but not all, have the same least share:
    a smoothed class, or a smoothed mixture of few among many. Other labels stay as they are, and so
    do rows of two classes, of which nothing tells what they were.

    Args:
        labels: Integers [batch], or (soft) one-hot rows [batch, K].
    """
    if not is_one_hot(labels):
        return labels
    rows = tf.convert_to_tensor(labels)
    if not rows.dtype.is_floating:
        return rows
    least = tf.reduce_min(rows, axis=-1, keepdims=True)
    shared = tf.math.count_nonzero(rows == least, axis=-1, keepdims=True)
    classes = tf.shape(rows, out_type=tf.int64)[-1]
    smoothed = (least > 0) & (2 * shared > classes) & (shared < classes)
    above = rows - least
    sharp = tf.math.divide_no_nan(above, tf.reduce_sum(above, axis=-1, keepdims=True))
    return tf.where(smoothed, sharp, rows)


def kl_divergence(logits_p: Logits, logits_q: Logits) -> Tensor:
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


def margin(labels: Labels, logits: Logits, confidence: float = 50.0) -> Tensor:
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
    return -tf.nn.relu(confidence - negative_margin(labels, as_float(logits)))


def negative_margin(labels: Labels, logits: Logits) -> Tensor:
    """max_{j != y} z_j - z_y per example: below 0 where the example is correctly classified.

    Of labels marked by :func:`towards` it is z_t - max_{j != t} z_j: below 0 where the class is not
    reached.
    """
    logits = as_float(logits)
    true_class = _true_class(labels, logits)
    true_logit = tf.reduce_sum(tf.where(true_class, logits, 0.0), axis=-1)
    lead = tf.reduce_max(tf.where(true_class, logits.dtype.min, logits), axis=-1) - true_logit
    return lead if is_one_hot(labels) else tf.where(goal(labels)[1], -lead, lead)


def _true_class(labels: Labels, logits: Logits) -> Tensor:
    """Where the class is that the labels name, bool [batch, classes]."""
    return tf.one_hot(
        goal(labels)[0], tf.shape(logits)[-1], dtype=tf.bool, on_value=True, off_value=False
    )


def dlr(labels: Labels, logits: Logits) -> Tensor:
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
    return tf.math.divide_no_nan(negative_margin(labels, logits), top[:, 0] - top[:, 2])


def targeted_dlr(labels: Labels, targets: Tensor, logits: Logits) -> Tensor:
    """The targeted difference of logits ratio, as a loss to ascend, per example.

    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2) (Croce & Hein 2020, Eq. 7), with the greatest
    logit of all classes but t for z_y where the label is marked by :func:`towards`.

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
    return tf.math.divide_no_nan(targeted_negative_margin(labels, targets, logits), scale)


def targeted_negative_margin(labels: Labels, targets: Tensor, logits: Logits) -> Tensor:
    """By how much the target's logit exceeds the true class's, z_t - z_y, per example.

    Of labels marked by :func:`towards`, the targets themselves, it is :func:`negative_margin`.
    """
    logits = as_float(logits)
    classes, marked = goal(labels)
    lead = _logit(targets, logits) - _logit(classes, logits)
    return tf.where(marked, negative_margin(labels, logits), lead)


def _logit(classes: Tensor, logits: Logits) -> Tensor:
    return tf.gather(logits, tf.cast(classes, tf.int32), axis=1, batch_dims=1)


def squared_distance(logits_a: Logits, logits_b: Logits) -> Tensor:
    """||a - b||_2^2 summed over the logits, per example (RLFAT, Eq. 9)."""
    return tf.reduce_sum(tf.square(as_float(logits_a) - as_float(logits_b)), axis=-1)


def probability_distance(logits_a: Logits, logits_b: Logits) -> Tensor:
    """||p - q||_2^2 of two softmax distributions given as logits, per example (SCORE).

    Gradients flow through both; stop the one that is a constant.

    Args:
        logits_a: [batch, classes].
        logits_b: [batch, classes].

    Returns:
        [batch], in [0, 2].
    """
    p, q = tf.nn.softmax(as_float(logits_a)), tf.nn.softmax(as_float(logits_b))
    return tf.reduce_sum(tf.square(p - q), axis=-1)


def squared_error(labels: Labels, logits: Logits) -> Tensor:
    """||p - y||_2^2 of the softmax distribution and the label row, per example: Brier's score.

    Args:
        labels: As for :func:`cross_entropy`.
        logits: [batch, classes].

    Returns:
        [batch], in [0, 2].
    """
    logits = as_float(logits)
    return tf.reduce_sum(tf.square(tf.nn.softmax(logits) - label_rows(labels, logits)), axis=-1)


def runner_up_loss(labels: Labels, logits: Logits) -> Tensor:
    """-log(1.0001 - max_{j != y} p_j + 1e-12): what MART adds to the cross entropy, per example.

    Without the constants, which are those of the authors' code, it is infinite where a wrong class
    is certain; with them at most 9.21. Of equal runners-up each has its part of the gradient.

    Args:
        labels: As for :func:`cross_entropy`; of label vectors the greatest entry is the true class.
        logits: [batch, classes].

    Returns:
        [batch].
    """
    logits = as_float(logits)
    others = tf.where(_true_class(labels, logits), 0.0, tf.nn.softmax(logits))
    return -tf.math.log(1.0001 - tf.reduce_max(others, axis=-1) + 1e-12)


ATTACK_LOSSES = ("ce", "kl", "margin", "dlr", "lse")
OF_THE_PREDICTION = ("kl", "lse")  # which read no labels


def attack_loss(name: str, clean_logits: Callable[[], Logits], labels: Labels) -> LossFn:
    """Returns the function of the logits that an attack ascends.

    Args:
        name: ``"ce"`` (cross entropy), ``"kl"`` (KL from the clean prediction, which is a
            constant of the attack: TRADES), ``"margin"`` (Carlini-Wagner, confidence 50),
            ``"dlr"`` (difference of logits ratio; below 3 classes, where it has no meaning, the
            plain lead of the wrong class) or ``"lse"`` (squared distance from the clean
            probabilities, a constant of the attack: SCORE; as any function of the probabilities it
            is flat where the classifier is all but certain).
        clean_logits: Computes the logits of the clean images; called for ``"kl"`` and ``"lse"``.
        labels: As for :func:`cross_entropy`; not read for ``"kl"`` and ``"lse"``.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "ce":
        return lambda logits: unsaturated_cross_entropy(labels, logits)
    if name == "margin":
        return lambda logits: margin(labels, logits)
    if name == "dlr":
        return lambda logits: (dlr if logits.shape[-1] > 2 else negative_margin)(labels, logits)
    if name == "lse":
        clean = tf.stop_gradient(clean_logits())
        return lambda logits: probability_distance(logits, clean)
    if name == "kl":
        reference = as_float(tf.stop_gradient(clean_logits()))
        shares = tf.nn.softmax(reference)
        entropy = unsaturated_cross_entropy(shares, reference)
        return lambda logits: unsaturated_cross_entropy(shares, logits) - entropy
    raise unknown("attack loss", name, ATTACK_LOSSES)
