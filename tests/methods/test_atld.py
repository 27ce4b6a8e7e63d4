"""ATLD: example, objective, scale rule and discriminator updates against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import ATLD, attacks
from rlfat_tf.core import compat, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.models.discriminator import latent_discriminator
from tests import reference

IMAGES, ADVERSARIAL, LABELS = reference.images_and_labels(6, seed=2)
EPSILON = 0.1


def small_discriminator(dtype="float64"):
    """Two linear heads: simple enough for NumPy."""
    with compat.dtype_policy(dtype):
        inputs = keras.Input((3,))
        heads = [keras.layers.Dense(1)(inputs), keras.layers.Dense(3)(inputs)]
        model = keras.Model(inputs, heads)
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def softplus(x):
    return np.logaddexp(0, x)


def make(**arguments):
    model = reference.keras_net(dtype="float64", seed=1)
    robust = ATLD(model, discriminator=small_discriminator(), epsilon=EPSILON, **arguments)
    return robust, reference.Net(model)


def outcome(robust):
    with tf.GradientTape() as tape:
        images = [tf.constant(x, tf.float64) for x in (IMAGES, ADVERSARIAL)]
        result = robust.batch_objective(*images, LABELS, random.as_seed(0), training=True)
        loss = tf.reduce_mean(result.loss)
    return result, tape.gradient(loss, robust.model.trainable_variables)


def test_objective_and_scale_rule_of_the_authors_code():
    robust, net = make(divergence_weight=0.4)
    smoothed = reference.smooth(LABELS, 0.5)
    clean = net.forward(IMAGES)[0]
    there, cache = net.forward(ADVERSARIAL)
    ce, d_ce = reference.cross_entropy(smoothed, there)
    distance, d_distance = ((there - clean) ** 2).mean(-1), 2 * (there - clean) / 3
    slopes = [net.backward(cache, d)[1].max() for d in (d_ce, d_distance)]
    scale = slopes[0] / slopes[1]
    result, gradients = outcome(robust)
    np.testing.assert_allclose(result.terms["adv_loss"], ce, rtol=1e-6)
    np.testing.assert_allclose(result.terms["divergence_loss"], scale * distance, rtol=1e-6)
    np.testing.assert_allclose(result.loss, ce + 0.4 * scale * distance, rtol=1e-6)

    def mean():
        """The scale and the clean logits are constants."""
        logits = net.forward(ADVERSARIAL)[0]
        loss = reference.cross_entropy(smoothed, logits)[0]
        return (loss + 0.4 * scale * ((logits - clean) ** 2).mean(-1)).mean()

    for ours, theirs in zip(gradients, reference.numeric_gradients(mean, net)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * np.abs(theirs).max())


def test_the_game_that_the_paper_prints():
    robust, net = make(divergence_weight=0.4, objective_form="game")
    w, b = (np.asarray(x, np.float64) for x in robust.discriminator.get_weights()[:2])

    def mean():
        clean, there = (net.forward(x)[0] for x in (IMAGES, ADVERSARIAL))
        ce = reference.cross_entropy(reference.smooth(LABELS, 0.5), there)[0]
        evaluated = softplus(-(clean @ w + b)[:, 0]) + softplus((there @ w + b)[:, 0])
        return (ce - 0.4 * evaluated).mean()

    result, gradients = outcome(robust)
    assert float(tf.reduce_mean(result.loss)) == pytest.approx(mean(), rel=1e-6)
    for ours, theirs in zip(gradients, reference.numeric_gradients(mean, net)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * np.abs(theirs).max())


def test_the_example_is_one_step_that_makes_it_easier_to_tell():
    model = reference.keras_net(seed=1)
    net = reference.Net(model)
    robust = ATLD(model, discriminator=small_discriminator("float32"), epsilon=EPSILON)
    seed = random.as_seed(3)
    found = robust.adversarial_examples(tf.constant(IMAGES), LABELS, seed).numpy()
    start = IMAGES + norms.get("linf").random_start(IMAGES, 0.1, "uniform", seed).numpy()
    w, b = (np.asarray(x, np.float64) for x in robust.discriminator.get_weights()[:2])
    logits, cache = net.forward(start)
    evaluated = logits @ w + b
    d_logits = 1 / (1 + np.exp(-evaluated)) * w.T  # of BCE(D, 0) = softplus(evaluated)
    slope = net.backward(cache, d_logits)[1].reshape(IMAGES.shape)
    expected = np.clip(start - 0.1 * np.sign(slope), IMAGES - 0.1, IMAGES + 0.1)
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-6)


def test_the_discriminator_takes_its_own_steps():
    robust, net = make(discriminator_steps=2, discriminator_learning_rate=0.05)
    robust.compile(optimizer="sgd")
    result, _ = outcome(robust)
    weights = [np.asarray(w, np.float64) for w in robust.discriminator.get_weights()]
    latents = np.concatenate([net.forward(IMAGES)[0], net.forward(ADVERSARIAL)[0]])
    natural = np.repeat([1.0, 0.0], 6)[:, None]
    smoothed = np.tile(reference.smooth(LABELS, 0.5), (2, 1))
    velocity = [np.zeros_like(w) for w in weights]
    for _ in range(2):
        w, b, v, c = weights
        d_natural = (1 / (1 + np.exp(-(latents @ w + b))) - natural) / 6
        d_classes = reference.cross_entropy(smoothed, latents @ v + c)[1] / 6
        gradients = [latents.T @ d_natural, d_natural.sum(0), latents.T @ d_classes]
        gradients.append(d_classes.sum(0))
        gradients = [g + 2e-4 * x for g, x in zip(gradients, weights)]
        velocity = [0.9 * m - 0.05 * g for m, g in zip(velocity, gradients)]
        weights = [x + m for x, m in zip(weights, velocity)]
    robust.after_update(result, tf.constant(LABELS))
    for ours, theirs in zip(robust.discriminator.get_weights(), weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_the_released_discriminator():
    model = latent_discriminator(num_classes=10)
    natural, classes = model(np.zeros((2, 10), np.float32))
    assert natural.shape == (2, 1) and classes.shape == (2, 10)
    kernels = [w for w in model.trainable_weights if len(w.shape) == 2]
    # stem, 3 stages of 4 units of 2 layers, 3 shortcuts, 2 heads: WRN-28-5 at one pixel
    assert len(kernels) == 1 + 24 + 3 + 2
    assert {tuple(w.shape)[1] for w in kernels} == {16, 80, 160, 320, 1, 10}


def test_one_step_of_fit_trains_both_and_reports_them(tmp_path):
    with compat.dtype_policy("float32"):
        model = reference.keras_net(seed=1, batch_norm=True)
    robust = ATLD(
        model,
        discriminator=latent_discriminator(num_classes=3, widths=(8,), units_per_stage=1),
        epsilon=EPSILON,
    )
    robust.compile(optimizer=keras.optimizers.SGD(0.05), metrics=["accuracy"])
    before = [w.copy() for w in robust.discriminator.get_weights()]
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(6)
    history = robust.fit(data, validation_data=data, verbose=0).history
    assert {"adv_loss", "divergence_loss", "discriminator_loss", "val_adv_accuracy"} <= set(history)
    assert any(not np.array_equal(a, b) for a, b in zip(before, robust.discriminator.get_weights()))
    kinds = [*compat.variables_of(model), *compat.variables_of(robust.discriminator)]
    assert len(robust.state) > len(kinds)
    robust.save(tmp_path / "atld.keras")
    again = keras.models.load_model(tmp_path / "atld.keras")
    for one, other in zip(robust.discriminator.get_weights(), again.discriminator.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert again.get_config()["divergence_weight"] == 0.5


def test_arguments():
    with pytest.raises(ValueError, match="Did you mean 'game'"):
        ATLD(reference.keras_net(), objective_form="gaem")
    with pytest.raises(ValueError, match="ATLD has no attack of training: .* Use eval_attack"):
        make(attack=attacks.LinfPGD())


def test_the_radius_is_one_of_its_own():
    robust, _ = make()
    assert robust.attack is None and robust.eval_attack == attacks.LinfPGD(epsilon=0.1)
    assert robust.perturbation == "ATLD(epsilon=0.1)"
    config = robust.get_config()
    assert config["attack"] is None and config["epsilon"] == 0.1
    del config["epsilon"]  # as 0.1 wrote it
    old = attacks.FeatureScatter(epsilon=0.05)
    config["attack"] = keras.saving.serialize_keras_object(old)
    assert ATLD.from_config(config).epsilon == 0.05
