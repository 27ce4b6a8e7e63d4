"""Several classifiers in one report folder: each gets its own figures, and the same one again its
progress.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks, evaluation
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.classifier import as_classifier
from rlfat_tf.evaluation.recognition import KnownClassifiers
from tests import reference

IMAGES, _, _ = reference.images_and_labels(30, seed=1)
NET, OTHER = reference.keras_net(seed=4), reference.keras_net(seed=9)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
FACTOR = tf.Variable(1.0)
MATRIX = np.linalg.pinv(IMAGES.reshape(30, 60)) @ np.eye(3, dtype=np.float32)[LABELS]


def scaled(factor):
    """The weights of NET, and its logits times a factor."""
    inner = reference.keras_net(seed=4)
    outputs = keras.layers.Rescaling(factor, dtype="float32")(inner.outputs[0])
    return keras.Model(inner.inputs, outputs, name="net")


def in_numpy(matrix):
    def logits_fn(images):
        scores = tf.numpy_function(lambda x: x.reshape(-1, 60) @ matrix, [images], tf.float32)
        return tf.ensure_shape(scores, [None, 3])

    return logits_fn


@tf.custom_gradient
def masked(images):
    return tf.identity(images), tf.zeros_like


def of_factor(value):
    FACTOR.assign(value)
    return lambda images: NET(images) + FACTOR * OTHER(images)


PAIRS = {
    "same weights": (lambda: scaled(-1.0), lambda: scaled(1.0)),
    "lambdas": (lambda: lambda x: NET(x), lambda: lambda x: OTHER(x)),
    "ensembles": (
        lambda: lambda x: (NET(x) + OTHER(x)) / 2,
        lambda: lambda x: (NET(x) + 3 * OTHER(x)) / 4,
    ),
    "a variable": (lambda: of_factor(0.0), lambda: of_factor(1.0)),
    "in NumPy": (lambda: in_numpy(MATRIX), lambda: in_numpy(-MATRIX)),
    "gradients": (lambda: lambda x: NET(masked(x)), lambda: lambda x: NET(x)),
    "noise": (
        lambda: lambda x: NET(x + tf.random.normal(tf.shape(x), 0, 0.01)),
        lambda: lambda x: OTHER(x + tf.random.normal(tf.shape(x), 0, 0.01)),
    ),
}


def figures(model, folder):
    chosen = {"attacks": "fgsm"}
    if "numpy" in getattr(model, "__qualname__", ""):
        chosen = {"attacks": "square", "budget": 0.004}
    settings = {"epsilon": 0.3, "report_dir": folder, "checked": False, **chosen}
    report = evaluation.evaluate(model, (IMAGES, LABELS), **settings)
    (attack,) = report["attacks"].values()
    return report["clean_accuracy"], report["worst_case_accuracy"], attack["seconds"]


def directly(model):
    """Clean and robust accuracy, without a report; of a classifier in NumPy by a report."""
    if "numpy" in getattr(model, "__qualname__", ""):
        return figures(model, None)[:2]
    logits_fn = as_classifier(model).logits_fn
    clean = np.argmax(logits_fn(tf.constant(IMAGES)), -1) == LABELS
    found = attacks.FGSM(epsilon=0.3)(logits_fn, IMAGES, LABELS)
    return clean.mean(), (clean & (np.argmax(logits_fn(found), -1) == LABELS)).mean()


@pytest.mark.parametrize("name", PAIRS)
def test_each_classifier_gets_its_own_figures(name, tmp_path):
    expected = np.array([directly(make()) for make in PAIRS[name]])
    found = np.array([figures(make(), tmp_path) for make in PAIRS[name]])
    assert np.abs(expected[0] - expected[1]).max() > 0.2
    np.testing.assert_allclose(found[:, :2], expected, atol=0.1 if name == "noise" else 1e-9)
    again = np.array([figures(make(), tmp_path) for make in PAIRS[name]])
    np.testing.assert_array_equal(again, found, "nothing is run twice, so seconds are equal too")


def source(net):
    return dataclasses.replace(as_classifier(net), name="source")


def test_each_source_of_a_transfer_gets_its_own_figures(tmp_path):
    def robust(net):
        attack = attacks.Transfer(attack=attacks.FGSM(epsilon=0.4), source=source(net))
        report = evaluation.evaluate(
            NET, (IMAGES, LABELS), attacks={"transfer": attack}, report_dir=tmp_path, checked=False
        )
        return report["worst_case_accuracy"], report["attacks"]["transfer"]["seconds"]

    own, other = robust(NET), robust(OTHER)
    assert own[0] < other[0] - 0.1
    assert (robust(NET), robust(OTHER)) == (own, other)


def test_data_labels_and_seed_belong_to_an_evaluation(tmp_path):
    turned = IMAGES[::-1].copy()
    share = float((np.argmax(NET(turned), -1) == LABELS).mean())
    for images, labels, accuracy in (
        (IMAGES, LABELS, 1.0),
        (IMAGES, (LABELS + 1) % 3, 0.0),
        (turned, LABELS, share),
    ):
        report = evaluation.evaluate(
            NET, (images, labels), attacks="", report_dir=tmp_path, checked=False
        )
        assert report["clean_accuracy"] == pytest.approx(accuracy)


def test_a_classifier_that_draws_keeps_its_name_and_its_noise(tmp_path):
    def noisy(deviation, net=NET):
        deviation = tf.Variable(deviation, dtype=tf.float64)  # one graph for all

        def draw(images):
            noise = deviation.numpy() * np.random.normal(size=images.shape)
            return (images + noise).astype(np.float32)

        def logits_fn(images):
            drawn = tf.numpy_function(draw, [images], tf.float32)
            return net(tf.ensure_shape(drawn, images.shape))

        return as_classifier(logits_fn)

    known = KnownClassifiers(tmp_path, IMAGES)
    names = [known.name_of(noisy(deviation)) for deviation in (0.05, 0.05, 0.5, 0.05, 0.5)]
    assert names[0] == names[1] == names[3] and names[2] == names[4] != names[0]
    assert known.name_of(noisy(0.05, OTHER)) not in names


def test_rounding_is_no_difference(tmp_path):
    known = KnownClassifiers(tmp_path, IMAGES)
    rounding = tf.Variable(np.zeros(3), dtype=tf.float64)

    def logits_fn(images):
        added = tf.numpy_function(lambda: rounding.numpy().astype("f"), [], tf.float32)
        return NET(images) + tf.ensure_shape(added, [3])

    names = []
    for size in (0, 1e-6, 1e-2):
        rounding.assign([size, -size, size])
        names.append(known.name_of(as_classifier(lambda x: logits_fn(x))))
    assert names[0] == names[1] != names[2]


def test_the_name_is_the_same_however_a_network_is_made(tmp_path):
    known = KnownClassifiers(tmp_path, IMAGES)
    name = known.name_of(as_classifier(NET))
    keras.layers.Dense(3)  # so that the names of layers count on
    assert known.name_of(as_classifier(reference.keras_net(seed=4))) == name
    assert KnownClassifiers(tmp_path, IMAGES).name_of(as_classifier(lambda x: NET(x))) == name
    assert known.name_of(as_classifier(OTHER)) != name
