"""Spatter: drops of water or mud on the lens.

Mud is as published. The published water shades its drops by OpenCV's edge and distance transforms;
here drops of the same places and sizes are shaded by their slope: in the manner of it.
"""

from __future__ import annotations

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions import filters
from rlfat_tf.data.corruptions.draws import Draws

WATER = np.array([238, 238, 175]) / 255
MUD = np.array([63, 42, 20]) / 255


def spatter(
    images: Array,
    draws: Draws,
    mean: float,
    deviation: float,
    smooth: float,
    cut: float,
    amount: float,
    mud: bool,
) -> Array:
    """Splashes the lens.

    Args:
        images: float [n, H, W, 3] in [0, 1].
        draws: Random numbers.
        mean: Of the liquid, normal noise.
        deviation: Its standard deviation.
        smooth: The Gaussian that smooths it, in pixels.
        cut: Above this height it is a drop.
        amount: Of water its brightness; of mud the Gaussian that smooths the drops.
        mud: Whether it is mud.
    """
    liquid = filters.gaussian(draws.normal(images.shape[1:3], mean, deviation), smooth)
    if mud:
        cover = filters.gaussian((liquid > cut).astype(np.float64), amount)[..., None]
        cover = np.where(cover < 0.8, 0, cover)
        return images * (1 - cover) + MUD * cover
    drops = (liquid >= cut).astype(np.float64)
    soft = filters.gaussian(drops, max(1.0, smooth / 2))
    light = soft - np.roll(soft, (1, 1), (1, 2))  # from the upper left
    shade = drops * np.clip(0.5 + 2 * light, 0, None)
    peak = shade.max(axis=(1, 2), keepdims=True)
    return images + amount * WATER * (shade / np.where(peak > 0, peak, 1))[..., None]
