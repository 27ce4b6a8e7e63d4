"""Image files to pixels, as Pillow and a browser show them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rlfat_tf.data.reading import Unreadable

# Whatever a file is called, its content decides. Pillow reads more formats, some by starting other
# programs, which is nothing for files that come from anywhere.
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (
    *(".bmp", ".dib", ".gif", ".jpe", ".jpeg", ".jfif", ".jpg", ".pbm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)


def decode(content: bytes, background: str = "white") -> np.ndarray:
    """Decodes an image file.

    The image is turned upright by its EXIF orientation. Transparent pixels lie on a background. Of
    an animation it is the first frame; of 16 bits a channel it is the upper 8. Palettes and CMYK
    become RGB; colour profiles are not applied.

    Args:
        content: The bytes of the file.
        background: The colour behind transparent pixels: ``white`` or ``black``.

    Returns:
        uint8 [height, width, 3]; a grey image has three equal channels.

    Raises:
        Unreadable: If this is no complete image in one of ``FORMATS``.
    """
    if not content:
        raise Unreadable("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            return _pixels(_upright(image), image.format, background)
    except UnidentifiedImageError:
        raise Unreadable(f"it is no image in one of the formats {', '.join(FORMATS)}") from None
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # of many kinds, by format and damage
        raise Unreadable(str(error) or type(error).__name__) from None


def _upright(image: Any) -> Any:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data; a browser shows such an image as it is stored
        return image


def _pixels(image: Any, file_format: str | None, background: str) -> np.ndarray:
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        grey = (np.asarray(image) >> 8).astype(np.uint8)  # Pillow would clip at 255 instead
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise Unreadable(f"its pixels are 32-bit numbers of unknown range (mode {image.mode})")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        behind = Image.new("RGBA", image.size, background)
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
