"""The threat models: where an attack starts, how it steps, and the ball it must stay in.

A perturbation ``delta`` has the shape of the images [batch, ...]; ``epsilon`` is in units of pixels
in [0, 1]. ``usual_epsilon`` is the radius at which the literature reports CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Union

import tensorflow as tf

from rlfat_tf.core import random
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Images, Tensor

GAUSSIAN_START = 1e-3  # standard deviation of TRADES' random start


Axes = Union[int, Sequence[int], None]


def length(values: Tensor, axes: Axes = None, keepdims: bool = False) -> Tensor:
    """Returns the Euclidean length of every example.

    The entries are divided by the greatest of them before they are squared: gradients of 1e-20,
    as saturated networks give them, have squares that float32 takes for 0. The derivative of a
    length of 0 is 0.

    Args:
        values: Finite floats [batch, ...]. Those nearer to 0 than 1.2e-38 count as 0, for so does
            TensorFlow on a CPU.
        axes: Over which to sum; default all but the first.
        keepdims: Whether to keep these axes, with 1 entry each.
    """
    _, largest, root = _scaled(values, axes)
    found = largest * root
    return found if keepdims else tf.squeeze(found, _inner_axes(values, axes))


def normalise(values: Tensor, axes: Axes = None) -> Tensor:
    """Returns every example divided by its :func:`length`; one of zeros stays as it is."""
    scaled, _, root = _scaled(values, axes)
    return scaled / root


def _inner_axes(values: Tensor, axes: Axes) -> Any:
    return list(range(1, len(values.shape))) if axes is None else axes


def _scaled(values: Tensor, axes: Axes) -> tuple[Tensor, Tensor, Tensor]:
    """The values divided by the greatest of them; the greatest; the length of the quotients."""
    axes = _inner_axes(values, axes)
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(values), axes, keepdims=True))
    scaled = tf.math.divide_no_nan(values, largest)
    # One quotient is 1, so the sum is below 1 only where all are 0: no root of 0 to derive.
    squares = tf.reduce_sum(tf.square(scaled), axes, keepdims=True)
    return scaled, largest, tf.sqrt(tf.maximum(squares, tf.ones_like(squares)))


class Linf:
    """The maximum norm: every pixel may move by at most epsilon."""

    name = "linf"
    title = "L-inf"
    usual_epsilon = 8 / 255
    starts: tuple[str, ...] = ("uniform", "gaussian", "none")

    def random_start(
        self,
        images: Images,
        epsilon: float | Tensor,
        kind: str,
        seed: random.SeedLike,
        deviation: float | Tensor = GAUSSIAN_START,
    ) -> Tensor:
        """Returns a first perturbation of the images' shape.

        Args:
            images: [batch, ...]; only the shape counts.
            epsilon: Radius of the ball.
            kind: ``"uniform"`` in the ball, ``"gaussian"`` (0.001 N(0, 1), TRADES) or ``"none"``.
            seed: See :mod:`rlfat_tf.core.random`.
            deviation: Of the kind ``"gaussian"``.
        """
        _check_start(kind, self.starts)
        if kind == "uniform":
            return random.uniform(seed, tf.shape(images), -epsilon, epsilon)
        return _common_start(images, kind, seed, deviation)

    def step(self, gradient: Tensor) -> Tensor:
        """Returns the direction of steepest ascent of length 1 in this norm: the sign."""
        return tf.sign(gradient)

    def length(self, delta: Tensor) -> Tensor:
        """Returns the norm of every example, [batch]."""
        return tf.reduce_max(tf.abs(delta), _inner_axes(delta, None))

    def dual_length(self, gradient: Tensor) -> Tensor:
        """Returns what a step of length 1 gains on a linear function, [batch]: the L1 norm."""
        return tf.reduce_sum(tf.abs(gradient), _inner_axes(gradient, None))

    def normalise(self, delta: Tensor) -> Tensor:
        """Returns every example scaled to the border of the unit ball; zeros stay zeros."""
        largest = tf.reduce_max(tf.abs(delta), _inner_axes(delta, None), keepdims=True)
        return tf.math.divide_no_nan(delta, largest)

    def project(self, delta: Tensor, epsilon: float | Tensor) -> Tensor:
        """Returns the nearest perturbation inside the ball."""
        return tf.clip_by_value(delta, -epsilon, epsilon)


class L2:
    """The Euclidean norm over all pixels of an image."""

    name = "l2"
    title = "L2"
    usual_epsilon = 0.5  # on images of 32 x 32 pixels
    starts: tuple[str, ...] = ("uniform", "gaussian", "none", "radial")

    def random_start(
        self,
        images: Images,
        epsilon: float | Tensor,
        kind: str,
        seed: random.SeedLike,
        deviation: float | Tensor = GAUSSIAN_START,
    ) -> Tensor:
        """As :meth:`Linf.random_start`; ``"uniform"`` is uniform in the volume of the ball.

        In many dimensions nearly all of that volume is at its border. ``"radial"`` is a uniform
        direction times a length uniform in [0, epsilon], as Rice, Wong & Kolter ("Overfitting in
        adversarially robust deep learning", ICML 2020) start.
        """
        _check_start(kind, self.starts)
        if kind in ("uniform", "radial"):
            seed = random.as_seed(seed)
            direction = random.normal(seed.fold(0), tf.shape(images))
            ones = tf.ones([images.shape.rank - 1], tf.int32)
            radius = random.uniform(seed.fold(1), tf.concat([tf.shape(images)[:1], ones], 0), 0, 1)
            if kind == "uniform":
                dimension = tf.cast(tf.reduce_prod(tf.shape(images)[1:]), tf.float32)
                radius = tf.pow(radius, 1.0 / dimension)
            return epsilon * self.step(direction) * radius
        return _common_start(images, kind, seed, deviation)

    def step(self, gradient: Tensor) -> Tensor:
        """Returns the gradient scaled to length 1; a zero gradient stays zero."""
        return normalise(gradient)

    def length(self, delta: Tensor) -> Tensor:
        """Returns the norm of every example, [batch]."""
        return length(delta)

    def dual_length(self, gradient: Tensor) -> Tensor:
        """Returns what a step of length 1 gains on a linear function, [batch]: the L2 norm."""
        return length(gradient)

    def normalise(self, delta: Tensor) -> Tensor:
        """Returns every example scaled to the border of the unit ball; zeros stay zeros."""
        return normalise(delta)

    def project(self, delta: Tensor, epsilon: float | Tensor) -> Tensor:
        """Returns the nearest perturbation inside the ball."""
        size = tf.maximum(length(delta, keepdims=True), epsilon)
        return delta * tf.math.divide_no_nan(epsilon, size)


def _check_start(kind: str, known: tuple[str, ...]) -> None:
    if kind not in known:
        raise unknown("random start", kind, known)


def _common_start(
    images: Images, kind: str, seed: random.SeedLike, deviation: float | Tensor
) -> Tensor:
    if kind == "gaussian":
        return random.normal(seed, tf.shape(images), deviation)
    return tf.zeros_like(images)


NORMS = {norm.name: norm for norm in (Linf(), L2())}
# How long a perturbation is, [batch], in every norm in which an attack may say that it measures.
SIZES: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: norm.length for name, norm in NORMS.items()},
    "l1": lambda delta: tf.reduce_sum(tf.abs(delta), _inner_axes(delta, None)),
    "l0": lambda delta: tf.reduce_sum(tf.cast(delta != 0, tf.float32), _inner_axes(delta, None)),
}
STARTS = L2.starts  # of which the maximum norm has all but the last


def get(name: str) -> Any:
    """Returns the norm of that name (``"linf"`` or ``"l2"``).

    Raises:
        ValueError: If there is none.
    """
    if name not in NORMS:
        raise unknown("norm", name, NORMS)
    return NORMS[name]


def size(name: str) -> Callable[[Tensor], Tensor]:
    """Returns the function from perturbations [batch, ...] to their lengths [batch] in a norm.

    Args:
        name: ``"linf"``, ``"l2"``, ``"l1"`` or ``"l0"``, the number of values that are not 0.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in SIZES:
        raise unknown("norm", name, SIZES)
    return SIZES[name]
