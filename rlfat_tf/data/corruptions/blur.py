"""Blur: out of focus, through frosted glass, in motion, while zooming, Gaussian."""

from __future__ import annotations

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions import filters
from rlfat_tf.data.corruptions.draws import Draws


def gaussian_blur(images: Array, draws: Draws, deviation: float) -> Array:
    """Blurs by a Gaussian of this standard deviation in pixels."""
    return filters.gaussian(images, deviation)


def defocus_blur(images: Array, draws: Draws, radius: float, deviation: float) -> Array:
    """Blurs by a disk of this radius, whose edge is smoothed."""
    return filters.correlate(images, filters.disk(radius, deviation))


def glass_blur(images: Array, draws: Draws, deviation: float, reach: int, rounds: int) -> Array:
    """Blurs, takes pixels from near by, and blurs again.

    In the published code, which is said to swap two pixels, one is copied over the other. From the
    last pixel to the first, each takes the value of one that is up to ``reach`` before it or
    ``reach - 1`` behind it, along both axes, which may have taken another one before.
    """
    count, height, width = images.shape[:3]
    blurred = np.floor(255 * np.clip(filters.gaussian(images, deviation), 0, 1) + 1e-9) / 255
    sides = [len(range(size - reach, reach, -1)) for size in (height, width)]
    if min(sides) > 0:
        flat = blurred.reshape(count, height * width, -1)
        for _ in range(rounds):
            shifts = draws.integers((2, *sides), -reach, reach)
            flat = np.take_along_axis(flat, _taken(shifts, height, width, reach)[..., None], 1)
        blurred = flat.reshape(images.shape)
    return filters.gaussian(blurred, deviation)


def _taken(shifts: Array, height: int, width: int, reach: int) -> Array:
    """Returns from which pixel each pixel finally has its value, [n, height width].

    A pixel that takes from one that came before it takes what that one has taken: a chain, whose
    end all its members find at once by jumping ever twice as far.
    """
    count = len(shifts)
    own = np.arange(height * width)
    grid = np.broadcast_to(own.reshape(height, width), (count, height, width)).copy()
    inside = (
        slice(None),
        slice(reach + 1, height - reach + 1),
        slice(reach + 1, width - reach + 1),
    )
    moved = np.zeros(height * width, bool).reshape(height, width)
    moved[inside[1:]] = True
    grid[inside] += shifts[:, 0] * width + shifts[:, 1]
    source = grid.reshape(count, -1)
    link = np.where((source > own) & moved.ravel()[source], source, own)
    while not np.array_equal(link, further := np.take_along_axis(link, link, 1)):
        link = further
    return np.take_along_axis(source, link, 1)


def motion_blur(images: Array, draws: Draws, radius: int, deviation: float) -> Array:
    """Blurs along a line at a random angle between -45 and 45 degrees."""
    angles = draws.uniform((), -45.0, 45.0)
    return np.stack([filters.smear(x, radius, deviation, a) for x, a in zip(images, angles)])


def zoom_blur(images: Array, draws: Draws, top: float, step: float) -> Array:
    """Averages the image and its enlargements by 1, 1 + step, ..., below top."""
    factors = np.arange(1, top, step)
    return (images + sum(filters.zoom(images, factor) for factor in factors)) / (len(factors) + 1)
