"""What a served model does with the bytes of an image file: what training did with the file."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from rlfat_tf.core.types import Tensor
from rlfat_tf.data.view import View

COLOURS = (
    "This BMP has a palette of colours, which TensorFlow does not read. Send the image as PNG or "
    "JPEG."
)


def image_of_bytes(view: View, image_shape: tuple[int, int, int]) -> Callable[[Tensor], Tensor]:
    """Returns a function of TensorFlow's operations from a file to the image that a network gets.

    Pixels of JPEG, PNG, BMP and GIF are those that training saw, but for what TensorFlow does not
    read: images are not turned by EXIF, transparent pixels have the colour that is stored beneath
    them, and CMYK is not converted as Pillow does. A BMP with a palette of colours is refused.

    Args:
        view: What becomes of images of other sizes.
        image_shape: Height, width and channels of the network's images.
    """
    channels = image_shape[-1]

    def decode(content: Tensor) -> Tensor:
        # Pillow's way to the pixels of a JPEG, which is not TensorFlow's default.
        image = tf.cond(
            tf.io.is_jpeg(content),
            lambda: tf.io.decode_jpeg(content, channels, dct_method="INTEGER_ACCURATE"),
            lambda: _other_than_jpeg(content, channels),
        )
        return tf.ensure_shape(view(tf.ensure_shape(image, [None, None, channels])), image_shape)

    return decode


def _other_than_jpeg(content: Tensor, channels: int) -> Tensor:
    kind = tf.strings.substr(content, 0, 2)
    if channels != 1:
        image = tf.io.decode_image(content, channels, expand_animations=False)
    else:  # of these two TensorFlow makes three channels only, or what the file has
        image = tf.cond(
            (kind == "BM") | (kind == "GI"),
            lambda: tf.image.rgb_to_grayscale(
                tf.io.decode_image(content, 3, expand_animations=False)
            ),
            lambda: tf.io.decode_image(content, 1, expand_animations=False),
        )
    plain = tf.cond(kind == "BM", lambda: _is_without_colours(content), lambda: True)
    check = tf.debugging.Assert(plain, [COLOURS])
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(image)


def _is_without_colours(content: Tensor) -> Tensor:
    """Tells whether a BMP has no palette, or that of grey levels, which TensorFlow takes it for."""

    def number(place: int, kind: tf.DType) -> Tensor:
        found = tf.io.decode_raw(tf.strings.substr(content, place, kind.size), kind)
        return tf.cast(found[0], tf.int32)

    begin, end = 14 + number(14, tf.int32), number(10, tf.int32)  # of the palette, if there is one
    size = tf.maximum(end - begin, 0) // 4 * 4
    palette = tf.io.decode_raw(tf.strings.substr(content, begin, size), tf.uint8)
    colours = tf.cast(tf.reshape(palette, [-1, 4])[:, :3], tf.int32)
    grey = tf.reduce_all(colours == tf.range(size // 4)[:, None])
    return grey | (number(28, tf.uint16) > 8)  # bits of a pixel
