"""What a served model does with the bytes of an image file: what training did with the file."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

from rlfat_tf.core.types import Tensor
from rlfat_tf.data.view import View


def image_of_bytes(view: View, image_shape: tuple[int, int, int]) -> Callable[[Tensor], Tensor]:
    """Returns a function of TensorFlow's operations from a file to the image that a network gets.

    Pixels of JPEG, PNG, BMP and GIF are those that training saw, but for what TensorFlow does not
    read: images are not turned by EXIF, transparent pixels have the colour that is stored beneath
    them, and CMYK is not converted as Pillow does.

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
            lambda: tf.io.decode_image(content, channels, expand_animations=False),
        )
        return tf.ensure_shape(view(tf.ensure_shape(image, [None, None, channels])), image_shape)

    return decode
