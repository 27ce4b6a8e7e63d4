import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import data
from rlfat_tf.core import addons
from rlfat_tf.core.compat import KERAS_3
from rlfat_tf.data import augment

SHAPES = [(32, 32, 3), (8, 8, 1), (9, 14, 2)]


def batch(shape, n=12, dtype=np.uint8):
    values = np.random.RandomState(0).randint(1, 256, (n, *shape))
    return (values / 255).astype(np.float32) if dtype == np.float32 else values.astype(dtype)


def seed(*values):
    return tf.constant(values, tf.int32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_flip(shape, dtype):
    images = batch(shape, dtype=dtype)
    flips = np.arange(len(images)) % 3 == 0
    expected = np.stack([x[:, ::-1] if f else x for x, f in zip(images, flips)])
    np.testing.assert_array_equal(augment.flip(tf.constant(images), tf.constant(flips)), expected)


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
    np.testing.assert_array_equal(augment.crop(tf.constant(images), offsets), np.stack(expected))


def cut_out(images, centres, side):
    expected = images.copy()
    for x, (row, column) in zip(expected, centres):
        top, left = max(0, row - side // 2), max(0, column - side // 2)
        x[top : row + side // 2, left : column + side // 2] = 0
    return expected


@pytest.mark.parametrize("shape, side", zip(SHAPES, (16, 4, 4)))
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_cutout(shape, side, dtype):
    images = batch(shape, dtype=dtype)
    centres = np.random.RandomState(1).randint(0, shape[:2], (len(images), 2)).astype(np.int32)
    centres[:2] = [[0, 0], [shape[0] - 1, shape[1] - 1]]
    result = augment.cutout(tf.constant(images), centres)
    np.testing.assert_array_equal(result, cut_out(images, centres, side))


@pytest.mark.skipif(KERAS_3, reason="TensorFlow Addons cannot be imported with Keras 3")
@pytest.mark.parametrize("shape", SHAPES)
def test_tfa_cutout_is_the_same_transformation(shape):
    images = tf.constant(batch(shape))
    centres = augment.CUTOUT.draw(len(images), shape, seed(1, 2))
    ours, theirs = augment.cutout(images, centres), augment.tfa_cutout(images, centres)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(not KERAS_3, reason="here TensorFlow Addons can be imported")
def test_tfa_cutout_says_why_not():
    with pytest.raises(ImportError, match=r"use 'cutout' instead.*TensorFlow Addons has ended"):
        augment.parse("flip+tfa:cutout")


@pytest.mark.skipif(KERAS_3, reason="TensorFlow Addons cannot be imported with Keras 3")
def test_addons_that_are_not_installed_are_named(monkeypatch):
    assert addons.tfa("a feature").image.cutout
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_addons", None)
    with pytest.raises(ImportError, match="a feature needs .* pip install tensorflow-addons"):
        addons.tfa("a feature")


def test_draws_cover_their_range_evenly():
    n = 9000
    flips = augment.FLIP.draw(n, (32, 32, 3), seed(0, 0)).numpy()
    assert abs(flips.mean() - 0.5) < 0.03
    offsets = augment.CROP.draw(n, (32, 32, 3), seed(0, 1)).numpy()
    counts = [np.bincount(offsets[:, i], minlength=9) for i in range(2)]
    assert np.min(counts) > 800 and np.max(counts) < 1200 and np.shape(counts) == (2, 9)
    centres = augment.CUTOUT.draw(n, (9, 14, 2), seed(0, 2)).numpy()
    assert centres.min(0).tolist() == [0, 0] and centres.max(0).tolist() == [8, 13]
    assert np.bincount(centres[:, 1]).min() > n / 14 * 0.8


@pytest.mark.parametrize("name", ["flip", "crop_flip", "cutout", "crop_flip+cutout"])
def test_draws_are_functions_of_the_seed(name):
    for augmentation in augment.parse(name):
        first, again, other = (
            augmentation.draw(200, (32, 32, 3), seed(*s)).numpy() for s in ((5, 6), (5, 6), (5, 7))
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_chains():
    assert augment.parse("none") == ()
    assert augment.parse("crop_flip+cutout") == (augment.CROP, augment.FLIP, augment.CUTOUT)
    assert set(data.AUGMENTATIONS) == {"none", "flip", "crop_flip", "cutout", "tfa:cutout"}


@pytest.mark.parametrize("name", ["crop-flip", "", "flip+", "flip+cutuot"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match="Unknown augmentation.*Known: crop_flip, cutout, flip"):
        augment.parse(name)
