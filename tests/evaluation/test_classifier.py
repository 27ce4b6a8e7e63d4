"""Keras models, SavedModels and functions behind one face."""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import evaluation
from rlfat_tf.attacks.passes import gradient_of
from rlfat_tf.core import compat, losses
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.classifier import (
    Classifier,
    as_classifier,
    check_alike,
    load_classifier,
)
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(4, seed=1)


@pytest.fixture(scope="module")
def net():
    return reference.keras_net(seed=4, batch_norm=True)


def test_a_keras_model_is_evaluated_as_in_inference(net):
    found = as_classifier(net)
    np.testing.assert_allclose(found.logits_fn(IMAGES), net(IMAGES, training=False))
    assert found.has_gradients(IMAGES)
    assert found.name == net.name
    assert as_classifier(found) is found
    assert tuple(found.image_shape) == reference.SHAPE == tuple(IMAGES.shape[1:])


def test_from_disk(net, tmp_path):
    robust = rlfat_tf.PGDAT(net, attack=rlfat_tf.attacks.LinfPGD(epsilon=0.1, steps=1))
    robust.save(tmp_path / "robust.keras")
    robust.export(str(tmp_path / "served"))
    expected = np.asarray(net(IMAGES, training=False))
    for name in ("robust.keras", "served"):
        found = load_classifier(tmp_path / name)
        np.testing.assert_allclose(found.logits_fn(tf.constant(IMAGES)), expected, atol=1e-5)
        assert found.has_gradients(IMAGES)
        assert found.name == str(tmp_path / name)
        assert tuple(found.image_shape) == reference.SHAPE
    with pytest.raises(FileNotFoundError, match="nothing.keras"):
        load_classifier(tmp_path / "nothing.keras")


def test_an_export_of_the_library_is_evaluated_and_checked(net, tmp_path):
    """Its signature refuses the images in other ranges that the checks try."""
    rlfat_tf.export_saved_model(net, tmp_path / "served")
    images, labels = np.tile(IMAGES, (2, 1, 1, 1)), np.tile(LABELS, 2)
    attack = {"pgd": rlfat_tf.attacks.LinfPGD(epsilon=0.1, steps=2)}
    served, own = (
        evaluation.evaluate(model, (images, labels), attacks=attack)
        for model in (load_classifier(tmp_path / "served"), net)
    )
    assert served["clean_accuracy"] == own["clean_accuracy"]
    assert served["worst_case_accuracy"] == own["worst_case_accuracy"]


def test_a_signature_of_one_batch_size_is_refused(net, tmp_path):
    module = tf.Module()
    module.net = net
    spec = tf.TensorSpec([2, *reference.SHAPE])
    serve = tf.function(lambda images: net(images, training=False), input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    with pytest.raises(ValueError, match="takes 2 at once, neither more nor less. Export .* None"):
        load_classifier(tmp_path)


def test_a_signature_is_a_function_too(net, tmp_path):
    rlfat_tf.export_saved_model(net, tmp_path / "served")
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    found = as_classifier(loaded.signatures["serving_default"])
    expected = np.asarray(net(IMAGES, training=False))
    np.testing.assert_allclose(found.logits_fn(tf.constant(IMAGES)), expected, atol=1e-5)
    assert found.has_gradients(IMAGES)


def test_the_gradient_of_a_saved_model_is_the_models(net, tmp_path):
    rlfat_tf.export_saved_model(net, tmp_path / "served")
    gradients = []
    for classifier in (as_classifier(net), load_classifier(tmp_path / "served")):
        images = tf.constant(IMAGES)
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = rlfat_tf.losses.cross_entropy(LABELS, classifier.logits_fn(images))
        gradients.append(tape.gradient(loss, images))
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-5)


class Foreign(tf.Module):
    """A SavedModel of somebody else: one output, no names of ours."""

    def __init__(self, break_gradients=False, signature=None):
        super().__init__()
        self.weights = tf.Variable(np.random.default_rng(0).normal(size=(60, 3)), dtype=tf.float32)
        self.break_gradients = break_gradients
        spec = signature or tf.TensorSpec([None, *reference.SHAPE], tf.float32, name="pixels")

        def serve(pixels):
            pixels = tf.cast(pixels, tf.float32)
            pixels = tf.round(pixels * 255) / 255 if self.break_gradients else pixels
            flat = tf.reshape(pixels, [-1, 60])
            if self.break_gradients:
                flat = tf.cast(tf.cast(flat * 255, tf.int32), tf.float32) / 255
            return {"scores": tf.matmul(flat, self.weights)}

        self.serve = tf.function(serve, input_signature=[spec])

    def save(self, path):
        tf.saved_model.save(self, str(path), {"serving_default": self.serve})
        return load_classifier(path)


def test_a_foreign_saved_model(tmp_path):
    foreign = Foreign()
    found = foreign.save(tmp_path / "foreign")
    assert found.has_gradients(IMAGES)
    logits = found.logits_fn(tf.constant(IMAGES))
    assert logits.shape == (4, 3)
    np.testing.assert_allclose(logits, IMAGES.reshape(4, 60) @ foreign.weights.numpy(), rtol=1e-5)


def test_a_saved_model_without_gradients_says_so(tmp_path):
    found = Foreign(break_gradients=True).save(tmp_path / "quantised")
    assert not found.has_gradients(IMAGES)
    assert found.logits_fn(tf.constant(IMAGES)).shape == (4, 3)


def test_a_saved_model_that_takes_bytes_is_refused(tmp_path):
    spec = tf.TensorSpec([None, *reference.SHAPE], tf.uint8, name="pixels")
    with pytest.raises(ValueError, match="takes uint8, through which no attack"):
        Foreign(signature=spec).save(tmp_path / "bytes")


def test_what_is_no_classifier():
    with pytest.raises(TypeError, match="received int"):
        as_classifier(3)


def test_a_classifier_of_other_images_is_refused_without_codes_of_colours():
    image = np.zeros((1, 8, 8, 1), np.float32)

    def coloured(images):
        raise ValueError("\x1b[1mException\x1b[0m of \x1b[38;5;9mKeras")

    with pytest.raises(ValueError, match=r"other does not \(Exception of Keras\)\.$"):
        check_alike("a source", Classifier(coloured, "other"), image, 10)
    with pytest.raises(ValueError, match=r"\[8, 8, 1\], .*other takes .*\(None, 9, 1\)\.$"):
        check_alike("a source", Classifier(coloured, "other", (None, 9, 1)), image, 10)


def test_a_softmax_is_not_evaluated_but_the_line_to_write_is_said(net):
    softmax = keras.Sequential([keras.Input(reference.SHAPE), net, keras.layers.Softmax()])
    with pytest.raises(ValueError, match=r"ends in a softmax.*model = rlfat_tf.adapt\(model\)"):
        as_classifier(softmax)
    found = as_classifier(rlfat_tf.adapt(softmax, input="unit")).logits_fn(IMAGES)
    np.testing.assert_allclose(found, net(IMAGES, training=False), rtol=1e-4, atol=1e-5)


def test_a_plain_function():
    found = as_classifier(lambda images: tf.reshape(images, [-1, 60])[:, :3])
    assert found.has_gradients(IMAGES)
    assert not as_classifier(lambda x: tf.stop_gradient(x[:, 0, :3, 0])).has_gradients(IMAGES)


def test_a_model_of_layers_only_is_a_keras_model():
    assert as_classifier(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])).name


@pytest.mark.parametrize("in_graph", [False, True])
def test_gradients_that_float16_would_lose(in_graph):
    """Of a sure classifier: the cross entropy has a gradient of 1e-9 by the logits."""
    nets = {}
    for policy in ("mixed_float16", "float32"):
        with compat.dtype_policy(policy):
            net = keras.Sequential(
                [
                    keras.Input((4, 4, 1)),
                    keras.layers.Flatten(),
                    keras.layers.Dense(3),
                    keras.layers.Activation("linear", dtype="float32"),
                ]
            )
        nets[policy] = net
    kernel = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    images = np.random.default_rng(1).random((5, 4, 4, 1), np.float32)
    labels = tf.zeros(5, tf.int32)
    found = {}
    for policy, net in nets.items():
        net.set_weights([kernel, np.float32([22, 0, 0])])
        logits_fn = evaluation.as_classifier(net).logits_fn

        def gradient(points, logits_fn=logits_fn):
            return gradient_of(logits_fn, lambda z: losses.cross_entropy(labels, z), points)[0]

        found[policy] = (tf.function(gradient) if in_graph else gradient)(tf.constant(images))
    expected = found["float32"].numpy()
    largest = np.abs(expected).max((1, 2, 3), keepdims=True)
    assert 0 < largest.min() < 6e-8  # the least that float16 knows
    np.testing.assert_allclose(found["mixed_float16"] / largest, expected / largest, atol=0.03)


KERNEL = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


def sure(images, dtype):
    """A classifier with a part in another precision, which it does not tell of."""
    flat = tf.cast(tf.reshape(images, [-1, 60]), dtype)
    return tf.cast(flat @ tf.cast(KERNEL, dtype), tf.float32) + np.float32([40, 0, 0])


def classifier_of(form, dtype, folder):
    if form == "function":
        return as_classifier(lambda images: sure(images, dtype))
    if form == "layer":
        image = keras.Input(reference.SHAPE)
        hidden = keras.layers.Lambda(lambda x: sure(x, dtype), output_shape=(3,))
        return as_classifier(keras.Model(image, hidden(image)))
    spec = tf.TensorSpec([None, *reference.SHAPE])
    serve = tf.function(lambda images: sure(images, dtype), input_signature=[spec])
    tf.saved_model.save(tf.Module(), str(folder / dtype.name), signatures=serve)
    return load_classifier(folder / dtype.name)


@pytest.mark.parametrize("form", ["function", "layer", "SavedModel"])
def test_gradients_that_a_hidden_float16_would_lose(form, tmp_path):
    labels, found = tf.zeros(4, tf.int32), {}
    for dtype in (tf.float16, tf.float32):
        logits_fn = classifier_of(form, dtype, tmp_path).logits_fn
        found[dtype] = gradient_of(
            logits_fn, lambda z: losses.cross_entropy(labels, z), tf.constant(IMAGES)
        )[0].numpy()
    largest = np.abs(found[tf.float32]).max((1, 2, 3), keepdims=True)
    assert 0 < largest.min() < 6e-8
    np.testing.assert_allclose(found[tf.float16] / largest, found[tf.float32] / largest, atol=0.03)


def test_of_a_float32_network_nothing_changes(net):
    def plain(images):
        return 9.0 * net(images, training=False)

    attack = rlfat_tf.attacks.LinfPGD(epsilon=0.1, steps=3)
    found, expected = (
        attack(logits_fn, IMAGES, LABELS, seed=0)
        for logits_fn in (as_classifier(plain).logits_fn, plain)
    )
    np.testing.assert_array_equal(found, expected)
    own, theirs = (
        gradient_of(logits_fn, lambda z: losses.cross_entropy(LABELS, z), tf.constant(IMAGES))[0]
        for logits_fn in (as_classifier(plain).logits_fn, plain)
    )
    np.testing.assert_array_equal(own, theirs)


def test_logits_of_float64_have_gradients_too():
    def logits_fn(images):
        return tf.cast(tf.reshape(images, [-1, 60]), tf.float64) @ tf.cast(KERNEL, tf.float64)

    found = gradient_of(as_classifier(logits_fn).logits_fn, lambda z: z[:, 0], tf.constant(IMAGES))[
        0
    ]
    np.testing.assert_array_equal(found, np.tile(KERNEL[:, 0], 4).reshape(IMAGES.shape))
