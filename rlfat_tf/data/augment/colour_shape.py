"""One change of colour or shape for every image: the middle stage of the IDBH policies."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import tensorflow as tf

from rlfat_tf.core.types import Tensor
from rlfat_tf.data.augment import colour
from rlfat_tf.data.augment.augmentation import Augmentation, Shape


def shear_along_rows(images: Tensor, angles: Tensor) -> Tensor:
    """Shifts the rows of images, more the further they are from the middle.

    Args:
        images: [B, H, W, C].
        angles: float32 [B], radians. What comes from out of the image is 0.
    """
    one, tangent = tf.ones_like(angles), tf.tan(angles)
    return _warp(images, (one, tangent, 0 * one, one))


def shear_along_columns(images: Tensor, angles: Tensor) -> Tensor:
    """Shifts the columns of images; see :func:`shear_along_rows`."""
    one, tangent = tf.ones_like(angles), tf.tan(angles)
    return _warp(images, (one, 0 * one, tangent, one))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turns images about their middle, anticlockwise.

    Args:
        images: [B, H, W, C].
        degrees: float32 [B]. What comes from out of the image is 0.
    """
    radians = degrees * (3.141592653589793 / 180)
    cosine, sine = tf.cos(radians), tf.sin(radians)
    return _warp(images, (cosine, -sine, sine, cosine))


def _warp(images: Tensor, matrix: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Takes the pixel at A (x, y) for the one at (x, y), both from the middle; the nearest.

    Args:
        images: [B, H, W, C].
        matrix: A, row by row, each float32 [B].
    """
    height, width = images.shape[1:3]
    x, y = (width - 1) / 2, (height - 1) / 2  # the middle, where pixel centres are integers
    a, b, c, d = matrix
    zero = tf.zeros_like(a)
    transforms = tf.stack([a, b, x - a * x - b * y, c, d, y - c * x - d * y, zero, zero], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )


class Operation(NamedTuple):
    """An operation and what its amount is drawn from.

    Attributes:
        apply: ``(images, amounts) -> images``.
        lowest: Of the amounts, which are uniform.
        highest: Of the amounts.
        sixteenths: The probability of the operation, times 16.
        signed: Whether half of the amounts are negative.
        whole: Whether amounts are whole numbers, both ends included.
    """

    apply: Callable[[Tensor, Tensor], Tensor]
    lowest: float = 0.0
    highest: float = 0.0
    sixteenths: int = 2
    signed: bool = False
    whole: bool = False


# The ranges of the policies "cifar10-weak" and "cifar10-strong" in the code of Li & Spratling.
OPERATIONS = {
    "color": Operation(colour.color, 0.1, 1.9),
    "brightness": Operation(colour.brightness, 0.5, 1.9),
    "contrast": Operation(colour.contrast, 0.5, 1.9),
    "sharpness": Operation(colour.sharpness, 0.1, 1.9),
    "autocontrast": Operation(colour.autocontrast),
    "equalize": Operation(colour.equalize),
    "shear_along_rows": Operation(shear_along_rows, 0.05, 0.15, sixteenths=1, signed=True),
    "shear_along_columns": Operation(shear_along_columns, 0.05, 0.15, sixteenths=1, signed=True),
    "rotate": Operation(rotate, 1, 10, signed=True, whole=True),
}


class Chosen(NamedTuple):
    """Which operation every image gets: its number int32 [n] and its amount float32 [n]."""

    number: Tensor
    amount: Tensor


def _draw(n: int, image_shape: Shape, seed: Tensor) -> Chosen:
    which, much, sign = tf.unstack(tf.random.stateless_uniform([n, 3], seed), axis=1)
    by_sixteenth = [i for i, one in enumerate(OPERATIONS.values()) for _ in range(one.sixteenths)]
    number = tf.gather(by_sixteenth, tf.cast(16 * which, tf.int32))

    def theirs(attribute: str, dtype: Any) -> Tensor:
        """What the chosen operations have under that name, [n]."""
        values = [getattr(one, attribute) for one in OPERATIONS.values()]
        return tf.gather(tf.constant(values, dtype), number)

    lowest, highest = theirs("lowest", tf.float32), theirs("highest", tf.float32)
    whole = tf.floor(lowest + much * (highest - lowest + 1))
    amount = tf.where(theirs("whole", tf.bool), whole, lowest + much * (highest - lowest))
    return Chosen(number, tf.where(theirs("signed", tf.bool) & (sign < 0.5), -amount, amount))


def color_shape(images: Tensor, chosen: Chosen) -> Tensor:
    """Applies to every image its operation.

    Each of colour, brightness, contrast, sharpness, autocontrast, equalisation, shear and rotation
    has the probability 1/8 (Li & Spratling, ICLR 2023, and their code).

    Args:
        images: [B, H, W, C].
        chosen: For B images.
    """
    numbers = chosen.number
    place = tf.range(tf.shape(images)[0])
    images_of, amounts_of, places_of = (
        tf.dynamic_partition(values, numbers, len(OPERATIONS))
        for values in (images, chosen.amount, place)
    )
    done = [
        operation.apply(some, amounts)
        for operation, some, amounts in zip(OPERATIONS.values(), images_of, amounts_of)
    ]
    return tf.ensure_shape(tf.dynamic_stitch(places_of, done), images.shape)


COLOR_SHAPE = Augmentation(_draw, color_shape)
