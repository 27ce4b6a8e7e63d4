"""The wide residual networks of the RLFAT paper's own experiments.

They descend from the network of the MNIST/CIFAR-10 challenges of Madry et al. and differ from the
usual wide residual network (:mod:`rlfat_tf.models.wide_resnet`) in that a shortcut has no
weights: where the shape changes, it averages over the stride and pads the channels with zeros.
The activation is a leaky ReLU, and the first unit normalises before its shortcut branches off.

Source: Song et al., "Robust Local Features for Improving the Generalization of Adversarial
Training", ICLR 2020, and the authors' code (``model_bn.py``). There, "w32-10" for CIFAR has 5
units per stage, and the "w40-2" for STL-10 has 6, hence 38 layers in the same way of counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Model, Shape, Tensor
from rlfat_tf.models import common

STEM_WIDTH = 16
SLOPE = 0.1
EPSILON = 1e-3  # the default of TensorFlow 1's batch normalisation


@keras.utils.register_keras_serializable("rlfat_tf")
class PadChannels(keras.layers.Layer):
    """Pads the channels of maps of shape [batch, height, width, channels] with zeros.

    Args:
        before: How many channels of zeros to add before the others.
        after: How many to add after them.
        **kwargs: Passed on to the layer, for instance ``name``.
    """

    def __init__(self, before: int, after: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.before = before
        self.after = after

    def call(self, inputs: Tensor) -> Tensor:
        """Returns the padded maps."""
        return tf.pad(inputs, [[0, 0], [0, 0], [0, 0], [self.before, self.after]])

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """Returns the shape of the padded maps."""
        return (*input_shape[:-1], self.before + input_shape[-1] + self.after)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "before": self.before, "after": self.after}


def _activate(x: Tensor, name: str) -> Tensor:
    x = common.batch_norm(x, epsilon=EPSILON, name=f"{name}_bn")
    # ReLU with a slope, because LeakyReLU names its argument differently in Keras 2 and 3.
    return keras.layers.ReLU(negative_slope=SLOPE, name=f"{name}_relu")(x)


def _shortcut(x: Tensor, width: int, stride: int, name: str) -> Tensor:
    if stride > 1:
        # "same" is what the reference does where it works, and works for odd sizes as well.
        x = keras.layers.AveragePooling2D(stride, padding="same", name=f"{name}_pool")(x)
    missing = width - x.shape[-1]
    if missing:
        x = PadChannels(missing // 2, missing - missing // 2, name=f"{name}_pad")(x)
    return x


def _unit(x: Tensor, width: int, stride: int, name: str, *, shared_activation: bool) -> Tensor:
    residual = _activate(x, f"{name}_1")
    shortcut = _shortcut(residual if shared_activation else x, width, stride, name)
    residual = common.conv(residual, width, 3, stride=stride, name=f"{name}_conv1")
    residual = _activate(residual, f"{name}_2")
    residual = common.conv(residual, width, 3, name=f"{name}_conv2")
    return keras.layers.Add(name=f"{name}_add")([shortcut, residual])


@compat.channels_last()
def reference_wide_resnet(
    *,
    units_per_stage: int,
    widths: Sequence[int],
    num_classes: int,
    input_shape: Sequence[int] = (32, 32, 3),
    normalize: str = "none",
    name: str = "reference_wide_resnet",
) -> Model:
    """Builds a network of the reference's family.

    The paper's networks are ``units_per_stage=5, widths=(160, 320, 640)`` (CIFAR, "w32-10") and
    ``units_per_stage=6, widths=(32, 64, 128)`` (STL-10, "w40-2").

    Args:
        units_per_stage: Residual units in each stage, of two convolutions each.
        widths: Channels of each stage, never decreasing and at least 16. The maps are halved
            between two stages.
        num_classes: Number of classes, at least two.
        input_shape: Height, width and channels of an image.
        normalize: Of the channels: :func:`rlfat_tf.models.normalize.parse`.
        name: The model's name.

    Returns:
        A model from images [batch, height, width, channels] in [0, 1] to logits
        [batch, num_classes].

    Raises:
        ValueError: When an argument is out of its range.
    """
    if units_per_stage < 1:
        raise ValueError(f"units_per_stage must be at least 1; received {units_per_stage!r}.")
    channels = [STEM_WIDTH, *widths]
    if not widths or sorted(channels) != channels:
        raise ValueError(
            f"widths must start at {STEM_WIDTH} or more and never decrease, because shortcuts can "
            f"only add channels; received {tuple(widths)!r}."
        )
    images, x = common.image_input(
        input_shape,
        num_classes=num_classes,
        halvings=len(widths) - 1,
        network=name,
        normalize=normalize,
    )
    x = common.conv(x, STEM_WIDTH, 3, name="stem_conv")
    for number, (unit, width, stride) in enumerate(common.units(widths, units_per_stage)):
        x = _unit(x, width, stride, unit, shared_activation=number == 0)
    x = _activate(x, "last")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(images, common.logits(x, num_classes, scale=1.0), name=name)


def reference_by_depth(
    *,
    depth: int,
    width: int,
    num_classes: int,
    input_shape: Sequence[int] = (32, 32, 3),
    normalize: str = "none",
) -> Model:
    """Builds the member "w<depth>-<width>" of the reference's family, counted like w32-10.

    Args:
        depth: Number of layers with weights, 6n + 2 for n units per stage: 8, 14, 20, 26, 32...
        width: Multiplies the widths 16, 32 and 64 of the three stages.
        num_classes: Number of classes, at least two.
        input_shape: Height, width and channels of an image.
        normalize: Of the channels: :func:`rlfat_tf.models.normalize.parse`.

    Returns:
        A model from images to logits, see :func:`reference_wide_resnet`.

    Raises:
        ValueError: When an argument is out of its range.
    """
    units_per_stage, rest = divmod(depth - 2, 6)
    if rest or units_per_stage < 1 or width < 1:
        raise ValueError(
            "The networks w<depth>-<width> have depth 6n + 2 (8, 14, 20, 26, 32...) and a width "
            f"of at least 1; received depth {depth} and width {width}."
        )
    return reference_wide_resnet(
        units_per_stage=units_per_stage,
        widths=(16 * width, 32 * width, 64 * width),
        num_classes=num_classes,
        input_shape=input_shape,
        normalize=normalize,
        name=f"w{depth}-{width}",
    )
