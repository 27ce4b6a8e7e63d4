"""The windows of the Square Attack: where it starts and what it proposes next.

(Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial attack via random
search", ECCV 2020, Section 3 and Algorithms 2 and 3.) Every example has its own window, as a mask
over its pixels.
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.core import norms, random
from rlfat_tf.core.types import Images, Tensor

GRID = 5  # tiles along the shorter side of the Euclidean start


def stripes(images: Images, epsilon: float, seed: random.Seed) -> Images:
    """The start in the maximum norm: columns of +-epsilon, in every channel by itself."""
    size = [tf.shape(images)[0], 1, *images.shape[2:]]
    points = images + epsilon * _signs(random.uniform(seed, size, 0.0, 1.0))
    return tf.ensure_shape(tf.clip_by_value(points, 0.0, 1.0), images.shape)


def tiles(images: Images, epsilon: float, seed: random.Seed) -> Images:
    """The start in the Euclidean norm: a grid of patterns with random signs, of length epsilon."""
    batch = tf.shape(images)[0]
    _, height, width, channels = images.shape
    side = max(min(height, width) // GRID, 1)
    down, across = height // side, width // side
    draws = random.uniform(seed, [batch, down, across, 1, 1, 1 + channels], 0.0, 1.0)
    line = tf.range(side)
    upright = pattern(line[:, None], line[None, :], tf.constant(side))[..., None]
    tile = tf.where(draws[..., :1] < 0.5, upright, tf.transpose(upright, [1, 0, 2]))
    grid = tf.transpose(tile * _signs(draws[..., 1:]), [0, 1, 3, 2, 4, 5])
    grid = tf.reshape(grid, [batch, down * side, across * side, channels])
    rest = [(size - count * side) // 2 for size, count in ((height, down), (width, across))]
    delta = tf.image.pad_to_bounding_box(grid, *rest, height, width)
    delta = epsilon * norms.get("l2").step(delta)
    return tf.ensure_shape(tf.clip_by_value(images + delta, 0.0, 1.0), images.shape)


def propose_linf(
    images: Images, points: Images, draw: Tensor, side: Tensor, epsilon: float
) -> Images:
    """Algorithm 2: sets a window to +-epsilon.

    Args:
        images: [n, height, width, channels].
        points: The best so far, of the same shape.
        draw: Of the uniform distribution in [0, 1): row, column, sign of every channel;
            [n, 2 + channels].
        side: Of the window, an integer tensor.
        epsilon: Radius.

    Returns:
        The proposals, of the same shape.
    """
    row, column = window(draw, side, images)
    new = tf.clip_by_value(images + epsilon * _signs(draw[:, None, None, 2:]), 0.0, 1.0)
    return tf.where(inside(row, column, side)[..., None], new, points)


def propose_l2(
    images: Images, points: Images, draw: Tensor, side: Tensor, epsilon: float
) -> Images:
    """Algorithm 3: gives the length of two windows, and what is unused, to the first of them.

    Args:
        images: [n, height, width, channels].
        points: The best so far, of the same shape.
        draw: Of the uniform distribution in [0, 1): row and column of the first and of the second
            window, orientation of the pattern, sign of every channel; [n, 5 + channels].
        side: Of the windows, an integer tensor.
        epsilon: Radius.

    Returns:
        The proposals, of the same shape.
    """
    ball = norms.get("l2")
    row, column = window(draw, side, images)
    first = inside(row, column, side)[..., None]
    second = inside(*window(draw[:, 2:], side, images), side)[..., None]
    upright = draw[:, 4, None, None] < 0.5
    eta = pattern(tf.where(upright, row, column), tf.where(upright, column, row), side)[..., None]

    def squares(delta: Tensor, where: Tensor) -> Tensor:
        return tf.reduce_sum(tf.where(where, tf.square(delta), 0.0), [1, 2], keepdims=True)

    def unit(delta: Tensor) -> Tensor:
        return norms.normalise(delta, [1, 2])

    delta = points - images
    used = tf.reduce_sum(squares(delta, True), 3, keepdims=True)
    unused = tf.maximum(epsilon**2 - used, 0.0) / images.shape[-1]
    available = tf.sqrt(squares(delta, first | second) + unused)
    change = _signs(draw[:, None, None, 5:]) * unit(eta) + unit(tf.where(first, delta, 0.0))
    delta = tf.where(first, unit(change) * available, tf.where(second, 0.0, delta))
    return tf.clip_by_value(images + ball.project(delta, epsilon), 0.0, 1.0)


def window(draw: Tensor, side: Tensor, images: Images) -> tuple[Tensor, Tensor]:
    """Places windows by two draws: the rows [n, height, 1] and columns [n, 1, width] seen there."""
    _, height, width, _ = images.shape

    def line(draw: Tensor, size: int) -> Tensor:
        first = tf.cast(tf.floor(draw * tf.cast(size - side + 1, tf.float32)), tf.int32)
        return tf.range(size) - first[:, None]

    return line(draw[:, 0], height)[:, :, None], line(draw[:, 1], width)[:, None, :]


def inside(row: Tensor, column: Tensor, side: Tensor) -> Tensor:
    """Tells which pixels are in the window of that side."""
    return (row >= 0) & (row < side) & (column >= 0) & (column < side)


def pattern(row: Tensor, column: Tensor, side: Tensor) -> Tensor:
    """The shape of Euclidean changes: two half windows of opposite sign, each fading outwards.

    In each half it is the sum of 1 / m^2 over m = d + 1 ... n + 1, with d the distance in the
    maximum norm from the middle of the half and n = floor(side / 2) (Eq. 2).

    Args:
        row: Rows counted from the window's first, integers.
        column: Columns, likewise; the two are broadcast.
        side: Of the window, an integer tensor.

    Returns:
        float32, 0 outside of the window.
    """
    half = side // 2
    above = row < half
    middle = tf.where(above, half // 2, half + (side - half) // 2)
    distance = tf.maximum(tf.abs(row - middle), tf.abs(column - half))
    sums = tf.cumsum(1.0 / tf.square(tf.range(1.0, tf.cast(half + 2, tf.float32))), reverse=True)
    value = tf.gather(sums, tf.minimum(distance, half)) * tf.where(above, 1.0, -1.0)
    return tf.where(inside(row, column, side), value, 0.0)


def _signs(draw: Tensor) -> Tensor:
    return tf.where(draw < 0.5, -1.0, 1.0)
