"""Changes of colour, brightness, contrast and sharpness, as Pillow makes them of 8-bit images.

Every function takes images [B, H, W, C], 8-bit integers or floats in [0, 1], and one amount for
each, float32 [B], and returns images of that shape and dtype. Integers become what Pillow's
``ImageEnhance`` and ``ImageOps`` return; floats are not rounded, but for :func:`equalize`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core.types import Tensor

LEVELS = 256
LUMINANCE = (19595 / 65536, 38470 / 65536, 7471 / 65536)  # of red, green and blue; exact in floats


def color(images: Tensor, amounts: Tensor) -> Tensor:
    """Moves every pixel away from its grey: 0 is grey, 1 the image, more is more colourful."""
    values = _values(images)
    return _blend(_grey(values, images.dtype), values, amounts, images.dtype)


def brightness(images: Tensor, amounts: Tensor) -> Tensor:
    """Multiplies images: 0 is black, 1 the image."""
    values = _values(images)
    return _blend(tf.zeros_like(values), values, amounts, images.dtype)


def contrast(images: Tensor, amounts: Tensor) -> Tensor:
    """Moves every pixel away from the image's mean grey: 0 is all grey, 1 the image."""
    values = _values(images)
    mean = tf.reduce_mean(_grey(values, images.dtype), axis=[1, 2, 3], keepdims=True)
    return _blend(_rounded(mean, images.dtype), values, amounts, images.dtype)


def sharpness(images: Tensor, amounts: Tensor) -> Tensor:
    """Moves every pixel away from the smoothed image: 0 is smooth, 1 the image.

    Smooth is the mean of 3 x 3 pixels in which the centre counts five times; at the border the
    image stays. So do images of less than 3 rows or columns.
    """
    _, height, width, _ = images.shape
    if min(height, width) < 3:
        return images
    values = _values(images)
    centre = values[:, 1:-1, 1:-1]
    mean = tf.nn.avg_pool2d(values, 3, 1, "VALID")
    smooth = _rounded((9 * mean + 4 * centre) / 13, images.dtype)
    # What is added at the border is the image there, and so nothing is blended.
    inner = [[0, 0], [1, 1], [1, 1], [0, 0]]
    return _blend(values - tf.pad(centre - smooth, inner), values, amounts, images.dtype)


def autocontrast(images: Tensor, amounts: Tensor) -> Tensor:
    """Stretches every channel to the full range; the amounts are not read."""
    values = tf.cast(_values(images), tf.float64)
    lowest = tf.reduce_min(values, axis=[1, 2], keepdims=True)
    span = tf.reduce_max(values, axis=[1, 2], keepdims=True) - lowest
    # In Pillow's order and precision: a product just below an integer is cut off to the one before.
    scale = 255 / tf.where(span > 0, span, 1.0)
    stretched = values * scale + -lowest * scale
    return _images(tf.where(span > 0, stretched, values), images.dtype)


def equalize(images: Tensor, amounts: Tensor) -> Tensor:
    """Makes the 256 levels of every channel equally frequent; the amounts are not read.

    Floats are rounded to the nearest level. Where a level is not more than 1 / 255 of the pixels
    that are not of the brightest, nothing changes, as in Pillow.
    """
    _, height, width, channels = images.shape
    levels = tf.cast(tf.floor(_values(images) + 0.5), tf.int32)
    by_channel = tf.reshape(tf.transpose(levels, [0, 3, 1, 2]), [-1, height * width])
    count = tf.shape(by_channel)[0]
    place = by_channel + LEVELS * tf.range(count)[:, None]
    ones = tf.ones([tf.size(place)], tf.int32)
    frequency = tf.math.unsorted_segment_sum(ones, tf.reshape(place, [-1]), count * LEVELS)
    frequency = tf.reshape(frequency, [count, LEVELS])
    brightest = tf.reduce_max(by_channel, axis=1, keepdims=True)
    of_brightest = tf.gather(frequency, brightest, axis=1, batch_dims=1)
    step = (height * width - of_brightest) // 255
    below = tf.cumsum(frequency, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    equal = tf.gather(tf.reshape(table, [-1]), place)
    equal = tf.where(step > 0, equal, by_channel)
    equal = tf.transpose(tf.reshape(equal, [-1, channels, height, width]), [0, 2, 3, 1])
    return _images(tf.cast(equal, tf.float32), images.dtype)


def _values(images: Tensor) -> Tensor:
    """Images as float32 in [0, 255]."""
    values = tf.cast(images, tf.float32)
    return values if images.dtype == tf.uint8 else 255 * values


def _images(values: Tensor, dtype: Any) -> Tensor:
    """The opposite of :func:`_values`; integers are cut off, as Pillow does."""
    values = tf.clip_by_value(values, 0.0, 255.0)
    return tf.cast(values, dtype) if dtype == tf.uint8 else tf.cast(values / 255, dtype)


def _rounded(values: Tensor, dtype: Any) -> Tensor:
    """Rounds what Pillow holds in 8 bits on its way; floats stay."""
    return tf.floor(values + 0.5) if dtype == tf.uint8 else values


def _grey(values: Tensor, dtype: Any) -> Tensor:
    """The luminance [B, H, W, 1] of three channels; the mean of any other number of channels."""
    if values.shape[-1] == 3:
        grey = tf.tensordot(values, tf.constant(LUMINANCE), 1)[..., None]
    else:
        grey = tf.reduce_mean(values, axis=-1, keepdims=True)
    return _rounded(grey, dtype)


def _blend(origin: Tensor, values: Tensor, amounts: Tensor, dtype: Any) -> Tensor:
    """Returns the images at ``amounts`` times the way from the origin to the values."""
    return _images(origin + amounts[:, None, None, None] * (values - origin), dtype)
