"""Luminance, and saturation in HSV at the same hue and value."""

from __future__ import annotations

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions.draws import Draws


def luminance(images: Array) -> Array:
    """Returns 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) with one channel, [..., 1]."""
    return (images @ np.array([0.299, 0.587, 0.114]))[..., None]


def saturate(images: Array, draws: Draws, times: float, plus: float) -> Array:
    """Changes the saturation S = 1 - min / max to times S + plus, cut to [0, 1].

    V - channel is proportional to S. A grey pixel has the hue of red.
    """
    value = images.max(-1, keepdims=True)
    below = value - images
    range_ = below.max(-1, keepdims=True)
    grey = range_ == 0
    saturation = np.where(grey, 0, range_ / np.where(value > 0, value, 1))
    changed = np.clip(times * saturation + plus, 0, 1)
    share = np.where(grey, np.array([0.0, 1.0, 1.0]), below / np.where(grey, 1, range_))
    return value * (1 - changed * share)
