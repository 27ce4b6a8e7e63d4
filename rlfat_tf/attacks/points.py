"""What several attacks do with points: rank them, start them, aim and move them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.base import LogitsFn
from rlfat_tf.core import random


def attack_score(loss: Any, correct: Any) -> Any:
    """Scores points [batch]: misclassified ones first, by their loss among themselves."""
    value = tf.math.atan(tf.cast(loss, tf.float32))  # monotone, bounded: `correct` decides
    return value + 4.0 * tf.cast(~correct, tf.float32)


def keep_better(one: Any, other: Any) -> tuple[Any, Any]:
    """Of two pairs (points [batch, ...], scores [batch]) keeps per example the greater score."""
    wins = other[1] > one[1]
    wide = tf.reshape(
        wins, tf.concat([tf.shape(wins), tf.ones([tf.rank(one[0]) - 1], tf.int32)], 0)
    )
    return tf.where(wide, other[0], one[0]), tf.where(wins, other[1], one[1])


def adam(number: Any, gradient: Any, mean: Any, square: Any, rate: float) -> tuple[Any, Any, Any]:
    """One step of Adam (Kingma & Ba, ICLR 2015, Algorithm 1) with the paper's constants.

    Args:
        number: Of the step, from 0.
        gradient: Of what is minimised.
        mean: Moving average of the gradient, at first 0.
        square: Moving average of its square, at first 0.
        rate: Learning rate.

    Returns:
        What to add to the variable, and the two averages.
    """
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * tf.square(gradient)
    time = tf.cast(number + 1, tf.float32)
    length = tf.sqrt(square / (1.0 - tf.pow(0.999, time))) + 1e-8
    return -rate * mean / (1.0 - tf.pow(0.9, time)) / length, mean, square


def random_point(norm: str, images: Any, epsilon: float, seed: random.Seed) -> Any:
    """A start on the border of the ball, as the authors draw it, inside [0, 1]."""
    axes = list(range(1, images.shape.rank))
    if norm == "linf":
        draw = random.uniform(seed, tf.shape(images), -1.0, 1.0)
        length = tf.reduce_max(tf.abs(draw), axes, keepdims=True)
    else:
        draw = random.normal(seed, tf.shape(images))
        length = tf.sqrt(tf.reduce_sum(tf.square(draw), axes, keepdims=True))
    return tf.clip_by_value(images + epsilon * tf.math.divide_no_nan(draw, length), 0.0, 1.0)


def count_targets(logits_fn: LogitsFn, images: Any, targets: int) -> int:
    """Returns how many target classes there are: at most one less than classes."""
    return min(targets, int(logits_fn(images).shape[-1]) - 1)


def target_class(logits: Any, labels: Any, rank: Any) -> Any:
    """Returns the wrong class with the (rank + 1)-th greatest logit, integers [n]."""
    own = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    order = tf.argsort(tf.where(own, logits.dtype.min, logits), -1, "DESCENDING", stable=True)
    return tf.gather(order, rank, axis=1)
