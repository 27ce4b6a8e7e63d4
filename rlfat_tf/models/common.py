"""What the networks share: the check of their arguments, convolutions, normalisation, logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlfat_tf.core.compat import keras, synchronized_batch_norm
from rlfat_tf.core.types import Tensor
from rlfat_tf.models.batch_norm import FirstBatchNormalization, FusedBatchNormalization
from rlfat_tf.models.normalize import normalised

BATCH_NORM_MOMENTUM = 0.9


def outer_dtype() -> str:
    """Returns the dtype of images and logits: float32, unless everything runs in float64.

    Mixed precision is for the inside of a network only: perturbations are smaller than what a
    16-bit image can hold, and so are differences between 16-bit logits.
    """
    return "float64" if keras.layers.Layer().compute_dtype == "float64" else "float32"


def image_input(
    input_shape: Sequence[int], *, num_classes: int, halvings: int, network: str, normalize: str
) -> tuple[Tensor, Tensor]:
    """Checks what every network is given and returns its input.

    Args:
        input_shape: Height, width and channels of an image.
        num_classes: Number of classes, at least two.
        halvings: How many times the network halves its maps.
        network: The network's name, for messages.
        normalize: Of the channels: :func:`rlfat_tf.models.normalize.parse`.

    Returns:
        The symbolic batch of images, and what the first convolution is to see of it.

    Raises:
        ValueError: When there are fewer than two classes, when the shape is not three positive
            integers, when a map would have to be halved that is one pixel wide, or when the
            normalisation is for other images.
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
    images = keras.Input(shape, name="images", dtype=outer_dtype())
    return images, normalised(images, normalize, outer_dtype())


def units(widths: Sequence[int], units_per_stage: int) -> Iterator[tuple[str, int, int]]:
    """Yields name, width and stride of each unit of a residual network.

    The first unit of every stage but the first one has stride 2, all others have stride 1.
    """
    for stage, width in enumerate(widths, start=1):
        for unit in range(1, units_per_stage + 1):
            yield f"stage{stage}_unit{unit}", width, 2 if stage > 1 and unit == 1 else 1


def conv(
    x: Tensor,
    filters: int,
    size: int,
    *,
    name: str,
    stride: int = 1,
    padding: str = "same",
    initial: str = "normal",
) -> Tensor:
    """Applies a convolution without bias.

    Args:
        x: Maps [batch, height, width, channels].
        filters: Channels that come out.
        size: Height and width of the kernel, odd.
        name: Of the layer.
        stride: Of the kernel.
        padding: "same" as TensorFlow means it, where the strided kernels are centred on the odd
            pixels of maps of even size; "centred": on the even ones, as PyTorch's ``padding=1``.
        initial: The kernel is drawn from N(0, 2 / (size * size * filters)), or with "uniform" from
            +-1 / sqrt(fan_in), which is what PyTorch does unless told otherwise.
    """
    if padding == "centred":
        padding = "same"
        if stride > 1 and size > 1:
            x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
            padding = "valid"
    scaling = (1 / 3, "fan_in", "uniform")
    if initial == "normal":
        scaling = (2.0, "fan_out", "untruncated_normal")
    # One initializer per layer: in Keras 3 an instance draws the same numbers at every call.
    initializer = keras.initializers.VarianceScaling(*scaling)
    return keras.layers.Conv2D(
        filters,
        size,
        strides=stride,
        padding=padding,
        use_bias=False,
        kernel_initializer=initializer,
        name=name,
    )(x)


def batch_norm(
    x: Tensor, *, epsilon: float, name: str, momentum: float = BATCH_NORM_MOMENTUM
) -> Tensor:
    """Applies batch normalisation, with statistics shared by all replicas of the current scope.

    Above the usual momentum the moving statistics begin with those of the first batch.
    """
    slow = momentum > BATCH_NORM_MOMENTUM
    kind = FirstBatchNormalization if slow else FusedBatchNormalization
    return kind(
        momentum=momentum,
        epsilon=epsilon,
        synchronized=synchronized_batch_norm(),
        name=name,
    )(x)


def logits(x: Tensor, num_classes: int, *, scale: float) -> Tensor:
    """Applies the last dense layer; its kernel is uniform in +-sqrt(3 * scale / fan_in)."""
    return keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.VarianceScaling(scale, "fan_in", "uniform"),
        dtype=outer_dtype(),
        name="logits",
    )(x)
