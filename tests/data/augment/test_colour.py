"""Against Pillow, which is what the policies were published with."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from rlfat_tf.data.augment import colour
from rlfat_tf.data.augment.colour_shape import COLOR_SHAPE, OPERATIONS, Chosen, color_shape
from tests.data.augment.common import SHAPES, batch, is_rate, seed


def images(shape=(32, 24, 3)):
    """Noise, noise of few levels, one colour, two halves; and rectangles of noise."""
    values = batch(shape, n=6)
    values[1] = values[1] // 5 + 90
    values[2] = 7
    values[3, : shape[0] // 2] = 200
    values[4] = 255
    return values


def by_pillow(name, image, amount):
    picture = Image.fromarray(image)
    width, height = picture.size
    if name in ("color", "brightness", "contrast", "sharpness"):
        changed = getattr(ImageEnhance, name.capitalize())(picture).enhance(amount)
    elif name in ("autocontrast", "equalize"):
        changed = getattr(ImageOps, name)(picture)
    elif name == "rotate":
        changed = picture.rotate(amount, resample=Image.NEAREST)
    else:
        slope, along_rows = math.tan(amount), name == "shear_along_rows"
        x = (1, slope, -slope * height / 2) if along_rows else (1, 0, 0)
        y = (0, 1, 0) if along_rows else (slope, 1, -slope * width / 2)
        changed = picture.transform((width, height), Image.AFFINE, (*x, *y), Image.NEAREST)
    return np.asarray(changed)


def amounts_of(operation, n):
    amounts = np.linspace(operation.lowest, operation.highest, n)
    if operation.whole:
        amounts = np.round(amounts)
    if operation.signed:
        amounts[::2] *= -1
    return amounts.astype(np.float32)


@pytest.mark.parametrize("name", OPERATIONS)
def test_eight_bits(name):
    some, operation = images(), OPERATIONS[name]
    amounts = amounts_of(operation, len(some))
    found = operation.apply(tf.constant(some), tf.constant(amounts))
    expected = np.stack([by_pillow(name, x, float(a)) for x, a in zip(some, amounts)])
    assert found.dtype == tf.uint8
    # Pillow turns in fixed-point numbers: where two pixels are equally near it may take the other.
    assert (found.numpy() != expected).any(-1).mean() < (0.003 if name == "rotate" else 1e-9)
    assert not operation.apply(some[:0], amounts[:0]).shape[0]


def test_autocontrast_of_every_darkest_and_brightest_level():
    """Pillow cuts a product off that may lie just below a whole number."""
    levels = np.arange(256)
    pairs = [(low, high) for low in range(0, 256, 3) for high in range(low, 256)]
    some = np.stack([np.clip(levels, *pair).reshape(16, 16, 1) for pair in pairs]).astype(np.uint8)
    found = colour.autocontrast(tf.constant(some), tf.zeros(len(some))).numpy()
    expected = [by_pillow("autocontrast", image[..., 0], 0)[..., None] for image in some]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_floats_are_the_same_but_for_rounding(name):
    some, operation = images(), OPERATIONS[name]
    amounts = amounts_of(operation, len(some))
    whole = operation.apply(tf.constant(some), amounts).numpy()
    found = operation.apply(tf.constant((some / 255).astype(np.float32)), amounts).numpy()
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    # Rounded twice on the way and cut off at its end.
    assert abs(255 * found - whole).max() < 2


@pytest.mark.parametrize("shape", [*SHAPES, (2, 5, 1), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_shape(shape, dtype):
    some = tf.constant(batch(shape, dtype=dtype))
    for operation in OPERATIONS.values():
        found = operation.apply(some, amounts_of(operation, len(some)))
        assert found.shape == some.shape and found.dtype == some.dtype
    same = colour.color(some, tf.zeros([len(some)]))
    if shape[-1] == 1:  # is grey already
        np.testing.assert_allclose(same, some, atol=1e-6)


def test_equalize_by_hand():
    values = np.repeat(np.arange(4, dtype=np.uint8) * 10, 512).reshape(1, 32, 64, 1)
    # 512 of each level: step (2048 - 512) // 255 = 6, levels (512 i + 3) // 6.
    expected = np.minimum((512 * (values // 10).astype(int) + 3) // 6, 255)
    np.testing.assert_array_equal(colour.equalize(tf.constant(values), tf.zeros([1])), expected)


def test_how_often_what_is_drawn():
    number, amount = (x.numpy() for x in COLOR_SHAPE.draw(32000, (32, 32, 3), seed(0, 1)))
    names = list(OPERATIONS)
    for i, (name, one) in enumerate(OPERATIONS.items()):
        some = amount[number == i]
        assert is_rate(number == i, 1 / 16 if name.startswith("shear") else 1 / 8)
        assert abs(some).min() >= one.lowest and abs(some).max() <= one.highest
        middle = (one.lowest + one.highest) / 2
        assert abs(abs(some).mean() - middle) < 0.06 * (one.highest - one.lowest) + 1e-6
        assert is_rate(some < 0, 0.5) if one.signed else not (some < 0).any()
    degrees = amount[number == names.index("rotate")]
    assert set(degrees) == {*range(1, 11), *range(-10, 0)}
    for degree in (1, 10):
        assert is_rate(abs(degrees) == degree, 0.1)


def test_every_image_gets_its_own_operation():
    some = batch((8, 8, 3), n=11)
    numbers = np.int32([4, 0, 8, 8, 1, 2, 7, 5, 3, 4, 6])  # in no order, and some twice
    amounts = np.float32([0, 0.3, 5, -7, 1.5, 0.7, 0.1, 0, 1.8, 0, -0.12])
    found = color_shape(tf.constant(some), Chosen(numbers, amounts)).numpy()
    for i, (number, amount) in enumerate(zip(numbers, amounts)):
        operation = list(OPERATIONS.values())[number]
        np.testing.assert_array_equal(
            found[i], operation.apply(some[i : i + 1], tf.constant([amount]))[0]
        )
