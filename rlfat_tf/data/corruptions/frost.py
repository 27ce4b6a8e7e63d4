"""Frost, without photographs: needles of ice are drawn, in the manner of the published photographs.

The benchmark adds one of five photographs of frosted windows, which are not this library's to give
away. Here ice grows from random seeds along a few directions; brightness, contrast and tint are in
the range of those photographs.
"""

from __future__ import annotations

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions import filters
from rlfat_tf.data.corruptions.draws import Draws
from rlfat_tf.data.corruptions.plasma import plasma

MEANS, DEVIATION = (0.48, 0.81), 0.12
TINT = np.array([0.90, 1.02, 1.08])  # bluish
DIRECTIONS = 3
SEEDS = 0.04  # share of the pixels


def frost(images: Array, draws: Draws, kept: float, ice: float) -> Array:
    """Returns ``kept`` of the image plus ``ice`` of a frosted window."""
    return kept * images + ice * np.stack([window(rng, images.shape[1:3]) for rng in draws.rngs])


def window(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draws a frosted window, [H, W, 3] in [0, 1]."""
    height, width = shape
    length = max(2, min(shape) // 8)
    size = 2 ** int(np.ceil(np.log2(max(height, width, 2))))
    patches = plasma(rng.uniform(-1, 1, (1, size, size)), 1.8)[0, :height, :width]
    seeds = (rng.random(shape) < SEEDS * (0.2 + 1.6 * patches)) * rng.uniform(0.5, 1, shape)
    needles = np.zeros(shape)
    for angle in rng.uniform(0, 360) + np.arange(DIRECTIONS) * 60 + rng.uniform(-8, 8, DIRECTIONS):
        for way in (angle, angle + 180):
            needles = np.maximum(needles, filters.smear(seeds, length, length, way))
    ice = needles / max(float(needles.max()), 1e-9) + patches
    spread = max(float(ice.std()), 1e-9)
    grey = rng.uniform(*MEANS) + DEVIATION * (ice - ice.mean()) / spread
    return np.clip(grey[..., None] * TINT, 0, 1)
