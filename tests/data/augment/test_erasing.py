import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import addons
from rlfat_tf.core.compat import KERAS_3
from rlfat_tf.data.augment import erasing, parse
from tests.data.augment.common import SHAPES, batch, is_rate, seed


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
    result = erasing.cutout(tf.constant(images), centres)
    np.testing.assert_array_equal(result, cut_out(images, centres, side))


@pytest.mark.skipif(KERAS_3, reason="TensorFlow Addons cannot be imported with Keras 3")
@pytest.mark.parametrize("shape", SHAPES)
def test_tfa_cutout_is_the_same_transformation(shape):
    images = tf.constant(batch(shape))
    centres = erasing.CUTOUT.draw(len(images), shape, seed(1, 2))
    ours, theirs = erasing.cutout(images, centres), erasing.tfa_cutout(images, centres)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(not KERAS_3, reason="here TensorFlow Addons can be imported")
def test_tfa_cutout_says_why_not():
    with pytest.raises(ImportError, match=r"use 'cutout' instead.*TensorFlow Addons has ended"):
        parse("flip+tfa:cutout")


@pytest.mark.skipif(KERAS_3, reason="TensorFlow Addons cannot be imported with Keras 3")
def test_addons_that_are_not_installed_are_named(monkeypatch):
    assert addons.tfa("a feature").image.cutout
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_addons", None)
    with pytest.raises(ImportError, match="a feature needs .* pip install tensorflow-addons"):
        addons.tfa("a feature")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_erased_rectangles(dtype):
    shape = (9, 14, 2)
    images = batch(shape, n=60, dtype=dtype)
    boxes = erasing.random_erasing(0.5).draw(60, shape, seed(0, 1)).numpy()
    expected = images.copy()
    for image, (top, left, bottom, right) in zip(expected, boxes):
        image[top:bottom, left:right] = 0
    found = erasing.random_erasing(0.5).apply(tf.constant(images), boxes)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_how_much_is_erased(probability):
    n, side = 20000, 96
    augmentation = erasing.random_erasing(probability)
    top, left, bottom, right = augmentation.draw(n, (side, side, 3), seed(0, 2)).numpy().T
    height, width = bottom - top, right - left
    erased = height > 0
    assert erased.all() if probability == 1 else is_rate(erased, probability)
    top, left, bottom, right, height, width = (
        x[erased] for x in (top, left, bottom, right, height, width)
    )
    assert min(top.min(), left.min()) == 0 and max(bottom.max(), right.max()) == side
    assert height.max() < side and width.max() < side
    area, log_ratio = height * width / side**2, np.log(height / width)
    # Sides are rounded to whole pixels, hence the tolerances.
    assert 0.017 < area.min() and area.max() < 0.335
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.0975, 0.175, 0.2525], 0.04)
    assert abs(log_ratio).max() < np.log(3.3) + 0.07
    quartile = np.log(3.3) / 2
    np.testing.assert_allclose(
        np.quantile(log_ratio, [0.25, 0.5, 0.75]), [-quartile, 0, quartile], atol=0.04
    )
    for begin, free in ((top, side - height), (left, side - width)):
        assert abs(np.mean(begin / free) - 0.5) < 0.015


def test_a_rectangle_that_fits_is_found_in_a_long_image_or_none():
    top, left, bottom, right = (
        erasing.random_erasing(1.0).draw(2000, (2, 64, 1), seed(0, 3)).numpy().T
    )
    erased = bottom > top
    assert 0.1 < erased.mean() < 0.4  # one row is erased, or ten tries were too large
    assert set(bottom[erased] - top[erased]) == {1} and right.max() <= 64
