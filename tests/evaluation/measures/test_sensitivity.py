"""Loss sensitivity against the closed form of a linear classifier; brightness against colorsys."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.evaluation.measures.sensitivity import brightness, gamma, loss_sensitivity

RNG = np.random.default_rng(0)
IMAGES = RNG.random((7, 4, 5, 3), np.float32)
IMAGES[0, 0] = 0.0  # black, white, gray, pure colours
IMAGES[0, 1] = 1.0
IMAGES[0, 2] = 0.4
IMAGES[0, 3, :3] = np.eye(3)
LABELS = RNG.integers(0, 4, 7)
WEIGHTS = RNG.normal(0, 0.5, (60, 4))
MAGNITUDES = {"brightness": (-0.6, -0.15, 0.0, 0.15, 1.0), "gamma": (0.4, 1.0, 2.2)}


def logits_fn(images):
    return tf.reshape(images, [-1, 60]) @ tf.constant(WEIGHTS, tf.float32)


def brighter(image, amount):
    """One image [height, width, 3] through HSV, pixel by pixel."""
    result = np.empty_like(image, np.float64)
    for place in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[place].astype(np.float64))
        value = min(max(value + amount, 0.0), 1.0)
        result[place] = colorsys.hsv_to_rgb(hue, saturation, value)
    return result


REFERENCE = {
    "brightness": lambda images, amount: np.stack([brighter(image, amount) for image in images]),
    "gamma": lambda images, exponent: images.astype(np.float64) ** exponent,
}


@pytest.mark.parametrize("amount", [-1.0, *MAGNITUDES["brightness"]])
def test_brightness_equals_colorsys(amount):
    found = brightness(IMAGES, amount)
    np.testing.assert_allclose(found, REFERENCE["brightness"](IMAGES, amount), atol=1e-6)
    assert found.dtype == tf.float32


def test_brightness_of_gray_images_is_that_of_the_pixel():
    gray = IMAGES[..., :1]
    for amount in (-0.3, 0.3):
        expected = np.clip(gray + np.float32(amount), 0, 1)
        np.testing.assert_allclose(brightness(gray, amount), expected, atol=1e-7)
        as_colour = brightness(np.repeat(gray, 3, -1), amount)
        np.testing.assert_allclose(as_colour, np.repeat(expected, 3, -1), atol=1e-7)


def test_brightness_of_the_darkest_colours_stays_in_range():
    dark = np.array([1e-38, 0.0, 5e-39], np.float32).reshape(1, 1, 1, 3)
    for amount in (0.0, 0.5, 1.0):
        found = brightness(dark, amount).numpy()
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_gamma():
    np.testing.assert_allclose(gamma(IMAGES, 2.2), REFERENCE["gamma"](IMAGES, 2.2), atol=1e-6)
    np.testing.assert_array_equal(gamma(IMAGES, 1.0), IMAGES)


def closed_form(transform, magnitude):
    """||dCE/dz|| = ||W (softmax(W^T z) - onehot(y))|| at the transformed image z."""
    seen = REFERENCE[transform](IMAGES, magnitude).reshape(7, 60)
    logits = seen @ WEIGHTS
    chances = np.exp(logits - logits.max(-1, keepdims=True))
    chances /= chances.sum(-1, keepdims=True)
    return np.linalg.norm((chances - np.eye(4)[LABELS]) @ WEIGHTS.T, axis=-1).mean()


@pytest.mark.parametrize("batch_size", [2, 7, 100])
@pytest.mark.parametrize("transform", MAGNITUDES)
def test_equals_the_closed_form(transform, batch_size):
    magnitudes = MAGNITUDES[transform]
    found = loss_sensitivity(
        logits_fn,
        IMAGES,
        LABELS,
        transform=transform,
        magnitudes=magnitudes,
        batch_size=batch_size,
    )
    assert [entry["magnitude"] for entry in found] == list(magnitudes)
    expected = [closed_form(transform, magnitude) for magnitude in magnitudes]
    np.testing.assert_allclose([entry["value"] for entry in found], expected, rtol=1e-4)
    assert len(set(np.round(expected, 4))) == len(expected)


def test_one_graph_for_all_magnitudes_and_batches():
    traces = []

    def counted(images):
        traces.append(tf.executing_eagerly())
        return logits_fn(images)

    loss_sensitivity(
        counted, IMAGES, LABELS, transform="gamma", magnitudes=[0.5, 1, 2], batch_size=3
    )
    assert traces == [False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transform": "brightnes"}, "Did you mean 'brightness'"),
        ({"magnitudes": [0.5, 0.0]}, "exponents above 0"),
        ({"magnitudes": [0.5, np.nan]}, "Expected finite magnitudes"),
        ({"transform": "brightness", "magnitudes": [np.inf]}, "Expected finite magnitudes"),
        ({"batch_size": None}, "batch_size to be a number; received None"),
        ({"labels": LABELS[:3]}, "as many labels"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "at least one"),
    ],
)
def test_wrong_arguments(changes, message):
    arguments = {
        "images": IMAGES,
        "labels": LABELS,
        "transform": "gamma",
        "magnitudes": [2.0],
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        loss_sensitivity(logits_fn, **arguments)


def test_gradients_that_are_no_numbers_have_no_value():
    def root(images):  # whose derivative at 0 is infinite
        return tf.reshape(tf.sqrt(images), [-1, 60]) @ tf.constant(WEIGHTS, tf.float32)

    images = 0.1 + 0.8 * IMAGES
    images[0, 0, 0] = 0.0
    with pytest.warns(UserWarning, match=r"on 1 of 7 images at brightness 0, where"):
        found = loss_sensitivity(
            root, images, LABELS, transform="brightness", magnitudes=[0.0, 0.2], batch_size=3
        )
    assert found[0] == {"magnitude": 0.0, "value": None} and found[1]["value"] > 0
