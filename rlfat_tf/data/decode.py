"""Image files to pixels, as Pillow and a browser show them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from rlfat_tf.data.reading import Unreadable

# Whatever a file is called, its content decides. Pillow reads more formats, some by starting other
# programs, which is nothing for files that come from anywhere.
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
PNG_BIT_DEPTH, GREY_STEP = 24, {2: 85, 4: 17}  # place in a file; one grey to the next, in 8 bits
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of the tags of TIFF
SUFFIXES = (
    *(".bmp", ".dib", ".gif", ".jpe", ".jpeg", ".jfif", ".jpg", ".pbm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)


def decode(content: bytes, background: str = "white") -> np.ndarray:
    """Decodes an image file.

    The image is turned upright by its EXIF orientation. Transparent pixels lie on a background. Of
    an animation it is the first frame; of more than 8 bits a channel it is the upper 8. Palettes
    and CMYK become RGB; colour profiles are not applied. A transparent colour of an RGB image with
    16 bits a channel is drawn as any other: Pillow has lost the bits that tell it.

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
            if image.mode.startswith("I;16") or (
                image.mode == "I" and image.format in ("PNG", "PPM")
            ):
                return _grey_of_many_bits(image, background)
            _scale_transparent_grey(image, content)
            return _pixels(_upright(image), background)
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


def _scale_transparent_grey(image: Any, content: bytes) -> None:
    """Brings the transparent grey of a PNG to 8 bits, as Pillow has done with the pixels alone."""
    grey = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(grey, int):
        image.info["transparency"] = grey * GREY_STEP.get(content[PNG_BIT_DEPTH], 1)


def _grey_of_many_bits(image: Any, background: str) -> np.ndarray:
    """Returns the upper 8 bits of each pixel: Pillow would clip at 255 instead."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF, which may have 12 bits a pixel
    (bits,) = tags.get(BITS_PER_SAMPLE, (16,))
    values = np.asarray(_upright(image))
    grey = (values >> (bits - 8)).astype(np.uint8)
    grey = 255 - grey if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else grey
    if "transparency" in image.info:  # of a PNG: one grey, which its lower bits tell from others
        behind = ImageColor.getcolor(background, "L")
        grey = np.where(values == image.info["transparency"], behind, grey).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _pixels(image: Any, background: str) -> np.ndarray:
    if image.mode in ("I", "F"):
        raise Unreadable(f"its pixels are 32-bit numbers of unknown range (mode {image.mode})")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        behind = Image.new("RGBA", image.size, background)
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
