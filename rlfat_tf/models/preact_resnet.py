"""Pre-activation residual networks with 1x1 convolutions where a shortcut changes its shape.

Source: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, in the form for small
images that work on adversarial training uses (for instance Rice et al., "Overfitting in
adversarially robust deep learning", ICML 2020). Padding, epsilon and shortcuts are those of the
usual PyTorch networks.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Model, Tensor
from rlfat_tf.models import common

EPSILON = 1e-5


def _activate(x: Tensor, name: str) -> Tensor:
    x = common.batch_norm(x, epsilon=EPSILON, name=f"{name}_bn")
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _conv3x3(x: Tensor, width: int, stride: int, name: str) -> Tensor:
    if stride == 1:
        return common.conv(x, width, 3, name=name)
    # "same" would centre the strided kernel on odd pixels; the 1x1 shortcut reads the even ones.
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return common.conv(x, width, 3, stride=stride, padding="valid", name=name)


def _unit(x: Tensor, width: int, stride: int, name: str) -> Tensor:
    shortcut = x
    residual = _activate(x, f"{name}_1")
    if stride != 1 or x.shape[-1] != width:
        shortcut = common.conv(residual, width, 1, stride=stride, name=f"{name}_shortcut")
    residual = _conv3x3(residual, width, stride, f"{name}_conv1")
    residual = _activate(residual, f"{name}_2")
    residual = _conv3x3(residual, width, 1, f"{name}_conv2")
    return keras.layers.Add(name=f"{name}_add")([shortcut, residual])


def preactivation_network(
    *,
    stem_width: int,
    widths: Sequence[int],
    units_per_stage: int,
    num_classes: int,
    input_shape: Sequence[int],
    name: str,
) -> Model:
    """Builds a network of stages of pre-activation units; the maps are halved between stages."""
    images = common.image_input(
        input_shape, num_classes=num_classes, halvings=len(widths) - 1, network=name
    )
    x = common.conv(images, stem_width, 3, name="stem_conv")
    for unit, width, stride in common.units(widths, units_per_stage):
        x = _unit(x, width, stride, unit)
    x = _activate(x, "last")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(images, common.logits(x, num_classes, scale=1 / 3), name=name)


def preact_resnet18(*, num_classes: int, input_shape: Sequence[int] = (32, 32, 3)) -> Model:
    """Builds the pre-activation ResNet-18 for small images.

    Like the network of Rice et al. it ends in a batch normalisation and a ReLU before the
    pooling: 11,172,170 trainable parameters for CIFAR-10.

    Args:
        num_classes: Number of classes, at least two.
        input_shape: Height, width and channels of an image, at least 8x8 pixels.

    Returns:
        A model from images [batch, height, width, channels] in [0, 1] to logits
        [batch, num_classes].

    Raises:
        ValueError: When an argument is out of its range.
    """
    return preactivation_network(
        stem_width=64,
        widths=(64, 128, 256, 512),
        units_per_stage=2,
        num_classes=num_classes,
        input_shape=input_shape,
        name="preact_resnet18",
    )
