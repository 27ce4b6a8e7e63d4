"""The inference transform: its step, its forms, its gradients, its exports."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import InferenceTransform, export_saved_model
from rlfat_tf.core import losses
from rlfat_tf.core.compat import keras
from tests import reference
from tests.methods.test_atld import small_discriminator

IMAGES, _, LABELS = reference.images_and_labels(12, seed=2)
NET = reference.keras_net(seed=1)
DISCRIMINATOR = small_discriminator("float32")


def make(form="atld", **arguments):
    return InferenceTransform(NET, DISCRIMINATOR, epsilon=0.1, form=form, **arguments)


def slope_and_probability():
    """Gradient of BCE(D(f(x)), 1) by the image and the probability of natural, in NumPy."""
    net = reference.Net(NET)
    w, b = (np.asarray(x, np.float64) for x in DISCRIMINATOR.get_weights()[:2])
    logits, cache = net.forward(IMAGES)
    probability = 1 / (1 + np.exp(-(logits @ w + b)))
    gradient = net.backward(cache, (probability - 1) * w.T)[1]
    return gradient.reshape(IMAGES.shape), probability[:, 0]


def test_the_whole_step():
    slope, _ = slope_and_probability()
    expected = np.clip(IMAGES - 0.1 * np.sign(slope), 0, 1)
    np.testing.assert_allclose(make().transform(IMAGES), expected, atol=1e-6)
    np.testing.assert_allclose(make()(IMAGES), NET(expected.astype(np.float32)), atol=1e-5)


def test_half_a_step_where_it_is_unsure():
    slope, probability = slope_and_probability()
    low, high = np.quantile(probability, [0.25, 0.75])
    unsure = (probability > low) & (probability < high)
    assert 0 < unsure.sum() < len(unsure)
    length = np.where(unsure, 0.05, 0.1)[:, None, None, None]
    expected = np.clip(IMAGES - length * np.sign(slope), 0, 1)
    found = make("atld+", unsure=(low, high)).transform(IMAGES)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_transform():
    np.testing.assert_array_equal(make("atld-")(IMAGES), NET(IMAGES))


def test_what_an_attack_sees():
    inside = np.clip(IMAGES, 0.2, 0.8)  # so that nothing is clipped
    found = {}
    for backward in ("bpda", "smooth", "none"):
        model = make(backward=backward)
        np.testing.assert_allclose(model(inside), make()(inside), atol=1e-5)
        images = tf.constant(inside)
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = losses.cross_entropy(LABELS, model(images))
        found[backward] = tape.gradient(loss, images)
    assert found["none"] is None
    moved = tf.constant(make().transform(inside))
    with tf.GradientTape() as tape:
        tape.watch(moved)
        loss = losses.cross_entropy(LABELS, NET(moved))
    np.testing.assert_allclose(found["bpda"], tape.gradient(loss, moved), atol=1e-6)
    assert np.abs(found["smooth"] - found["bpda"]).max() > 1e-4


@pytest.mark.parametrize("form", ["atld", "atld+"])
@pytest.mark.parametrize("export", [InferenceTransform.export, export_saved_model])
def test_saved_and_served(form, export, tmp_path):
    model = make(form)
    model.save(tmp_path / "imt.keras")
    again = keras.models.load_model(tmp_path / "imt.keras")
    np.testing.assert_allclose(again(IMAGES), model(IMAGES), atol=1e-6)
    assert again.form == form and again.epsilon == 0.1
    model.predict(IMAGES, verbose=0)
    export(model, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    np.testing.assert_allclose(
        served(images=tf.constant(IMAGES[:5]))["logits"], model(IMAGES[:5]), atol=1e-5
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"form": "atld++"}, "Did you mean 'atld"),
        ({"backward": "bdpa"}, "Did you mean 'bpda'"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_epsilon_in_units_of_255():
    with pytest.raises(ValueError, match="Did you mean 8/255"):
        InferenceTransform(NET, DISCRIMINATOR, epsilon=8)


@pytest.mark.parametrize(
    "name, value", [("form", "ATLD+"), ("backward", "identity"), ("epsilon", 8.0)]
)
def test_what_is_set_later_is_checked_too(name, value):
    transform = make()
    with pytest.raises(ValueError):
        setattr(transform, name, value)
    assert getattr(transform, name) == {"form": "atld", "backward": "bpda", "epsilon": 0.1}[name]
