"""Augmentations, as draws and their application.

Once per epoch every example gets its draw: row i of ``draw(n, ...)`` is a function of the seed, the
epoch and i alone. Later a batch gathers the rows of its examples and ``apply`` transforms all its
images at once. What an example looks like in an epoch depends neither on the size of the batches
nor on who computes them.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import tensorflow as tf

from rlfat_tf.core.addons import tfa
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Tensor

CROP_PADDING = 4


class Augmentation(NamedTuple):
    """A random transformation of images.

    Attributes:
        draw: ``(n, image_shape, seed) -> draws``: tensor [n, ...] for n examples. ``image_shape``
            is (H, W, C), ``seed`` an int32 tensor [2].
        apply: ``(images, draws) -> images``: [B, H, W, C] of any dtype with the draws of its B
            examples; shape and dtype stay.
        check: Called once, before training; raises if the augmentation cannot run here.
    """

    draw: Callable[[int, tuple[int, int, int], Tensor], Tensor]
    apply: Callable[[Tensor, Tensor], Tensor]
    check: Callable[[], Any] = lambda: None


def _draw_flip(n: int, image_shape: tuple[int, int, int], seed: Tensor) -> Tensor:
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


def _draw_crop(n: int, image_shape: tuple[int, int, int], seed: Tensor) -> Tensor:
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
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _draw_centre(n: int, image_shape: tuple[int, int, int], seed: Tensor) -> Tensor:
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

    def covered(size: int, centre: Tensor) -> Tensor:
        position = tf.range(size)
        return (position >= centre[:, None] - half) & (position < centre[:, None] + half)

    rows = covered(images.shape[1], centres[:, 0])
    columns = covered(images.shape[2], centres[:, 1])
    hidden = rows[:, :, None, None] & columns[:, None, :, None]
    return tf.where(hidden, tf.zeros_like(images), images)


def _check_tfa() -> Any:
    return tfa("The augmentation 'tfa:cutout' (use 'cutout' instead)")


def tfa_cutout(images: Tensor, centres: Tensor) -> Tensor:
    """The same as :func:`cutout`, by ``tfa.image.cutout``; needs TensorFlow Addons."""
    return _check_tfa().image.cutout(images, 2 * _half_side(images), centres)


FLIP = Augmentation(_draw_flip, flip)
CROP = Augmentation(_draw_crop, crop)
CUTOUT = Augmentation(_draw_centre, cutout)

AUGMENTATIONS: dict[str, tuple[Augmentation, ...]] = {
    "none": (),
    "flip": (FLIP,),
    "crop_flip": (CROP, FLIP),
    "cutout": (CUTOUT,),
    "tfa:cutout": (Augmentation(_draw_centre, tfa_cutout, _check_tfa),),
}


def parse(augment: str) -> tuple[Augmentation, ...]:
    """Returns the augmentations that a string names, in the order in which they are applied.

    Args:
        augment: Names from ``AUGMENTATIONS`` joined by ``+``, for instance ``"crop_flip+cutout"``.

    Raises:
        ImportError: If TensorFlow Addons is needed and cannot be imported.
        ValueError: If a name is unknown.
    """
    chain: list[Augmentation] = []
    for name in augment.split("+"):
        if name not in AUGMENTATIONS:
            raise unknown(
                "augmentation", name, AUGMENTATIONS, "Join several by '+': crop_flip+cutout."
            )
        chain.extend(AUGMENTATIONS[name])
    for augmentation in chain:
        augmentation.check()
    return tuple(chain)
