"""The layers that stand around a classifier of others: what it wants of pixels, and a logarithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Tensor


@keras.saving.register_keras_serializable("rlfat_tf")
class Pixels(keras.layers.Layer):
    """From images in [0, 1] to what a network was trained on: (images * scale + offset) / std.

    ``keras.layers.Rescaling`` cannot reverse the channels, which the oldest networks want (BGR).

    Args:
        scale: A factor, or one for each channel.
        offset: What is added, or one number for each channel.
        reverse_channels: Whether channels come out in reverse order, BGR for RGB. The numbers are
            those of the channels that come out.
        std: What the sum is divided by, or one number for each channel. A deep network enlarges
            the rounding of its pixels a hundredfold, so that means and standard deviations are
            used as they were in training: first subtracted, then divided by.
        **kwargs: Of ``keras.layers.Layer``.
    """

    def __init__(
        self,
        scale: float | Sequence[float] = 1.0,
        offset: float | Sequence[float] = 0.0,
        reverse_channels: bool = False,
        std: float | Sequence[float] = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.scale, self.offset, self.std = _numbers(scale), _numbers(offset), _numbers(std)
        self.reverse_channels = reverse_channels

    def call(self, inputs: Images) -> Tensor:
        """Returns the images [batch, height, width, channels] as the network wants them."""
        images = tf.reverse(inputs, [-1]) if self.reverse_channels else inputs
        scale, offset, std = (
            tf.constant(numbers, images.dtype) for numbers in (self.scale, self.offset, self.std)
        )
        return (images * scale + offset) / std

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        names = ("scale", "offset", "reverse_channels", "std")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("rlfat_tf")
class LogOfProbabilities(keras.layers.Layer):
    """The logarithm of probabilities, of which logits are one choice: their softmax is the same.

    A probability that is 0 in float32 has no gradient left: an attack looks weaker than it is.
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Returns log p [batch, classes], finite, of probabilities p."""
        return tf.math.log(tf.maximum(inputs, inputs.dtype.as_numpy_dtype(1e-37)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the input."""
        return input_shape


def _numbers(value: float | Sequence[float]) -> float | list[float]:
    return float(value) if isinstance(value, (int, float)) else [float(each) for each in value]
