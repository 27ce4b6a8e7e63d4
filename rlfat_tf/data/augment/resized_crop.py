"""A random window of an image, resized: the augmentation of photos."""

from __future__ import annotations

import math

import tensorflow as tf

from rlfat_tf.core.types import Tensor
from rlfat_tf.data.augment.augmentation import Augmentation, Shape

AREA = (0.08, 1.0)  # of the image
RATIO = (3 / 4, 4 / 3)  # width by height


def _draw(n: int, image_shape: Shape, seed: Tensor) -> Tensor:
    return tf.random.stateless_uniform([n, 4], seed)


def window(draw: Tensor, sides: Tensor) -> Tensor:
    """Returns the window of an image.

    Inception's crop (Szegedy et al., "Going Deeper with Convolutions", CVPR 2015) with the ranges
    of torchvision: the area is uniform in 0.08 ... 1 of the image, width by height log-uniform in
    3/4 ... 4/3. Both are drawn once, and a side that is too long is cut off, where torchvision
    draws again: so a window is a function of the example's draw and its size.

    Args:
        draw: float32 [4] in [0, 1): of area, ratio, row and column.
        sides: int32 [2]: height and width of the image.

    Returns:
        int32 [4]: row and column of the first pixel, height and width; within the image.
    """
    draw = tf.convert_to_tensor(draw, tf.float32)
    height, width = tf.unstack(tf.cast(sides, tf.float32))
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * draw[0])
    low, high = map(math.log, RATIO)
    ratio = tf.exp(low + (high - low) * draw[1])
    wanted = tf.round(tf.stack([tf.sqrt(area / ratio), tf.sqrt(area * ratio)]))
    size = tf.clip_by_value(tf.cast(wanted, tf.int32), 1, sides)
    room = sides - size
    begin = tf.cast(draw[2:] * tf.cast(room + 1, tf.float32), tf.int32)
    return tf.concat([tf.minimum(begin, room), size], axis=0)


def cut(image: Tensor, draw: Tensor) -> Tensor:
    """Cuts the window of a draw [4] out of an image [h, w, C]."""
    row, column, height, width = tf.unstack(window(draw, tf.shape(image)[:2]))
    return image[row : row + height, column : column + width]


RESIZED_CROP = Augmentation(_draw, lambda images, draws: images, cut=cut)
