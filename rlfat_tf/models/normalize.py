"""Input normalisation inside a network: (x - mean) / std of each channel, with constants.

Images stay in [0, 1] outside, so that attacks, their radius and the served signature know nothing
of it. The constants have no parameters and are saved with the network.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Tensor


class PixelStatistics(NamedTuple):
    """What is subtracted from the channels of images in [0, 1], and what they are divided by."""

    means: tuple[float, ...]
    stds: tuple[float, ...]


# As in the code of Rebuffi et al. and of Rice et al.
KNOWN = {
    "none": None,
    "cifar10": PixelStatistics((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": PixelStatistics((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def parse(text: str) -> PixelStatistics | None:
    """Reads a normalisation from the command line.

    Args:
        text: ``none``, ``cifar10``, ``cifar100``, or one mean and one standard deviation of each
            channel: ``0.49,0.48,0.45/0.25,0.24,0.26``.

    Raises:
        ValueError: If the name is unknown or the numbers are not usable.
    """
    if text in KNOWN:
        return KNOWN[text]
    means, slash, stds = text.partition("/")
    if not slash:
        raise unknown(
            "normalisation",
            text,
            KNOWN,
            hint="Or write <means>/<standard deviations>, one number a channel, with commas.",
        )
    try:
        found = PixelStatistics(*(tuple(map(float, part.split(","))) for part in (means, stds)))
    except ValueError:
        found = PixelStatistics((), ())
    usable = all(math.isfinite(mean) for mean in found.means) and all(
        0 < std < math.inf for std in found.stds
    )
    if not found.means or len(found.means) != len(found.stds) or not usable:
        raise ValueError(
            "Expected a normalisation as <means>/<standard deviations>, one finite number a "
            "channel with commas between and standard deviations above 0, for instance "
            f"0.49,0.48,0.45/0.25,0.24,0.26; received {text!r}."
        )
    return found


def normalised(images: Tensor, normalize: str, dtype: str) -> Tensor:
    """Applies the normalisation to symbolic images [batch, height, width, channels] in [0, 1].

    Args:
        images: The input of a network.
        normalize: See :func:`parse`.
        dtype: What the layer computes in.

    Raises:
        ValueError: If there is not one number for each channel.
    """
    statistics = parse(normalize)
    if statistics is None:
        return images
    if len(statistics.means) != images.shape[-1]:
        raise ValueError(
            f"The normalisation {normalize!r} is for images of {len(statistics.means)} channel(s); "
            f"these have {images.shape[-1]}."
        )
    layer = keras.layers.Rescaling(
        [1 / std for std in statistics.stds],
        [-mean / std for mean, std in zip(*statistics)],
        dtype=dtype,
        name="normalize",
    )
    return layer(images)
