"""Every corruption against its definition, on tiny images."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image

from rlfat_tf.data.corruptions import blur, colour, digital, elastic, frost, noise, spatter, weather
from rlfat_tf.data.corruptions.draws import Draws
from rlfat_tf.data.corruptions.plasma import plasma


class Constant:
    """Draws that are all alike."""

    def __init__(self, value, count=1):
        self.value, self.count = value, count

    def uniform(self, shape, low=0.0, high=1.0):
        return np.full((self.count, *shape), low + (high - low) * self.value)

    def normal(self, shape, mean, deviation):
        return np.full((self.count, *shape), mean + deviation * self.value)


def images(*shape):
    return np.random.default_rng(0).random(shape)


def draws(count=1, seed=0):
    return Draws(seed, "any", 1, range(count))


def grey(value, side=100):
    return np.full((1, side, side, 3), value)


# Noise: means and variances that the definitions have; 30,000 values.


def test_gaussian_noise():
    added = noise.gaussian_noise(grey(0.5), draws(), 0.1) - 0.5
    assert abs(added.mean()) < 0.003 and added.std() == pytest.approx(0.1, rel=0.02)


def test_shot_noise():
    found = noise.shot_noise(grey(0.4), draws(), 50)
    assert found.mean() == pytest.approx(0.4, abs=0.003)
    assert found.var() == pytest.approx(0.4 / 50, rel=0.05)
    np.testing.assert_allclose(np.round(50 * found), 50 * found)


def test_impulse_noise():
    found = noise.impulse_noise(grey(0.4), draws(), 0.2)
    shares = [float((found == value).mean()) for value in (0.0, 0.4, 1.0)]
    assert shares == pytest.approx([0.1, 0.8, 0.1], abs=0.01) and sum(shares) == 1
    assert len(np.unique(found[0], axis=-1)) > 1  # values, not pixels


def test_speckle_noise():
    for value in (0.2, 0.8):
        added = noise.speckle_noise(grey(value), draws(), 0.1) - value
        assert added.std() == pytest.approx(0.1 * value, rel=0.02)


# Blur


@pytest.mark.parametrize("reach, rounds", [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_glass_blur_takes_pixels_one_after_the_other(reach, rounds):
    x = np.round(255 * images(2, 9, 11, 3)) / 255
    found = blur.glass_blur(x, draws(2), 0.0, reach, rounds)
    again = draws(2)
    expected = x.copy()
    high, wide = (list(range(size - reach, reach, -1)) for size in (9, 11))
    for _ in range(rounds if high and wide else 0):
        shifts = again.integers((2, len(high), len(wide)), -reach, reach)
        for i in range(2):
            for h in high:
                for w in wide:
                    down, right = shifts[i, :, h - min(high), w - min(wide)]
                    expected[i, h, w] = expected[i, h + down, w + right]
    np.testing.assert_allclose(found, expected)
    assert reach == 4 or (found != x).any()


def test_motion_blur_keeps_a_flat_image():
    np.testing.assert_allclose(blur.motion_blur(grey(0.3, 5), draws(), 6, 2), 0.3)


def test_zoom_blur_is_a_mean():
    ramp = np.broadcast_to(np.arange(9.0)[:, None, None], (1, 9, 9, 3))
    found = blur.zoom_blur(ramp, None, 2.1, 1)  # itself, and enlarged once and twice
    # Twice as large, its 5 middle pixels become 10: from 2 to 6 in steps of 4 / 9.
    expected = (2 * np.arange(9) + 2 + 4 / 9 * np.arange(9)) / 3
    np.testing.assert_allclose(found[0, :, 3, 0], expected)
    np.testing.assert_allclose(blur.zoom_blur(grey(0.3, 9), None, 1.31, 0.03), 0.3)


# Weather


def test_brightness_is_that_of_hsv():
    x = np.concatenate([images(1, 3, 4, 3), np.zeros((1, 3, 4, 3))])
    found = weather.brightness(x, None, 0.3)
    for before, after in zip(x.reshape(-1, 3), found.reshape(-1, 3)):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        expected = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.3))
        np.testing.assert_allclose(after, expected)


def test_plasma_of_two_pixels():
    noise_ = np.array([[[0.9, 0.2], [-0.5, 0.4]]])
    middle = 0.4
    right, below = middle / 2 + 0.2, middle / 2 - 0.5
    heights = np.array([[0, right], [below, middle]])
    expected = (heights - heights.min()) / np.ptp(heights)
    np.testing.assert_allclose(plasma(noise_, 3)[0], expected)


def test_plasma_is_smoother_with_a_larger_decay():
    uniform = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32))
    steps = [np.abs(np.diff(plasma(uniform, decay), axis=1)).mean() for decay in (1.4, 2, 3)]
    assert steps[0] > steps[1] > steps[2]
    for decay in (1.4, 3):
        maps = plasma(uniform, decay)
        assert (maps.min(axis=(1, 2)) == 0).all() and (maps.max(axis=(1, 2)) == 1).all()


def test_fog():
    x = images(1, 4, 4, 3)
    found = weather.fog(x, draws(), 2.0, 2)
    layer = plasma(draws().uniform((4, 4), -1, 1), 2)[..., None]
    np.testing.assert_allclose(found, (x + 2 * layer) * x.max() / (x.max() + 2))


def test_snow_whitens_and_falls():
    x = images(1, 6, 6, 3)
    light = (0.299 * x[..., :1] + 0.587 * x[..., 1:2] + 0.114 * x[..., 2:]) * 1.5 + 0.5
    whitened = 0.8 * x + 0.2 * np.maximum(x, light)
    none = weather.snow(x, Constant(0.0), 0.4, 0.3, 1, 0.5, 4, 2, 0.8)
    np.testing.assert_allclose(none, whitened)
    everywhere = weather.snow(x, Constant(0.0), 0.7, 0.3, 2, 0.5, 4, 2, 0.8)
    np.testing.assert_allclose(everywhere, whitened + 2 * 178 / 255)


def test_frost_covers_with_ice_of_the_same_weight_everywhere():
    x, y = images(1, 8, 8, 3), images(1, 8, 8, 3)[:, ::-1]
    one, other = (frost.frost(z, draws(), 0.7, 0.5) for z in (x, y))
    np.testing.assert_allclose(one - 0.7 * x, other - 0.7 * y)
    window = (one - 0.7 * x) / 0.5
    assert window.min() >= 0 and window.max() <= 1 and window.std() > 0.05
    assert 0.4 < window.mean() < 0.9


def test_spatter():
    x = images(1, 6, 6, 3)
    for mud in (False, True):
        dry = spatter.spatter(x, Constant(0.0), 0.5, 0.1, 1, 0.6, 0.5, mud)
        np.testing.assert_allclose(dry, x)
    covered = spatter.spatter(x, Constant(0.0), 0.7, 0.1, 1, 0.6, 0.5, True)
    np.testing.assert_allclose(covered, np.broadcast_to(spatter.MUD, x.shape))
    wet = spatter.spatter(x, Constant(0.0), 0.7, 0.1, 1, 0.6, 0.5, False)
    np.testing.assert_allclose(wet, x + 0.5 * spatter.WATER)


# Digital


def test_contrast():
    x = images(2, 3, 4, 3)
    for i in range(2):
        for c in range(3):
            mean = x[i, ..., c].mean()
            found = digital.contrast(x, None, 0.3)[i, ..., c]
            np.testing.assert_allclose(found, mean + 0.3 * (x[i, ..., c] - mean))


def test_pixelate():
    x = np.arange(48).reshape(1, 4, 4, 3) * 5 / 255
    found = digital.pixelate(x, None, 0.5)
    means = x.reshape(1, 2, 2, 2, 2, 3).mean(axis=(2, 4))
    expected = np.repeat(np.repeat(means, 2, 1), 2, 2)
    np.testing.assert_allclose(found, expected, atol=0.51 / 255)


def test_jpeg():
    x = np.round(255 * images(1, 16, 16, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(x[0]).save(file, "JPEG", quality=25)
    expected = np.asarray(Image.open(file)) / 255
    np.testing.assert_array_equal(digital.jpeg_compression(x / 255, None, 25)[0], expected)


def test_elastic_transform_is_an_affine_map_first():
    x = images(1, 9, 9, 3)
    np.testing.assert_allclose(
        elastic.elastic_transform(x, Constant(0.5), 0, 0, 0.3), x, atol=1e-12
    )
    # All corners move by 3 x (2/3 - 1/3) = 1 pixel: the image moves down and to the right.
    moved = elastic.elastic_transform(x, Constant(1.0), 0, 0, 1 / 9)
    np.testing.assert_allclose(moved[:, 1:, 1:], x[:, :-1, :-1], atol=1e-12)
    np.testing.assert_allclose(moved[:, 0, 1:], x[:, 1, :-1], atol=1e-12)  # mirrored


def test_elastic_displacements():
    x = images(1, 9, 9, 3)
    found = elastic.elastic_transform(x, Constant(1.0), 2 / 9, 0.1, 0.0)
    np.testing.assert_allclose(found[:, :-2, :-2], x[:, 2:, 2:], atol=1e-12)


def test_saturate_is_that_of_hsv():
    x = np.concatenate([images(1, 3, 4, 3), grey(0.4, 4)[:, :3], np.zeros((1, 3, 4, 3))])
    for times, plus in ((0.3, 0), (5, 0.1)):
        found = colour.saturate(x, None, times, plus)
        for before, after in zip(x.reshape(-1, 3), found.reshape(-1, 3)):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            expected = colorsys.hsv_to_rgb(hue, min(1, times * saturation + plus), value)
            np.testing.assert_allclose(after, expected, atol=1e-12)
