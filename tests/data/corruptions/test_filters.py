"""The filters against SciPy's, and against the sums that they are."""

import math

import numpy as np
import pytest

from rlfat_tf.data.corruptions import filters

ndimage = pytest.importorskip("scipy.ndimage")


def images(*shape):
    return np.random.default_rng(0).random(shape)


@pytest.mark.parametrize("deviation", [0, 0.05, 0.7, 3])
@pytest.mark.parametrize("border, truncate", [("nearest", 4.0), ("reflect", 3.0)])
def test_gaussian(deviation, border, truncate):
    x = images(2, 7, 9, 3)
    expected = ndimage.gaussian_filter(
        x, (0, deviation, deviation, 0), mode=border, truncate=truncate
    )
    found = filters.gaussian(x, deviation, border=border, truncate=truncate)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("radius, deviation", [(0.3, 0.4), (1.5, 0.1), (3, 0.1), (10, 0.5)])
def test_a_disk_and_correlation(radius, deviation):
    kernel = filters.disk(radius, deviation)
    side = 2 * max(8, int(radius)) + 1
    assert kernel.shape == (side, side)
    assert kernel.sum() == pytest.approx(1, abs=0.02)  # a disk of 10 touches the border
    np.testing.assert_allclose(kernel, kernel.T)
    if deviation == 0.1:  # too little to smooth anything
        steps = np.arange(side) - side // 2
        inside = steps[:, None] ** 2 + steps**2 <= radius**2
        np.testing.assert_allclose(kernel, inside / inside.sum(), atol=1e-12)
    kernel = kernel * images(side, side)  # not symmetric
    x = images(2, 9, 12, 3)
    expected = np.stack(
        [
            [ndimage.correlate(x[i, ..., c], kernel, mode="mirror") for c in range(3)]
            for i in range(2)
        ]
    )
    np.testing.assert_allclose(filters.correlate(x, kernel), np.moveaxis(expected, 1, -1))


@pytest.mark.parametrize("factor", [1, 1.06, 1.25, 4.5])
def test_zoom(factor):
    x = images(2, 8, 11, 3)
    found = filters.zoom(x, factor)
    for image, zoomed in zip(x, found):
        high, wide = (math.ceil(side / factor) for side in (8, 11))
        top, left = (8 - high) // 2, (11 - wide) // 2
        middle = image[top : top + high, left : left + wide]
        whole = ndimage.zoom(middle, (factor, factor, 1), order=1)
        top, left = (whole.shape[0] - 8) // 2, (whole.shape[1] - 11) // 2
        np.testing.assert_allclose(zoomed, whole[top : top + 8, left : left + 11], atol=1e-12)


def test_places_between_pixels():
    x, rng = images(2, 5, 6, 3), np.random.default_rng(1)
    rows, columns = rng.uniform(0, 4, (2, 3, 3)), rng.uniform(0, 5, (2, 3, 3))
    found = filters.at(x, rows, columns)
    for i in range(2):
        for c in range(3):
            expected = ndimage.map_coordinates(x[i, ..., c], [rows[i], columns[i]], order=1)
            np.testing.assert_allclose(found[i, ..., c], expected)


def test_places_outside_are_folded_back():
    places = np.arange(-4, 8)
    once = filters.reflected(places, 3, twice=False)
    assert once.tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]
    twice = filters.reflected(places, 3, twice=True)
    assert twice.tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]


@pytest.mark.parametrize("angle, step", [(0, (0, 1)), (90, (1, 0)), (-135, (-1, -1))])
def test_smear(angle, step):
    x = images(6, 7, 3)
    weights = np.exp(-0.5 * (np.arange(5) / 1.5) ** 2)
    weights /= weights.sum()
    expected = np.zeros_like(x)
    for i, weight in enumerate(weights):
        # At 135 degrees a step is 0.71 pixels along both axes.
        far = math.ceil(i * abs(math.cos(math.radians(45))) - 0.5) if all(step) else i
        if step == (-1, -1):
            far = -math.ceil(-i * math.sqrt(0.5) - 0.5)
        for r in range(6):
            for c in range(7):
                row = min(max(r + far * step[0], 0), 5)
                column = min(max(c + far * step[1], 0), 6)
                expected[r, c] += weight * x[row, column]
    np.testing.assert_allclose(filters.smear(x, 2, 1.5, angle), expected)
