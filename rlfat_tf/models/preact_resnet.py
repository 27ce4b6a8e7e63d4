"""Pre-activation residual networks, in the two styles that adversarial training uses.

Source: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016. ``RELU`` is the form
for small images of, for instance, Rice et al., "Overfitting in adversarially robust deep
learning", ICML 2020: padding, epsilon and shortcuts are those of the usual PyTorch networks.
``WIDE_SILU`` and ``SILU`` are the networks of Gowal et al., "Uncovering the Limits of Adversarial
Training", 2020, and Rebuffi et al., "Data Augmentation Can Improve Robustness", NeurIPS 2021.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Model, Tensor
from rlfat_tf.models import common

EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class Style:
    """What the networks of two schools differ in.

    Attributes:
        activation: ``"relu"`` or ``"silu"``, x * sigmoid(x).
        momentum: Of batch normalisation.
        padding: Of strided 3x3 convolutions, see :func:`rlfat_tf.models.common.conv`.
        initial: Where convolutions are drawn from, see there.
        shortcut: Where a unit changes the shape of its input: 1 for a 1x1 convolution of the
            activated input, 3 for a 3x3 convolution of the input itself.
    """

    activation: str = "relu"
    momentum: float = common.BATCH_NORM_MOMENTUM
    padding: str = "centred"
    initial: str = "normal"
    shortcut: int = 1


RELU = Style()
WIDE_SILU = Style(activation="silu", momentum=0.99, padding="same")
SILU = dataclasses.replace(WIDE_SILU, initial="uniform", shortcut=3)


def _activate(x: Tensor, name: str, style: Style) -> Tensor:
    x = common.batch_norm(x, epsilon=EPSILON, momentum=style.momentum, name=f"{name}_bn")
    if style.activation == "silu":
        # "swish" is its name in both kinds of Keras.
        return keras.layers.Activation("swish", name=f"{name}_silu")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _unit(x: Tensor, width: int, stride: int, name: str, style: Style) -> Tensor:
    drawn, padding = style.initial, style.padding
    shortcut = x
    residual = _activate(x, f"{name}_1", style)
    if stride != 1 or x.shape[-1] != width:
        seen, size = (residual, 1) if style.shortcut == 1 else (x, 3)
        shortcut = common.conv(
            seen, width, size, stride=stride, initial=drawn, name=f"{name}_shortcut"
        )
    residual = common.conv(
        residual, width, 3, stride=stride, padding=padding, initial=drawn, name=f"{name}_conv1"
    )
    residual = _activate(residual, f"{name}_2", style)
    residual = common.conv(residual, width, 3, initial=drawn, name=f"{name}_conv2")
    return keras.layers.Add(name=f"{name}_add")([shortcut, residual])


@compat.channels_last()
def preactivation_network(
    *,
    widths: Sequence[int],
    units_per_stage: int,
    num_classes: int,
    input_shape: Sequence[int],
    normalize: str,
    name: str,
    style: Style,
) -> Model:
    """Builds a network of stages of pre-activation units; the maps are halved between stages.

    Args:
        widths: Channels of the first convolution, then of each stage.
        units_per_stage: Residual units in each stage, of two convolutions each.
        num_classes: Number of classes.
        input_shape: Height, width and channels of an image.
        normalize: Of the channels: :func:`rlfat_tf.models.normalize.parse`.
        name: The model's name.
        style: What its units are made of.
    """
    stem_width, *stages = widths
    images, x = common.image_input(
        input_shape,
        num_classes=num_classes,
        halvings=len(stages) - 1,
        network=name,
        normalize=normalize,
    )
    x = common.conv(x, stem_width, 3, initial=style.initial, name="stem_conv")
    for unit, width, stride in common.units(stages, units_per_stage):
        x = _unit(x, width, stride, unit, style)
    x = _activate(x, "last", style)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(images, common.logits(x, num_classes, scale=1 / 3), name=name)


def preact_resnet18(
    *,
    num_classes: int,
    input_shape: Sequence[int] = (32, 32, 3),
    normalize: str = "none",
    silu: bool = False,
) -> Model:
    """Builds the pre-activation ResNet-18 for small images.

    Like the networks of Rice et al. and of Rebuffi et al. it ends in a batch normalisation and an
    activation before the pooling: 11,172,170 trainable parameters for CIFAR-10, with ``silu``
    12,548,426.

    Args:
        num_classes: Number of classes, at least two.
        input_shape: Height, width and channels of an image, at least 8x8 pixels.
        normalize: Of the channels: :func:`rlfat_tf.models.normalize.parse`.
        silu: The network of Rebuffi et al. instead: SiLU, shortcuts by 3x3 convolutions of the raw
            input, batch normalisation with a momentum of 0.99.

    Returns:
        A model from images [batch, height, width, channels] in [0, 1] to logits
        [batch, num_classes].

    Raises:
        ValueError: When an argument is out of its range.
    """
    return preactivation_network(
        widths=(64, 64, 128, 256, 512),
        units_per_stage=2,
        num_classes=num_classes,
        input_shape=input_shape,
        normalize=normalize,
        name="preact_resnet18-silu" if silu else "preact_resnet18",
        style=SILU if silu else RELU,
    )
