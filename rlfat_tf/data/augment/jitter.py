"""Brightness, contrast and colours that vary from image to image."""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.core.types import Tensor
from rlfat_tf.data.augment import colour
from rlfat_tf.data.augment.augmentation import Augmentation, Shape

STRENGTH = 0.4


def _draw(n: int, image_shape: Shape, seed: Tensor) -> Tensor:
    return tf.random.stateless_uniform([n, 3], seed, 1 - STRENGTH, 1 + STRENGTH)


def color_jitter(images: Tensor, factors: Tensor) -> Tensor:
    """Changes brightness, contrast and colour, in this order, as Pillow does.

    The factors are uniform in 0.6 ... 1.4, as is usual on ImageNet. torchvision draws the order
    too; here it is fixed.

    Args:
        images: [B, H, W, C].
        factors: float32 [B, 3]; 1 changes nothing.
    """
    for column, change in enumerate((colour.brightness, colour.contrast, colour.color)):
        images = change(images, factors[:, column])
    return images


COLOR_JITTER = Augmentation(_draw, color_jitter)
