"""Rectangles of images: where they are, and what is taken inside and outside of them."""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.core.types import Tensor


def between(size: int, begin: Tensor, end: Tensor) -> Tensor:
    """Tells which of the positions 0 ... size - 1 are in [begin, end).

    Args:
        size: Height or width.
        begin: int32 [B].
        end: int32 [B].

    Returns:
        bool [B, size].
    """
    position = tf.range(size)
    return (position >= begin[:, None]) & (position < end[:, None])


def select(rows: Tensor, columns: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Takes one image inside of rectangles and another outside of them.

    Args:
        rows: bool [B, H], true for the rows of the rectangle.
        columns: bool [B, W].
        inside: [B, H, W, C].
        outside: [B, H, W, C].

    Returns:
        [B, H, W, C].
    """
    shape = inside.shape
    # Channels side by side in one row: broadcasting a mask over a short last axis takes thrice as
    # long.
    in_rows = [-1, shape[1], shape[2] * shape[3]]
    mask = rows[:, :, None] & tf.repeat(columns, shape[3], axis=1)[:, None, :]
    chosen = tf.where(mask, tf.reshape(inside, in_rows), tf.reshape(outside, in_rows))
    return tf.reshape(chosen, tf.shape(inside))


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Sets rectangles to zero.

    Args:
        images: [B, H, W, C].
        boxes: int32 [B, 4]: first row, first column, last row + 1, last column + 1. What is out
            of the image has no effect.
    """
    rows, columns = sides(images, boxes)
    return select(rows, columns, tf.zeros_like(images), images)


def sides(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Returns which rows, bool [B, H], and which columns, bool [B, W], the boxes cover."""
    top, left, bottom, right = tf.unstack(boxes, axis=1)
    return between(images.shape[1], top, bottom), between(images.shape[2], left, right)
