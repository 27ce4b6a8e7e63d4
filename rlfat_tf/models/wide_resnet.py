"""The usual wide residual network, as most work on adversarial training uses it.

Source: Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016; without dropout, as in
Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy" (TRADES), or with
SiLU as in Gowal et al., "Uncovering the Limits of Adversarial Training", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlfat_tf.core.types import Model
from rlfat_tf.models.preact_resnet import RELU, WIDE_SILU, preactivation_network


def wide_resnet(
    *,
    depth: int,
    width: int,
    num_classes: int,
    input_shape: Sequence[int] = (32, 32, 3),
    normalize: str = "none",
    silu: bool = False,
) -> Model:
    """Builds the network "WRN-depth-width".

    Args:
        depth: Number of layers with weights, 6n + 4 for n units in each of three stages: 10, 16,
            22, 28, 34...
        width: Multiplies the widths 16, 32 and 64 of the stages.
        num_classes: Number of classes, at least two.
        input_shape: Height, width and channels of an image, at least 4x4 pixels.
        normalize: Of the channels: :func:`rlfat_tf.models.normalize.parse`.
        silu: The network of Gowal et al. instead, with as many parameters: SiLU, TensorFlow's
            padding, batch normalisation with a momentum of 0.99.

    Returns:
        A model from images [batch, height, width, channels] in [0, 1] to logits
        [batch, num_classes].

    Raises:
        ValueError: When an argument is out of its range.
    """
    units_per_stage, rest = divmod(depth - 4, 6)
    if rest or units_per_stage < 1 or width < 1:
        raise ValueError(
            "A wide residual network has depth 6n + 4 (10, 16, 22, 28, 34...) and a width of at "
            f"least 1; received depth {depth} and width {width}."
        )
    return preactivation_network(
        widths=(16, 16 * width, 32 * width, 64 * width),
        units_per_stage=units_per_stage,
        num_classes=num_classes,
        input_shape=input_shape,
        normalize=normalize,
        name=f"wrn-{depth}-{width}{'-silu' if silu else ''}",
        style=WIDE_SILU if silu else RELU,
    )
