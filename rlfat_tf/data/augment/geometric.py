"""Augmentations that move pixels: mirrored and shifted images."""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.core.types import Tensor
from rlfat_tf.data.augment.augmentation import Augmentation, Shape
from rlfat_tf.data.augment.rectangles import between, select

CROP_PADDING = 4
MOST_SHIFT = 10  # pixels, of CropShift


def _draw_flip(n: int, image_shape: Shape, seed: Tensor) -> Tensor:
    return tf.random.stateless_uniform([n], seed) < 0.5


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirrors images left to right.

    Args:
        images: [B, H, W, C].
        flips: bool [B].
    """
    column = tf.range(images.shape[2])
    columns = tf.where(flips[:, None], column[::-1], column)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _draw_crop(n: int, image_shape: Shape, seed: Tensor) -> Tensor:
    return tf.random.stateless_uniform([n, 2], seed, 0, 2 * CROP_PADDING + 1, tf.int32)


def crop(images: Tensor, offsets: Tensor) -> Tensor:
    """Pads images with 4 zeros on each side and cuts windows of the old size out of them.

    Args:
        images: [B, H, W, C].
        offsets: int32 [B, 2] in [0, 8]: first row and column of the window.
    """
    _, height, width, _ = images.shape
    pad = [CROP_PADDING, CROP_PADDING]
    images = tf.pad(images, [[0, 0], pad, pad, [0, 0]])
    rows = offsets[:, :1] + tf.range(height)
    columns = offsets[:, 1:] + tf.range(width)
    return _pixels(images, rows, columns)


def _pixels(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Returns images [B, h, w, C] of the pixels at rows [B, h] and columns [B, w] of each."""
    _, height, width, channels = images.shape
    first = tf.range(tf.shape(images)[0]) * height
    index = (first[:, None, None] + rows[:, :, None]) * width + columns[:, None, :]
    return tf.gather(tf.reshape(images, [-1, channels]), index)


def _draw_crop_shift(n: int, image_shape: Shape, seed: Tensor) -> Tensor:
    most = min(MOST_SHIFT, min(image_shape[:2]) - 1)  # a small image keeps a pixel at least
    u = tf.unstack(tf.random.stateless_uniform([n, 6], seed), axis=1)

    def whole(u: Tensor, largest: Tensor) -> Tensor:
        """Uniform in 0 ... largest."""
        return tf.floor(u * (largest + 1))

    strength = whole(u[0], tf.constant(most, tf.float32))
    lost_columns = whole(u[1], strength)
    lost_rows = strength - lost_columns
    source = whole(u[2], lost_rows), whole(u[3], lost_columns)
    target = whole(u[4], lost_rows), whole(u[5], lost_columns)
    return tf.cast(tf.stack([lost_rows, lost_columns, *source, *target], axis=1), tf.int32)


def crop_shift(images: Tensor, places: Tensor) -> Tensor:
    """Cuts a rectangle out of each image and pastes it elsewhere on black.

    CropShift of Li & Spratling, "Data Augmentation Alone Can Improve Adversarial Training", ICLR
    2023. A strength s is uniform in 0 ... 10 pixels, c_x in 0 ... s, and c_y = s - c_x: the
    rectangle has W - c_x columns and H - c_y rows, and both places are uniform. In images of 10
    pixels or less s is smaller than the shorter side.

    Args:
        images: [B, H, W, C].
        places: int32 [B, 6]: c_y and c_x; row and column from which the rectangle is cut; row and
            column to which it is pasted.
    """
    lost_rows, lost_columns, from_row, from_column, to_row, to_column = tf.unstack(places, axis=1)

    def one_axis(size: int, lost: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        position = tf.range(size) + (source - target)[:, None]
        return tf.clip_by_value(position, 0, size - 1), between(size, target, target + size - lost)

    rows, in_rows = one_axis(images.shape[1], lost_rows, from_row, to_row)
    columns, in_columns = one_axis(images.shape[2], lost_columns, from_column, to_column)
    moved = _pixels(images, rows, columns)
    return select(in_rows, in_columns, moved, tf.zeros_like(moved))


FLIP = Augmentation(_draw_flip, flip)
CROP = Augmentation(_draw_crop, crop)
CROP_SHIFT = Augmentation(_draw_crop_shift, crop_shift)
