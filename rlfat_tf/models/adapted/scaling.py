"""What a classifier of others wants of its pixels, found out without a guess.

Three things tell it: keras-hub's own preprocessor; what the model does to images before its first
layer with a kernel, measured on grey images; or, where it does nothing, the name that a network of
``keras.applications`` has. Else it must be said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.model_checks import run
from rlfat_tf.core.types import Array, Model
from rlfat_tf.models.adapted.layers import Pixels

Numbers = Union[float, Sequence[float]]


class Scaling(NamedTuple):
    """From images in [0, 1] to what a network was trained on; see :class:`Pixels`.

    Attributes:
        scale: A factor, or one for each channel that comes out.
        offset: What is added.
        reverse_channels: BGR for RGB.
        std: What is divided by last.
        mode: Of ``preprocess_input`` in ``keras.applications``, which does the same to images in
            0 ... 255; None if it has no name there.
    """

    scale: Numbers = 1.0
    offset: Numbers = 0.0
    reverse_channels: bool = False
    std: Numbers = 1.0
    mode: str | None = None

    def reference(self, images: Array) -> Array:
        """Computes the same in NumPy, by Keras's own function where it has one."""
        if self.mode is not None:
            function = keras.applications.imagenet_utils.preprocess_input
            return np.asarray(function(255.0 * images, mode=self.mode), np.float32)
        seen = images[..., ::-1] if self.reverse_channels else images
        scale, offset, std = (
            np.asarray(part, np.float32) for part in (self.scale, self.offset, self.std)
        )
        return np.asarray((seen * scale + offset) / std, np.float32)


# Means and standard deviations of ImageNet, as in keras.applications.imagenet_utils.
_MEANS, _STDS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE = (-103.939, -116.779, -123.68)
INPUTS = {
    "unit": Scaling(),
    "0-255": Scaling(255.0),
    "tf": Scaling(2.0, -1.0, mode="tf"),
    "torch": Scaling(offset=tuple(-mean for mean in _MEANS), std=_STDS, mode="torch"),
    "caffe": Scaling(255.0, _CAFFE, reverse_channels=True, mode="caffe"),
}
# Networks of keras.applications that leave their preprocessing to the caller.
BY_NAME = {
    r"vgg(16|19)|resnet(50|101|152)": "caffe",
    r"resnet(50|101|152)v2|inception_v3|inception_resnet_v2|xception": "tf",
    r"mobilenet(v2)?_[0-9.]+_\w+|nasnet(_mobile|_large)?": "tf",
    r"densenet(121|169|201)": "torch",
}
# Those that take 0 ... 255, unless their preprocessing was left out.
WITHIN = r"efficientnet(b[0-7]|v2-\w+)|mobilenetv3\w+|convnext_\w+|regnet[xy]\d+|resnet-rs-\d+"
ROUNDING = 0.01  # of a scaling in 16 bits, relative
CHOICES = (
    "'0-255', 'unit' (images in [0, 1] as they are), 'tf' (to [-1, 1]), 'torch' (ImageNet's means "
    "and standard deviations), 'caffe' (BGR without ImageNet's means), or (scale, offset) or "
    "(scale, offset, 'bgr') of images in [0, 1]"
)


def find(model: Model, given: Any, shape: tuple[int, ...]) -> Scaling:
    """Returns what a model wants of its pixels.

    Args:
        model: A classifier.
        given: ``"auto"``, a name in :data:`INPUTS`, or (scale, offset) or (scale, offset, "bgr").
        shape: Height, width and channels of an image.

    Raises:
        ValueError: If it is unknown, or cannot be found out.
    """
    if not isinstance(given, str):
        return _of_numbers(given, shape[-1])
    if given != "auto":
        if given not in INPUTS:
            raise unknown("input", given, ["auto", *INPUTS], hint="Or (scale, offset[, 'bgr']).")
        return INPUTS[given]
    found = _of_hub(model)
    if found is not None:
        return found
    scale, offset = measured(model, shape)
    if np.allclose(scale, 1, rtol=ROUNDING) and np.allclose(offset, 0):
        return INPUTS["unit"] if _scales_up(model) else _by_name(model)
    name = range_of(scale, offset)
    if name is None:
        raise _refusal(
            model,
            "it does something to its images before the first layer with a kernel (scale "
            f"{_listed(scale)}, offset {_listed(offset)}) that is known neither of images in 0 ... "
            "255 nor in [0, 1]",
        )
    return INPUTS[name]


def _of_numbers(given: Any, channels: int) -> Scaling:
    parts = tuple(given) if isinstance(given, (tuple, list)) else ()
    named = parts[2:] in ((), ("bgr",), ("rgb",))
    numbers = [np.asarray(part) for part in parts[:2]]
    fitting = all(n.dtype.kind in "iuf" and n.shape in ((), (channels,)) for n in numbers)
    if len(parts) < 2 or not named or not fitting:
        raise ValueError(f"Expected input to be 'auto', {CHOICES}; received {given!r}.")
    return Scaling(parts[0], parts[1], parts[2:] == ("bgr",))


def _of_hub(model: Model) -> Scaling | None:
    """Returns what the preprocessor of keras-hub does beside resizing; None of other models."""
    converter = getattr(getattr(model, "preprocessor", None), "image_converter", None)
    if converter is None:
        return None
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return Scaling((255.0 * np.asarray(scale)).tolist(), np.asarray(offset, float).tolist())


def measured(model: Model, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Returns what happens to images before the first layer that has a kernel or normalises.

    Args:
        model: A built model.
        shape: Height, width and channels of an image.

    Returns:
        Scale and offset of each channel.

    Raises:
        ValueError: If that is no multiplication and addition.
    """
    # As far apart as they can be, so that 16-bit layers tell them apart.
    grey = np.broadcast_to(np.reshape([0.0, 127.5, 255.0], [3, 1, 1, 1]), (3, *shape))
    received = run(model, grey.astype(np.float32))[1]
    values = received[0][1].numpy() if received else grey
    if values.ndim == 2 and values.size == grey.size:
        values = values.reshape(grey.shape)  # flattened images
    if values.ndim != 4:
        raise _refusal(model, "its first layer with a kernel receives no images")
    black, middle, white = values[:, values.shape[1] // 2, values.shape[2] // 2]
    if not np.all(np.abs(middle - (black + white) / 2) <= ROUNDING * np.abs(white - black)):
        raise _refusal(model, "what it does to its images first is no scaling")
    return (white - black) / 255, black


def range_of(scale: Array, offset: Array) -> str | None:
    """Tells for which images a scaling is made: those in 0 ... 255, or in [0, 1].

    Networks are trained on images whose values differ by about 1 to 5, or by 255, and of which 0
    is the least value or one in the middle.

    Args:
        scale: Of each channel, of what a model does first.
        offset: Of each channel.

    Returns:
        A name in :data:`INPUTS`, or None if it is neither.
    """
    spread = float(np.mean(np.abs(scale)))
    if not spread:
        return None
    zero = float(np.mean(-np.asarray(offset) / np.asarray(scale)))  # the image that becomes 0
    centred, bright = 0.05 < zero < 1, 20 < zero < 255
    if bright or (abs(zero) <= 0.05 and 0.5 <= 255 * spread <= 6):
        return "0-255" if 255 * spread >= 0.5 else None
    if (centred and spread >= 0.5) or (abs(zero) <= 0.05 and spread >= 1.5):
        return "unit"
    return None


def _scales_up(model: Model) -> bool:
    """Tells whether a layer makes 0 to 255 of [0, 1], for another that undoes it."""
    kinds = (Pixels, keras.layers.Rescaling)
    scales = [layer.scale for layer in compat.layers_of(model) if isinstance(layer, kinds)]
    return any(np.allclose(scale, 255) for scale in scales)


def _by_name(model: Model) -> Scaling:
    """Returns what the network of ``keras.applications`` inside of a model wants, and says so."""
    names = [part.name for part in _models_in(model)]
    found = {
        INPUTS[kind]: (name, kind)
        for name in names
        for pattern, kind in BY_NAME.items()
        if re.fullmatch(pattern, name, re.IGNORECASE)
    }
    bare = [name for name in names if re.fullmatch(WITHIN, name, re.IGNORECASE)]
    if bare:
        raise _refusal(
            model,
            f"{bare[0]!r} usually scales images of 0 to 255 itself, and does not here "
            "(include_preprocessing=False)",
        )
    if len(found) != 1:
        reason = "it does nothing to its images, and its name is none of keras.applications"
        raise _refusal(model, "it holds several networks" if found else reason)
    ((scaling, (name, kind)),) = found.items()
    print(
        f"adapt: {name!r} of keras.applications wants input={kind!r}, which is put inside of the "
        "model.",
        flush=True,
    )
    return scaling


def _models_in(model: Model) -> list[Model]:
    inner = [part for part in getattr(model, "layers", []) if isinstance(part, keras.Model)]
    return [model, *(each for part in inner for each in _models_in(part))]


def _refusal(model: Model, reason: str) -> ValueError:
    return ValueError(
        f"What the model {model.name!r} wants of its pixels cannot be told: {reason}. Say what it "
        f"was trained on: rlfat_tf.adapt(model, input=...), one of {CHOICES}."
    )


def _listed(values: Array) -> str:
    return ", ".join(f"{value:.4g}" for value in np.unique(np.round(values, 6)))
