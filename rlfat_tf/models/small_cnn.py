"""A small convolutional network for digits: it trains adversarially in about a minute on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Model, Tensor
from rlfat_tf.models import common

EPSILON = 1e-3
POOL_TWICE_FROM = 16  # pixels; below that, a second pooling would leave too little of the image


def _block(x: Tensor, filters: int, pool: bool, name: str) -> Tensor:
    x = common.conv(x, filters, 3, name=f"{name}_conv")
    x = common.batch_norm(x, epsilon=EPSILON, name=f"{name}_bn")
    x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x) if pool else x


@compat.channels_last()
def small_cnn(
    *, num_classes: int, input_shape: Sequence[int] = (28, 28, 1), normalize: str = "none"
) -> Model:
    """Builds two convolutions of 32 and 64 filters and a dense layer of 128 units.

    Meant for images between 8x8 and 28x28 pixels. Larger ones work too, but the dense layer grows
    with the number of pixels.

    Args:
        num_classes: Number of classes, at least two.
        input_shape: Height, width and channels of an image. Maps are halved twice from 16x16
            pixels on, once below.
        normalize: Of the channels: :func:`rlfat_tf.models.normalize.parse`.

    Returns:
        A model from images [batch, height, width, channels] in [0, 1] to logits
        [batch, num_classes].

    Raises:
        ValueError: When an argument is out of its range.
    """
    images, x = common.image_input(
        input_shape,
        num_classes=num_classes,
        halvings=1,
        network="small_cnn",
        normalize=normalize,
    )
    pool_twice = min(input_shape[:2]) >= POOL_TWICE_FROM
    x = _block(x, 32, pool_twice, "block1")
    x = _block(x, 64, True, "block2")
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(128, activation="relu", kernel_initializer="he_normal", name="dense")(x)
    return keras.Model(images, common.logits(x, num_classes, scale=1 / 3), name="small_cnn")
