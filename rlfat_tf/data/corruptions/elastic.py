"""Elastic transform: a random affine map, then displacements that vary smoothly."""

from __future__ import annotations

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions import filters
from rlfat_tf.data.corruptions.draws import Draws


def elastic_transform(
    images: Array, draws: Draws, strength: float, deviation: float, affine: float
) -> Array:
    """Distorts images (Simard et al., "Best Practices for Convolutional Neural Networks", 2003).

    Args:
        images: float [n, H, W, 3] in [0, 1].
        draws: Random numbers.
        strength: Of the displacements, whose noise is uniform in [-1, 1]; as are the other numbers,
            in units of the smaller side.
        deviation: Of the Gaussian that smooths them.
        affine: How far the corners of a triangle move at most.
    """
    height, width = images.shape[1:3]
    side = min(height, width)
    corners = _triangle(height, width)
    moved = corners + draws.uniform(corners.shape, -affine * side, affine * side)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    back = _affine_maps(moved, corners)[:, :, :, None, None]
    x, y = (back[:, i, 0] * columns + back[:, i, 1] * rows + back[:, i, 2] for i in (0, 1))
    warped = filters.at(
        images,
        filters.reflected(y, height, twice=False),
        filters.reflected(x, width, twice=False),
    )
    if not strength:
        return warped
    right, down = (
        strength
        * side
        * filters.gaussian(
            draws.uniform((height, width), -1.0, 1.0),
            deviation * side,
            border="reflect",
            truncate=3.0,
        )
        for _ in range(2)
    )
    return filters.at(
        warped,
        np.clip(filters.reflected(rows + down, height, twice=True), 0, height - 1),
        np.clip(filters.reflected(columns + right, width, twice=True), 0, width - 1),
    )


def _triangle(height: int, width: int) -> Array:
    """Returns the corners (x, y) of the triangle around the middle that the affine map moves."""
    middle, size = np.array([height // 2, width // 2], np.float64), min(height, width) // 3
    return np.stack([middle + size, middle + [size, -size], middle - size])


def _affine_maps(start: Array, end: Array) -> Array:
    """Returns the maps [n, 2, 3] that bring corners start [n, 3, 2] to end [3, 2]."""
    lifted = np.concatenate([start, np.ones_like(start[..., :1])], -1)
    # A triangle without an area, of a tiny image, is not mapped but by the nearest map there is.
    return np.swapaxes(np.linalg.pinv(lifted) @ end, 1, 2)
