"""Plasma fractals, by the diamond-square algorithm on a torus."""

from __future__ import annotations

import numpy as np

from rlfat_tf.core.types import Array


def plasma(noise: Array, decay: float) -> Array:
    """Makes height maps from 0 to 1.

    From coarse to fine, the middle of every square, then of every edge, becomes the mean of its
    four neighbours plus noise, whose amplitude falls by ``decay^2`` from one scale to the next.

    Args:
        noise: Uniform in [-1, 1), float [n, size, size], where size is a power of 2.
        decay: Above 1; the larger, the smoother.

    Returns:
        [n, size, size]; each map has the minimum 0 and the maximum 1.
    """
    size = noise.shape[-1]
    heights = np.zeros_like(noise)
    step, amplitude = size, 100.0
    while step >= 2:
        half = step // 2
        scaled = amplitude**2 * noise
        corners = heights[:, ::step, ::step]
        around = corners + np.roll(corners, -1, 1)
        around = around + np.roll(around, -1, 2)
        heights[:, half::step, half::step] = around / 4 + scaled[:, half::step, half::step]
        middles = heights[:, half::step, half::step]
        across = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 2)
        down = middles + np.roll(middles, 1, 2) + corners + np.roll(corners, -1, 1)
        heights[:, ::step, half::step] = across / 4 + scaled[:, ::step, half::step]
        heights[:, half::step, ::step] = down / 4 + scaled[:, half::step, ::step]
        step, amplitude = half, amplitude / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / heights.max(axis=(1, 2), keepdims=True)
