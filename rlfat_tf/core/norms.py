"""The threat models: where an attack starts, how it steps, and the ball it must stay in.

A perturbation ``delta`` has the shape of the images [batch, ...]; ``epsilon`` is in units of pixels
in [0, 1]. ``usual_epsilon`` is the radius at which the literature reports CIFAR-10.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core import random
from rlfat_tf.core.errors import unknown

STARTS = ("uniform", "gaussian", "none")
GAUSSIAN_START = 1e-3  # standard deviation of TRADES' random start


def _lengths(delta: Any) -> Any:
    """L2 norm of every example, shaped to multiply with it."""
    axes = list(range(1, delta.shape.rank))
    return tf.sqrt(tf.reduce_sum(tf.square(delta), axis=axes, keepdims=True))


class Linf:
    """The maximum norm: every pixel may move by at most epsilon."""

    name = "linf"
    usual_epsilon = 8 / 255

    def random_start(self, images: Any, epsilon: float, kind: str, seed: random.SeedLike) -> Any:
        """Returns a first perturbation of the images' shape.

        Args:
            images: [batch, ...]; only the shape counts.
            epsilon: Radius of the ball.
            kind: ``"uniform"`` in the ball, ``"gaussian"`` (0.001 N(0, 1), TRADES) or ``"none"``.
            seed: See :mod:`rlfat_tf.core.random`.
        """
        if kind == "uniform":
            return random.uniform(seed, tf.shape(images), -epsilon, epsilon)
        return _common_start(images, kind, seed)

    def step(self, gradient: Any) -> Any:
        """Returns the direction of steepest ascent of length 1 in this norm: the sign."""
        return tf.sign(gradient)

    def project(self, delta: Any, epsilon: float) -> Any:
        """Returns the nearest perturbation inside the ball."""
        return tf.clip_by_value(delta, -epsilon, epsilon)


class L2:
    """The Euclidean norm over all pixels of an image."""

    name = "l2"
    usual_epsilon = 0.5  # on images of 32 x 32 pixels

    def random_start(self, images: Any, epsilon: float, kind: str, seed: random.SeedLike) -> Any:
        """As :meth:`Linf.random_start`; ``"uniform"`` is uniform in the volume of the ball."""
        if kind == "uniform":
            seed = random.as_seed(seed)
            direction = random.normal(seed.fold(0), tf.shape(images))
            ones = tf.ones([images.shape.rank - 1], tf.int32)
            radius = random.uniform(seed.fold(1), tf.concat([tf.shape(images)[:1], ones], 0), 0, 1)
            dimension = tf.cast(tf.reduce_prod(tf.shape(images)[1:]), tf.float32)
            return epsilon * self.step(direction) * tf.pow(radius, 1.0 / dimension)
        return _common_start(images, kind, seed)

    def step(self, gradient: Any) -> Any:
        """Returns the gradient scaled to length 1; a zero gradient stays zero."""
        return tf.math.divide_no_nan(gradient, _lengths(gradient))

    def project(self, delta: Any, epsilon: float) -> Any:
        """Returns the nearest perturbation inside the ball."""
        return delta * tf.math.divide_no_nan(epsilon, tf.maximum(_lengths(delta), epsilon))


def _common_start(images: Any, kind: str, seed: random.SeedLike) -> Any:
    if kind == "gaussian":
        return random.normal(seed, tf.shape(images), GAUSSIAN_START)
    if kind == "none":
        return tf.zeros_like(images)
    raise unknown("random start", kind, STARTS)


NORMS = {norm.name: norm for norm in (Linf(), L2())}


def get(name: str) -> Any:
    """Returns the norm of that name (``"linf"`` or ``"l2"``).

    Raises:
        ValueError: If there is none.
    """
    if name not in NORMS:
        raise unknown("norm", name, NORMS)
    return NORMS[name]
