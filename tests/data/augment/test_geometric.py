import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.data.augment import geometric
from tests.data.augment.common import SHAPES, batch, is_rate, seed


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_flip(shape, dtype):
    images = batch(shape, dtype=dtype)
    flips = np.arange(len(images)) % 3 == 0
    expected = np.stack([x[:, ::-1] if f else x for x, f in zip(images, flips)])
    np.testing.assert_array_equal(geometric.flip(tf.constant(images), tf.constant(flips)), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crop(shape, dtype):
    images = batch(shape, dtype=dtype)
    offsets = np.random.RandomState(1).randint(0, 9, (len(images), 2)).astype(np.int32)
    offsets[:2] = [[0, 8], [8, 0]]
    height, width, _ = shape
    expected = [
        np.pad(x, [(4, 4), (4, 4), (0, 0)])[r : r + height, c : c + width]
        for x, (r, c) in zip(images, offsets)
    ]
    np.testing.assert_array_equal(geometric.crop(tf.constant(images), offsets), np.stack(expected))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crop_shift(shape, dtype):
    images = batch(shape, n=40, dtype=dtype)
    height, width, _ = shape
    places = geometric.CROP_SHIFT.draw(40, shape, seed(3, 4)).numpy()
    expected = np.zeros_like(images)
    for before, after, (c_y, c_x, row, column, to_row, to_column) in zip(images, expected, places):
        cut = before[row : row + height - c_y, column : column + width - c_x]
        after[to_row : to_row + height - c_y, to_column : to_column + width - c_x] = cut
        assert (after > 0).all(-1).sum() == (height - c_y) * (width - c_x)
    moved = geometric.crop_shift(tf.constant(images), places)
    assert moved.dtype == dtype
    np.testing.assert_array_equal(moved, expected)


def test_crop_shift_by_nothing():
    images = batch((9, 14, 2))
    same = geometric.crop_shift(tf.constant(images), tf.zeros([len(images), 6], tf.int32))
    np.testing.assert_array_equal(same, images)


def test_how_far_crop_shift_goes():
    c_y, c_x, *places = geometric.CROP_SHIFT.draw(22000, (32, 32, 3), seed(0, 1)).numpy().T
    strength = c_x + c_y
    for s in range(11):
        assert is_rate(strength == s, 1 / 11)
        assert is_rate(c_x[strength == s] == 0, 1 / (s + 1))
    for place, lost in zip(places, (c_y, c_x, c_y, c_x)):
        assert (place >= 0).all() and (place <= lost).all()
        for end in (0, 4):
            assert is_rate(place[lost == 4] == end, 1 / 5)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 40, 1), (10, 10, 1)])
def test_small_images_keep_a_pixel(shape):
    places = geometric.CROP_SHIFT.draw(300, shape, seed(0, 2))
    moved = geometric.crop_shift(tf.constant(batch(shape, n=300)), places).numpy()
    assert (moved > 0).any((1, 2, 3)).all()
    assert places.numpy()[:, :2].sum(1).max() == min(shape[:2]) - 1
