"""The residual network with the activation after the sum, for small images.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with a first
convolution of 3x3 and no pooling after it, as work on adversarial training means "ResNet-18" for
CIFAR. Padding, epsilon, shortcuts and first weights are those of the usual PyTorch network; only
the bias of the logits, drawn at random there, begins with 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Model, Tensor
from rlfat_tf.models import common

EPSILON = 1e-5


def _conv(x: Tensor, width: int, size: int, name: str, stride: int = 1) -> Tensor:
    x = common.conv(
        x, width, size, stride=stride, padding="centred", initial="uniform", name=f"{name}_conv"
    )
    return common.batch_norm(x, epsilon=EPSILON, name=f"{name}_bn")


def _relu(x: Tensor, name: str) -> Tensor:
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _unit(x: Tensor, width: int, stride: int, name: str) -> Tensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != width:
        shortcut = _conv(x, width, 1, f"{name}_shortcut", stride)
    residual = _relu(_conv(x, width, 3, f"{name}_1", stride), f"{name}_1")
    residual = _conv(residual, width, 3, f"{name}_2")
    return _relu(keras.layers.Add(name=f"{name}_add")([shortcut, residual]), name)


@compat.channels_last()
def resnet18(
    *,
    num_classes: int,
    input_shape: Sequence[int] = (32, 32, 3),
    normalize: str = "none",
) -> Model:
    """Builds ResNet-18 for small images: 11,173,962 trainable parameters for CIFAR-10.

    Args:
        num_classes: Number of classes, at least two.
        input_shape: Height, width and channels of an image, at least 8x8 pixels.
        normalize: Of the channels: :func:`rlfat_tf.models.normalize.parse`.

    Returns:
        A model from images [batch, height, width, channels] in [0, 1] to logits
        [batch, num_classes].

    Raises:
        ValueError: When an argument is out of its range.
    """
    widths = (64, 128, 256, 512)
    images, x = common.image_input(
        input_shape,
        num_classes=num_classes,
        halvings=len(widths) - 1,
        network="resnet18",
        normalize=normalize,
    )
    x = _relu(_conv(x, 64, 3, "stem"), "stem")
    for unit, width, stride in common.units(widths, 2):
        x = _unit(x, width, stride, unit)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(images, common.logits(x, num_classes, scale=1 / 3), name="resnet18")
