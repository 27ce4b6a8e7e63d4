"""Feature Scattering: its attack and its objective against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import FeatureScattering, attacks
from rlfat_tf.core import norms, random
from rlfat_tf.core.compat import keras
from tests import reference
from tests.core.test_transport import numpy_cost, numpy_plan

IMAGES, ADVERSARIAL, LABELS = reference.images_and_labels(6, seed=2)


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-5), ("float32", 2e-3)])
@pytest.mark.parametrize("smoothing, delta", [(None, 0.5), (0.3, 0.2), (0.0, 0.0)])
def test_loss_and_gradient(dtype, rtol, smoothing, delta):
    """Of the smoothing s of three classes, 2 / 3 are the wrong ones'; the paper's code says 0.5."""
    model = reference.keras_net(dtype=dtype, seed=1)
    net = reference.Net(model)
    robust = FeatureScattering(model, label_smoothing=smoothing)
    with tf.GradientTape() as tape:
        images = [tf.constant(x, dtype) for x in (IMAGES, ADVERSARIAL)]
        result = robust.batch_objective(*images, LABELS, random.as_seed(0), training=True)
        loss = tf.reduce_mean(result.loss)

    def expected():
        logits = net.forward(ADVERSARIAL)[0]
        return reference.cross_entropy(reference.smooth(LABELS, delta), logits)[0]

    np.testing.assert_allclose(result.loss, expected(), rtol=1e-6 if dtype == "float64" else 1e-4)
    numeric = reference.numeric_gradients(lambda: expected().mean(), net)
    for ours, theirs in zip(tape.gradient(loss, model.trainable_variables), numeric):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


def test_the_attack_is_one_step_up_the_transport_distance():
    epsilon = 0.05
    attack = attacks.FeatureScatter(epsilon=epsilon, regularization=0.2, iterations=4)
    model = reference.keras_net(dtype="float64", seed=1)
    net = reference.Net(model)
    seed = random.as_seed(3)
    start = IMAGES + norms.get("linf").random_start(IMAGES, epsilon, "uniform", seed).numpy()
    clean = net.forward(IMAGES)[0]

    def distance(images):
        cost = numpy_cost(clean, net.forward(images)[0])
        return (numpy_plan(cost, 0.2, 4) * cost).sum()

    found = attack(lambda x: model(tf.cast(x, tf.float64)), IMAGES, LABELS, seed=seed).numpy()
    rng = np.random.default_rng(0)
    checked = 0
    for index in zip(*(rng.integers(0, size, 60) for size in IMAGES.shape)):
        moved = np.zeros(IMAGES.shape)
        moved[index] = 1e-4
        slope = distance(start + moved) - distance(start - moved)
        if abs(slope) < 1e-9:
            continue
        x = IMAGES[index]
        expected = np.clip(start[index] + epsilon * np.sign(slope), x - epsilon, x + epsilon)
        assert found[index] == pytest.approx(np.clip(expected, 0, 1), abs=1e-6)
        checked += 1
    assert checked > 30
    assert np.abs(found - IMAGES).max() <= epsilon + 1e-6
    again = attack(lambda x: model(tf.cast(x, tf.float64)), IMAGES, 1 - LABELS, seed=seed)
    np.testing.assert_array_equal(again, found)  # labels are not read


def test_defaults_and_configuration():
    robust = FeatureScattering(reference.keras_net())
    assert robust.attack == attacks.FeatureScatter(epsilon=8 / 255)
    assert robust.eval_attack == attacks.LinfPGD(epsilon=8 / 255)
    packed = keras.saving.serialize_keras_object(robust)
    again = keras.saving.deserialize_keras_object(packed)
    assert again.attack == robust.attack and again.label_smoothing is None
    described = attacks.LinfPGD(epsilon=0.1, steps=7)
    assert FeatureScattering.attacks_of_flags(described)["attack"].epsilon == 0.1


def test_smoothing_is_a_probability():
    with pytest.raises(ValueError, match=r"label_smoothing in \[0, 1\)"):
        FeatureScattering(reference.keras_net(), label_smoothing=1.0)
