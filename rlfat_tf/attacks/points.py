"""What several attacks do with points: move, rank, start and aim them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rlfat_tf.core import norms, random
from rlfat_tf.core.types import Images, Tensor

GREATEST = 1e18  # whose square is finite in float32


@dataclasses.dataclass(frozen=True)
class Ball:
    """Where the points of an attack must stay: near their images, and in [0, 1].

    Attributes:
        images: The centres, [batch, ...].
        norm: ``"linf"`` or ``"l2"``.
        epsilon: The radius, a number or scalar tensor.
    """

    images: Images
    norm: str
    epsilon: Any

    def of(self, rows: Tensor) -> Ball:
        """Returns the ball of some examples of the batch."""
        return dataclasses.replace(self, images=tf.gather(self.images, rows))

    def project(self, points: Images) -> Images:
        """Returns the nearest points inside."""
        delta = norms.get(self.norm).project(points - self.images, self.epsilon)
        return tf.clip_by_value(self.images + delta, 0.0, 1.0)

    def step(self, points: Images, gradient: Tensor, length: Tensor | float) -> Images:
        """Returns the points after a step of steepest ascent, which ends inside."""
        return self.project(points + length * norms.get(self.norm).step(gradient))


def wide(values: Tensor, images: Images) -> Tensor:
    """Shapes [batch] to go with images [batch, ...]."""
    return tf.reshape(values, [-1] + [1] * (images.shape.rank - 1))


def choose(condition: Tensor, one: Images, other: Images) -> Images:
    """Takes each example [...] of the one where its condition holds, else of the other."""
    return tf.where(wide(condition, one), one, other)


def attack_score(loss: Tensor, correct: Tensor) -> Tensor:
    """Scores points [batch]: misclassified ones first, by their loss among themselves."""
    value = tf.math.atan(tf.cast(loss, tf.float32))  # monotone, bounded: `correct` decides
    return value + 4.0 * tf.cast(~correct, tf.float32)


def comparable(loss: Tensor) -> Tensor:
    """Returns losses in float32, with -inf for NaN, which as the best so far would stay it."""
    loss = tf.cast(loss, tf.float32)
    return tf.where(tf.math.is_nan(loss), -math.inf, loss)


def keep_better(one: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[Images, Tensor]:
    """Of two pairs (points [batch, ...], scores [batch]) keeps per example the greater score."""
    wins = other[1] > one[1]
    wide = tf.reshape(
        wins, tf.concat([tf.shape(wins), tf.ones([tf.rank(one[0]) - 1], tf.int32)], 0)
    )
    return tf.where(wide, other[0], one[0]), tf.where(wins, other[1], one[1])


def adam(
    number: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, rate: float
) -> tuple[Tensor, Tensor, Tensor]:
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
    gradient = tf.clip_by_value(gradient, -GREATEST, GREATEST)
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * tf.square(gradient)
    time = tf.cast(number + 1, tf.float32)
    length = tf.sqrt(square / (1.0 - tf.pow(0.999, time))) + 1e-8
    return -rate * mean / (1.0 - tf.pow(0.9, time)) / length, mean, square


def random_point(norm: str, images: Images, epsilon: float, seed: random.Seed) -> Images:
    """A start on the border of the ball, as the authors draw it, inside [0, 1]."""
    shape = tf.shape(images)
    draw = random.uniform(seed, shape, -1.0, 1.0) if norm == "linf" else random.normal(seed, shape)
    return tf.clip_by_value(images + epsilon * norms.get(norm).normalise(draw), 0.0, 1.0)
