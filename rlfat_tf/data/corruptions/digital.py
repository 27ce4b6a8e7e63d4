"""What processing does: contrast, pixelation, JPEG."""

from __future__ import annotations

import io
from typing import Callable

import numpy as np
from PIL import Image

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions.draws import Draws


def contrast(images: Array, draws: Draws, factor: float) -> Array:
    """Brings every value nearer to the mean of its channel."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return (images - mean) * factor + mean


def pixelate(images: Array, draws: Draws, share: float) -> Array:
    """Scales down to a share of the sides and up again, by areas."""
    height, width = images.shape[1:3]
    small = max(1, int(width * share)), max(1, int(height * share))

    def pixelated(picture: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return picture.resize(small, box).resize((width, height), box)

    return _each(images, pixelated)


def jpeg_compression(images: Array, draws: Draws, quality: int) -> Array:
    """Writes a JPEG file of this quality and reads it."""

    def compressed(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _each(images, compressed)


def _each(images: Array, change: Callable[[Image.Image], Image.Image]) -> Array:
    """Applies a function of 8-bit pictures."""
    pixels = np.round(255 * images).astype(np.uint8)
    return np.stack([np.asarray(change(Image.fromarray(x))) for x in pixels]) / 255
