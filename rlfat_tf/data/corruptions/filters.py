"""Linear filters of a batch of images: Gaussian, by a kernel, along a line, by resampling.

All take float64 [n, H, W, ...] and return the same shape, unless they say otherwise.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from rlfat_tf.core.types import Array


def reflected(places: Array, size: int, *, twice: bool) -> Array:
    """Folds positions outside of [0, size - 1] back into it.

    Args:
        places: Integers or floats, any shape.
        size: How many pixels there are.
        twice: Whether a border pixel comes twice, d c b a | a b c d, or once, d c b | a b c d.
    """
    if not twice and size == 1:
        return np.zeros_like(places)
    shift = 0.5 if twice else 0.0
    period = 2 * size if twice else 2 * (size - 1)
    folded = np.mod(places + shift, period)
    folded = np.minimum(folded, period - folded) - shift
    return folded.astype(places.dtype)


@functools.lru_cache(maxsize=64)
def gaussian_matrix(size: int, deviation: float, border: str, truncate: float) -> Array:
    """Returns the matrix [size, size] that blurs along an axis.

    Args:
        size: Of the axis.
        deviation: Standard deviation in pixels; 0 makes the identity.
        border: ``"nearest"`` repeats the border pixel, ``"reflect"`` mirrors (a | a b).
        truncate: At how many standard deviations the kernel ends.
    """
    radius = int(truncate * deviation + 0.5)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2) if radius else np.ones(1)
    weights /= weights.sum()
    places = np.arange(size)[:, None] + steps
    if border == "reflect":
        places = reflected(places, size, twice=True)
    places = np.clip(places, 0, size - 1)
    matrix = np.zeros((size, size))
    rows = np.broadcast_to(np.arange(size)[:, None], places.shape)
    np.add.at(matrix, (rows, places), np.broadcast_to(weights, places.shape))
    return matrix


def gaussian(
    images: Array, deviation: float, *, border: str = "nearest", truncate: float = 4.0
) -> Array:
    """Blurs by a Gaussian along height and width; arguments of :func:`gaussian_matrix`."""
    rows, columns = (gaussian_matrix(n, deviation, border, truncate) for n in images.shape[1:3])
    return along(along(images, rows, 1), columns, 2)


def along(images: Array, matrix: Array, axis: int) -> Array:
    """Multiplies an axis by a matrix [new, old]."""
    return np.moveaxis(np.tensordot(images, matrix, axes=(axis, 1)), -1, axis)


@functools.lru_cache(maxsize=16)
def disk(radius: float, deviation: float) -> Array:
    """Returns the kernel of a lens out of focus: a disk, its edge smoothed by a Gaussian.

    Args:
        radius: Of the disk, in pixels.
        deviation: Of the Gaussian, which is cut to 3 by 3 pixels, of a radius above 8 to 5 by 5.

    Returns:
        [2 r + 1, 2 r + 1] with r = 8, or the radius if that is larger. The sum is 1,
        of a radius above 8 as published 1.01: smoothing mirrors a disk that fills the kernel.
    """
    half, smoothed = (8, 1) if radius <= 8 else (int(radius), 2)
    steps = np.arange(-half, half + 1)
    inside = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    taps = np.exp(-0.5 * (np.arange(-smoothed, smoothed + 1) / deviation) ** 2)
    taps /= taps.sum()
    matrix = np.zeros((len(steps), len(steps)))
    for offset, weight in zip(range(-smoothed, smoothed + 1), taps):
        places = reflected(np.arange(len(steps)) + offset, len(steps), twice=False)
        matrix[np.arange(len(steps)), places] += weight
    return matrix @ (inside / inside.sum()) @ matrix.T


def correlate(images: Array, kernel: Array) -> Array:
    """Correlates [n, H, W, C] with a kernel of odd sides, mirrored at the border (b | a b)."""
    height, width = images.shape[1:3]
    half = [side // 2 for side in kernel.shape]
    rows, columns = (
        reflected(np.arange(-around, size + around), size, twice=False)
        for size, around in zip((height, width), half)
    )
    padded = images[:, rows][:, :, columns]
    sides = padded.shape[1:3]
    spectrum = np.fft.rfft2(padded, axes=(1, 2))
    spectrum *= np.fft.rfft2(kernel[::-1, ::-1], sides)[..., None]
    whole = np.fft.irfft2(spectrum, sides, axes=(1, 2))
    return whole[:, kernel.shape[0] - 1 :, kernel.shape[1] - 1 :]


def smear(image: Array, radius: int, deviation: float, angle: float) -> Array:
    """Blurs one image [H, W, ...] along a line from every pixel, as a moving camera does.

    Args:
        image: The image.
        radius: The line is 2 radius + 1 pixels long.
        deviation: Weights along it are exp(-i^2 / (2 deviation^2)), scaled to the sum 1.
        angle: Of the line, in degrees. Beyond the border the border pixel goes on.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    weights /= weights.sum()
    down, right = (
        np.ceil(steps * way(math.radians(angle)) - 0.5).astype(int) for way in (math.sin, math.cos)
    )
    height, width = image.shape[:2]
    around = [(max(0, -int(n.min())), max(0, int(n.max()))) for n in (down, right)]
    padded = np.pad(image, [*around, *[(0, 0)] * (image.ndim - 2)], mode="edge")
    blurred = np.zeros_like(image)
    for weight, y, x in zip(weights, down + around[0][0], right + around[1][0]):
        blurred += weight * padded[y : y + height, x : x + width]
    return blurred


def resample(images: Array, places: Array, axis: int) -> Array:
    """Takes an axis at other places, linearly between its pixels.

    Args:
        images: [n, H, W, ...].
        places: Positions in pixels, within the axis, [new].
        axis: Which.
    """
    low = np.clip(np.floor(places).astype(int), 0, max(images.shape[axis] - 2, 0))
    high = np.minimum(low + 1, images.shape[axis] - 1)
    share = (places - low).reshape([-1 if i == axis else 1 for i in range(images.ndim)])
    return np.take(images, low, axis) * (1 - share) + np.take(images, high, axis) * share


def zoom(images: Array, factor: float) -> Array:
    """Enlarges the middle of images by a factor of at least 1, linearly, to their own size."""
    for axis in (1, 2):
        size = images.shape[axis]
        taken = math.ceil(size / factor)
        made = round(taken * factor)
        step = (taken - 1) / (made - 1) if made > 1 else 0.0
        first = (made - size) // 2
        places = (size - taken) // 2 + step * np.arange(first, first + size)
        images = resample(images, places, axis)
    return images


def at(images: Array, rows: Array, columns: Array) -> Array:
    """Takes images at places of their own, linearly between pixels.

    Args:
        images: [n, H, W, C].
        rows: Positions in pixels within the image, [n, H, W].
        columns: The same.
    """
    number = np.arange(len(images))[:, None, None]
    top = np.clip(np.floor(rows).astype(int), 0, max(images.shape[1] - 2, 0))
    left = np.clip(np.floor(columns).astype(int), 0, max(images.shape[2] - 2, 0))
    bottom = np.minimum(top + 1, images.shape[1] - 1)
    right = np.minimum(left + 1, images.shape[2] - 1)
    y, x = (rows - top)[..., None], (columns - left)[..., None]
    above = images[number, top, left] * (1 - x) + images[number, top, right] * x
    below = images[number, bottom, left] * (1 - x) + images[number, bottom, right] * x
    return above * (1 - y) + below * y
