"""Augmentations that hide a rectangle of the image: Cutout and random erasing."""

from __future__ import annotations

import functools
import math
from typing import Any

import tensorflow as tf

from rlfat_tf.core.addons import tfa
from rlfat_tf.core.types import Tensor
from rlfat_tf.data.augment.augmentation import Augmentation, Shape
from rlfat_tf.data.augment.rectangles import erase

AREA = (0.02, 0.33)  # of the image
RATIO = (0.3, 3.3)  # height by width
TRIES = 10  # to find a rectangle that fits


def _draw_centre(n: int, image_shape: Shape, seed: Tensor) -> Tensor:
    # Drawn as fractions, because the bounds of integer draws must be one number.
    place = tf.random.stateless_uniform([n, 2], seed)
    return tf.cast(place * tf.constant(image_shape[:2], tf.float32), tf.int32)


def _half_side(images: Tensor) -> int:
    """Half the side of the square to cut out, which is half as long as the image's shorter side."""
    return max(1, min(images.shape[1:3]) // 4)


def cutout(images: Tensor, centres: Tensor) -> Tensor:
    """Sets a square to zero (DeVries & Taylor, "Improved Regularization with Cutout", 2017).

    The square's side is half the image's shorter side (rounded down to an even number); where it
    sticks out of the image it is cut off.

    Args:
        images: [B, H, W, C].
        centres: int32 [B, 2]: row and column of the centre; the square begins half a side before.
    """
    half = _half_side(images)
    return erase(images, tf.concat([centres - half, centres + half], axis=1))


def _check_tfa() -> Any:
    return tfa("The augmentation 'tfa:cutout' (use 'cutout' instead)")


def tfa_cutout(images: Tensor, centres: Tensor) -> Tensor:
    """The same as :func:`cutout`, by ``tfa.image.cutout``; needs TensorFlow Addons."""
    return _check_tfa().image.cutout(images, 2 * _half_side(images), centres)


def _draw_erased(n: int, image_shape: Shape, seed: Tensor, probability: float) -> Tensor:
    height, width = (float(side) for side in image_shape[:2])
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    area = height * width * tf.random.stateless_uniform([n, TRIES], seeds[0], *AREA)
    log_ratio = tf.random.stateless_uniform([n, TRIES], seeds[1], *map(math.log, RATIO))
    rows = tf.round(tf.sqrt(area * tf.exp(log_ratio)))
    columns = tf.round(tf.sqrt(area * tf.exp(-log_ratio)))
    fits = (rows < height) & (columns < width)
    first = tf.argmax(fits, axis=1)[:, None]
    size = tf.concat([tf.gather(x, first, axis=1, batch_dims=1) for x in (rows, columns)], axis=1)
    u = tf.random.stateless_uniform([n, 2], seeds[2])
    begin = tf.floor(u * (tf.constant([height, width]) - size + 1))
    erased = tf.random.stateless_uniform([n], seeds[3]) < probability
    erased &= tf.reduce_any(fits, axis=1)
    boxes = tf.concat([begin, begin + size], axis=1)
    return tf.cast(tf.where(erased[:, None], boxes, 0.0), tf.int32)


def random_erasing(probability: float) -> Augmentation:
    """Sets a random rectangle to zero, in part of the images.

    Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, as torchvision computes it: area
    uniform in 0.02 ... 0.33 of the image (to 0.4 in the paper), height by width log-uniform in
    0.3 ... 3.3, drawn again up to ten times until it fits, the place uniform. The paper fills the
    rectangle with noise; here it is 0.

    Args:
        probability: Of being erased at all.
    """
    return Augmentation(functools.partial(_draw_erased, probability=probability), erase)


CUTOUT = Augmentation(_draw_centre, cutout)
TFA_CUTOUT = Augmentation(_draw_centre, tfa_cutout, _check_tfa)
