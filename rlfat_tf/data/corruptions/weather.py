"""Weather: snow, fog, brightness. Frost and spatter have files of their own."""

from __future__ import annotations

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions import filters
from rlfat_tf.data.corruptions.colour import luminance
from rlfat_tf.data.corruptions.draws import Draws
from rlfat_tf.data.corruptions.plasma import plasma


def snow(
    images: Array,
    draws: Draws,
    mean: float,
    deviation: float,
    scale: float,
    cut: float,
    radius: int,
    spread: float,
    mix: float,
) -> Array:
    """Whitens the image and lets flakes fall, twice: once upside down.

    Flakes are normal noise, enlarged, what is below ``cut`` removed, smeared along a steep line of
    ``radius`` and ``spread``. The image keeps ``mix`` of itself; the rest is whitened.
    """
    flakes = filters.zoom(draws.normal(images.shape[1:3], mean, deviation), scale)
    flakes = np.floor(255 * np.clip(np.where(flakes < cut, 0, flakes), 0, 1)) / 255
    angles = draws.uniform((), -135.0, -45.0)
    fallen = np.stack([filters.smear(f, radius, spread, a) for f, a in zip(flakes, angles)])
    fallen = (np.round(255 * fallen) / 255)[..., None]
    whitened = np.maximum(images, 1.5 * luminance(images) + 0.5)
    return mix * images + (1 - mix) * whitened + fallen + fallen[:, ::-1, ::-1]


def fog(images: Array, draws: Draws, weight: float, decay: float) -> Array:
    """Adds a plasma fractal, and scales so that the brightest value of the image stays."""
    height, width = images.shape[1:3]
    size = 2 ** int(np.ceil(np.log2(max(height, width, 2))))
    layer = plasma(draws.uniform((size, size), -1.0, 1.0), decay)[:, :height, :width, None]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    return (images + weight * layer) * brightest / (brightest + weight)


def brightness(images: Array, draws: Draws, added: float) -> Array:
    """Adds to the value V = max(R, G, B) at the same hue and saturation."""
    value = images.max(-1, keepdims=True)
    raised = np.clip(value + added, 0, 1)
    return np.where(value > 0, images * raised / np.where(value > 0, value, 1), raised)
