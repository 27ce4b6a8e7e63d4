"""What the networks share: the check of their arguments, convolutions, normalisation, logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlfat_tf.core.compat import keras, synchronized_batch_norm
from rlfat_tf.core.types import Tensor
from rlfat_tf.models.batch_norm import FusedBatchNormalization

BATCH_NORM_MOMENTUM = 0.9


def _outer_dtype() -> str:
    """Returns the dtype of images and logits: float32, unless everything runs in float64.

    Mixed precision is for the inside of a network only: perturbations are smaller than what a
    16-bit image can hold, and so are differences between 16-bit logits.
    """
    return "float64" if keras.layers.Layer().compute_dtype == "float64" else "float32"


def image_input(
    input_shape: Sequence[int], *, num_classes: int, halvings: int, network: str
) -> Tensor:
    """Checks what every network is given and returns the symbolic batch of images.

    Args:
        input_shape: Height, width and channels of an image.
        num_classes: Number of classes, at least two.
        halvings: How many times the network halves its maps.
        network: The network's name, for messages.

    Raises:
        ValueError: When there are fewer than two classes, when the shape is not three positive
            integers, or when a map would have to be halved that is one pixel wide.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(
            f"{network} needs input_shape=(height, width, channels), three positive integers; "
            f"received {input_shape!r}."
        )
    if num_classes < 2:
        raise ValueError(f"{network} needs num_classes of at least 2; received {num_classes!r}.")
    least = 2**halvings
    if min(shape[:2]) < least:
        raise ValueError(
            f"{network} halves its maps {halvings} times and needs images of at least "
            f"{least}x{least} pixels; received {shape[0]}x{shape[1]}. "
            "Enlarge the images or choose a network with fewer halvings."
        )
    return keras.Input(shape, name="images", dtype=_outer_dtype())


def units(widths: Sequence[int], units_per_stage: int) -> Iterator[tuple[str, int, int]]:
    """Yields name, width and stride of each unit of a residual network.

    The first unit of every stage but the first one has stride 2, all others have stride 1.
    """
    for stage, width in enumerate(widths, start=1):
        for unit in range(1, units_per_stage + 1):
            yield f"stage{stage}_unit{unit}", width, 2 if stage > 1 and unit == 1 else 1


def conv(
    x: Tensor, filters: int, size: int, *, name: str, stride: int = 1, padding: str = "same"
) -> Tensor:
    """Applies a convolution without bias, drawn from N(0, 2 / (size * size * filters))."""
    # One initializer per layer: in Keras 3 an instance draws the same numbers at every call.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return keras.layers.Conv2D(
        filters,
        size,
        strides=stride,
        padding=padding,
        use_bias=False,
        kernel_initializer=initializer,
        name=name,
    )(x)


def batch_norm(x: Tensor, *, epsilon: float, name: str) -> Tensor:
    """Applies batch normalisation, with statistics shared by all replicas of the current scope."""
    return FusedBatchNormalization(
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=epsilon,
        synchronized=synchronized_batch_norm(),
        name=name,
    )(x)


def logits(x: Tensor, num_classes: int, *, scale: float) -> Tensor:
    """Applies the last dense layer; its kernel is uniform in +-sqrt(3 * scale / fan_in)."""
    return keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.VarianceScaling(scale, "fan_in", "uniform"),
        dtype=_outer_dtype(),
        name="logits",
    )(x)
