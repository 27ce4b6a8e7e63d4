"""What every attack checks of what it is called with."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.core.compat import keras
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(8, seed=1)
PGD = attacks.LinfPGD(epsilon=0.1, steps=3)


@pytest.fixture(scope="module")
def net():
    return reference.keras_net(seed=4)


@pytest.mark.parametrize("attack", [PGD, attacks.Square(epsilon=0.1, queries=2)])
def test_values_out_of_range_stop_a_graph(net, attack):
    call = tf.function(lambda x, y, **checked: attack(net, x, y, **checked))

    def run(_, images, labels, **checked):
        return call(tf.constant(images, tf.float32), labels, **checked)

    for images, seen in ((IMAGES * 255, "25"), (IMAGES * 2 - 1, "-"), (IMAGES * np.nan, "nan")):
        message = rf"(?s)images in \[0, 1\] \(divide 8-bit images by 255.*values from.*{seen}"
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            run(net, images, LABELS)
        assert run(net, images, LABELS, checked=True).shape == images.shape
    for labels in (LABELS + 3, LABELS - 9, LABELS.astype(np.int64) + 2**32, LABELS + 1e10):
        with pytest.raises(tf.errors.InvalidArgumentError, match="label.*values? .*valid|0 ... 2"):
            run(net, IMAGES, labels)


@pytest.mark.parametrize("name", ["pgd", "mim", "apgd", "fab_t"])
def test_a_model_without_a_gradient_is_named(net, name):
    with pytest.raises(ValueError, match="there is none.*differentiable.*Square, SPSA, NAttack"):
        attacks.ATTACKS[name]()(lambda images: net(tf.round(images)), IMAGES, LABELS)


def test_logits_in_a_dictionary(net):
    attack = PGD
    expected = attack(net, IMAGES, LABELS)
    for entries in (("logits", "probabilities"), ("anything",)):
        found = attack(lambda x: dict.fromkeys(entries, net(x)), IMAGES, LABELS)  # noqa: B023
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match=r"entry 'logits' .* received the entries \['a', 'b'\]"):
        attack(lambda x: {"a": net(x), "b": net(x)}, IMAGES, LABELS)


def test_a_keras_model_is_attacked_in_inference(net):
    class ByDefaultInTraining(keras.Model):
        def __init__(self):
            super().__init__()
            self.dropout, self.net = keras.layers.Dropout(0.9), net

        def call(self, images, training=True):
            return self.net(self.dropout(images, training=training))

    found = PGD(ByDefaultInTraining(), IMAGES, LABELS)
    np.testing.assert_array_equal(found, PGD(net, IMAGES, LABELS))


@pytest.mark.parametrize("how", [tf.function, lambda call: call])
def test_gradients_that_float16_would_lose(how):
    """Of sure classifiers; the least that float16 knows is 6e-8."""

    def classifier(images, dtype=tf.float32):
        kernel = tf.cast(np.linspace(-1, 1, 180).reshape(60, 3), dtype)
        logits = tf.cast(tf.reshape(images, [-1, 60]), dtype) @ kernel
        return tf.cast(logits, tf.float32) + np.float32([40, 0, 0])

    zeros = np.zeros(len(IMAGES), np.int32)
    found, expected = (
        how(lambda x, y, dtype=dtype: PGD(lambda z: classifier(z, dtype), x, y))(IMAGES, zeros)
        for dtype in (tf.float16, tf.float32)
    )
    assert np.abs(expected - IMAGES).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("columns", [2, 4])
@pytest.mark.parametrize("attack", [PGD, attacks.APGD(steps=2), attacks.Square(queries=2)])
def test_one_hot_labels_of_other_classes(net, attack, columns):
    rows = np.eye(columns)[LABELS % columns]
    for labels in (rows, rows.tolist()):
        with pytest.raises(ValueError, match=f"one-hot labels with 3 columns.*received {columns}"):
            attack(net, IMAGES, labels)


def test_a_model_by_hand_that_returns_probabilities(net):
    softmax = keras.Sequential([keras.Input(IMAGES.shape[1:]), net, keras.layers.Softmax()])
    with pytest.raises(ValueError, match="ends in a softmax"):
        PGD(softmax, IMAGES, LABELS)
    one = keras.Sequential([keras.Input(IMAGES.shape[1:]), net, keras.layers.Dense(1)])
    for classifier in (one, one.call):
        with pytest.raises(ValueError, match="one output, but a logit for each class is needed"):
            PGD(classifier, IMAGES, LABELS)


@pytest.mark.parametrize("labels", [LABELS[:1], LABELS[:5], list(LABELS[:5])])
def test_a_label_for_each_image(net, labels):
    with pytest.raises(ValueError, match=f"label for each of 8 images; .* shape .{len(labels)},"):
        PGD(net, IMAGES, labels)
    names = np.array(["cat"] * 8)
    with pytest.raises(ValueError, match="numbers of the classes; received strings"):
        PGD(net, IMAGES, names)
