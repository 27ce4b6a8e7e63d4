"""LSP: the three readings against NumPy, one example at a time."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import LSP, PGDAT, GradAlign, Standard, attacks
from rlfat_tf.core import compat, random
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.steps import METHOD_DRAW
from tests import reference

IMAGES, ADVERSARIAL, LABELS = reference.images_and_labels(7, seed=2)
SEED = random.as_seed(4)


def embedding(net, images):
    """The hidden layer of the reference net."""
    return net.forward(images)[1][3]


def square(a, b):
    return ((a - b) ** 2).sum()


def nearest(x, i, k):
    others = sorted((square(x[i], x[j]), j) for j in range(len(x)) if j != i)
    return [j for _, j in others[:k]]


def neighborhood(x, z, x_near, z_near, k, t=None):
    """KL over the k nearest and the near point; t, the embedding's scales, may be given."""
    values, scales = [], []
    for i in range(len(x)):
        chosen = nearest(x, i, k)
        d = np.array([square(x[i], x[j]) for j in chosen] + [square(x[i], x_near[i])])
        e = np.array([square(z[i], z[j]) for j in chosen] + [square(z[i], z_near[i])])
        scales.append(e.mean())
        log_p = reference.log_softmax(-d[None] / d.mean())[0]
        log_q = reference.log_softmax(-e[None] / (e.mean() if t is None else t[i]))[0]
        values.append((np.exp(log_p) * (log_p - log_q)).sum())
    return np.array(values), scales


def laplacian(x, z, labels, k):
    values = []
    for i in range(len(x)):
        chosen = nearest(x, i, k)
        d = np.array([square(x[i], x[j]) for j in chosen])
        weights = np.exp(-d / d.mean()) * (labels[chosen] == labels[i])
        e = np.array([square(z[i], z[j]) for j in chosen])
        values.append((weights * e).sum() / weights.sum() if weights.sum() else 0.0)
    return np.array(values)


def relative(x, z, x_near, z_near):
    values = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        inside = np.mean([square(x[i], x[j]) ** 0.5 for j in others])
        embedded = np.mean([square(z[i], z[j]) ** 0.5 for j in others])
        ratio = square(z_near[i], z[i]) ** 0.5 / embedded
        values.append((ratio - square(x_near[i], x[i]) ** 0.5 / inside) ** 2)
    return np.array(values)


def flat(images):
    return images.reshape(len(images), -1).astype(np.float64)


def outcome(robust):
    with tf.GradientTape() as tape:
        images = [tf.constant(x, tf.float64) for x in (IMAGES, ADVERSARIAL)]
        if robust.attack is None:
            images[1] = None
        result = robust.batch_objective(*images, LABELS, SEED, training=True)
        loss = tf.reduce_mean(result.loss)
    return result, tape.gradient(loss, robust.model.trainable_variables)


@pytest.mark.parametrize("reading", ["neighborhood", "laplacian", "relative"])
def test_value_and_gradient_beside_an_adversarial_method(reading):
    model = reference.keras_net(dtype="float64", seed=1)
    net = reference.Net(model)
    lsp = LSP(weight=0.7, neighbors=3, reading=reading)
    robust = PGDAT(model, attack=attacks.LinfPGD(epsilon=0.1, steps=1), regularizer=lsp)
    result, gradients = outcome(robust)
    x, x_near = flat(IMAGES), flat(ADVERSARIAL)
    _, scales = neighborhood(x, embedding(net, IMAGES), x_near, embedding(net, ADVERSARIAL), 3)

    def term():
        z, z_near = embedding(net, IMAGES), embedding(net, ADVERSARIAL)
        return {
            "neighborhood": lambda: neighborhood(x, z, x_near, z_near, 3, scales)[0],
            "laplacian": lambda: laplacian(x, z, LABELS, 3),
            "relative": lambda: relative(x, z, x_near, z_near),
        }[reading]()

    def mean():
        loss = reference.cross_entropy(LABELS, net.forward(ADVERSARIAL)[0])[0]
        return (loss + 0.7 * term()).mean()

    np.testing.assert_allclose(result.terms["lsp_loss"], term(), rtol=1e-6, atol=1e-12)
    assert np.max(result.terms["lsp_loss"]) > 0
    for ours, theirs in zip(gradients, reference.numeric_gradients(mean, net)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_without_an_adversary_the_near_point_is_drawn():
    model = reference.keras_net(dtype="float64", seed=1)
    net = reference.Net(model)
    lsp = LSP(weight=0.7, reading="relative", epsilon=0.1)
    result, _ = outcome(Standard(model, regularizer=lsp))
    noise = random.uniform(SEED.fold(METHOD_DRAW), IMAGES.shape, -0.1, 0.1).numpy()
    near = np.clip(IMAGES + noise, 0, 1)
    expected = relative(flat(IMAGES), embedding(net, IMAGES), flat(near), embedding(net, near))
    np.testing.assert_allclose(result.terms["lsp_loss"], expected, rtol=1e-4)


def test_more_neighbours_than_the_batch_holds():
    model = reference.keras_net(dtype="float64", seed=1)
    many, all_others = (
        outcome(Standard(model, regularizer=LSP(neighbors=k, reading="laplacian")))[0]
        for k in (50, 6)
    )
    np.testing.assert_allclose(many.loss, all_others.loss)


@pytest.mark.parametrize("reading", ["neighborhood", "laplacian", "relative"])
@pytest.mark.parametrize("count", [1, 0])
def test_an_example_without_others_has_no_structure(reading, count):
    """So are remainders of a batch, and replicas that got one example or none."""
    model = reference.keras_net(dtype="float64", seed=1)
    robust = PGDAT(model, attack=attacks.FGSM(epsilon=0.1), regularizer=LSP(reading=reading))
    images = [tf.constant(x[:count], tf.float64) for x in (IMAGES, ADVERSARIAL)]
    with tf.GradientTape() as tape:
        result = robust.batch_objective(*images, LABELS[:count], SEED, training=True)
        loss = tf.reduce_sum(result.loss)
    np.testing.assert_array_equal(result.terms["lsp_loss"], np.zeros(count))
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.isfinite(gradient).all()


def test_the_embedding_is_what_feeds_the_logits_or_the_layer_that_is_named():
    model = reference.keras_net(dtype="float64", seed=1)
    net = reference.Net(model)
    np.testing.assert_allclose(LSP().embedding(model)(IMAGES), embedding(net, IMAGES), rtol=1e-6)
    first = next(layer.name for layer in model.layers if "dense" in layer.name)
    named = LSP(layer=first).embedding(model)(IMAGES)
    np.testing.assert_allclose(named, flat(IMAGES) @ net.w1 + net.b1, rtol=1e-5)
    with pytest.raises(ValueError, match="Unknown layer 'dens'"):
        Standard(model, regularizer=LSP(layer="dens"))


def test_a_model_whose_layers_cannot_be_seen():
    class Hidden(keras.Model):
        def call(self, inputs, training=None):
            return inputs

    with pytest.raises(ValueError, match="functional or Sequential"):
        compat.part_of(Hidden())


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"reading": "neighbourhood"}, "Did you mean 'neighborhood'"),
        ({"weight": -1}, "weight to be a finite number of at least 0"),
        ({"neighbors": 0}, "neighbors to be an integer of at least 1"),
        ({"epsilon": 8}, r"Did you mean 8/255"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        LSP(**arguments)


def test_several_terms_go_with_one_method():
    model = reference.keras_net(dtype="float64", seed=1)
    lsp, align = LSP(weight=0.7, neighbors=3), GradAlign(weight=0.3)
    both, plain = (
        outcome(PGDAT(model, attack=attacks.LinfPGD(epsilon=0.1), regularizer=terms))[0]
        for terms in ([lsp, align], None)
    )
    expected = plain.loss + 0.7 * both.terms["lsp_loss"] + 0.3 * both.terms["grad_align_loss"]
    np.testing.assert_allclose(both.loss, expected, rtol=1e-6)
    robust = Standard(reference.keras_net(), regularizer=[lsp, align])
    assert robust.terms == ("clean_loss", "lsp_loss", "grad_align_loss")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(robust))
    assert again.regularizers == (lsp, align)
    robust.regularizer = []
    assert robust.regularizer is None and robust.terms == ("clean_loss",)
    with pytest.raises(ValueError, match="Expected every regulariser once"):
        robust.regularizer = [lsp, lsp.replace(weight=2.0)]


def test_saved_with_its_method():
    robust = Standard(reference.keras_net(), regularizer=LSP(weight=0.2, layer=None, neighbors=4))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(robust))
    assert again.regularizer.get_config() == robust.regularizer.get_config()
    assert again.terms == ("clean_loss", "lsp_loss")
