"""What the values of examples and logits must be: what was expected, what came, what to do."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import checks

IMAGES = np.linspace(0, 1, 4 * 5 * 5 * 1, dtype=np.float32).reshape(4, 5, 5, 1)
LABELS = np.array([0, 2, 1, 2])


def spec(shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.float64), np.eye(3)[LABELS]])
def test_examples_that_are_fine(labels):
    np.testing.assert_array_equal(checks.checked_images(IMAGES), IMAGES)
    np.testing.assert_array_equal(checks.checked_labels(labels, 3), labels)


VALUES = {
    "0 to 255": (lambda: checks.checked_images(255 * IMAGES), "received values from 0 to 255"),
    "-1 to 1": (lambda: checks.checked_images(2 * IMAGES - 1), "received values from -1 to 1"),
    "NaN": (lambda: checks.checked_images(np.nan * IMAGES), "received pixels that are NaN"),
    "from 1": (lambda: checks.checked_labels(LABELS + 1, 3), "0 ... 2, .* values from 1 to 3"),
    "below": (lambda: checks.checked_labels(LABELS - 1.0, 3), "0 ... 2, .* from -1 to 1"),
    "fractions": (lambda: checks.checked_labels(LABELS + [0, 0, 2.7, 0], 5), "received 3.7"),
    "NaN labels": (lambda: checks.checked_labels(LABELS * np.nan), "whole numbers.* received nan"),
    "softmax": (
        lambda: checks.checked_logits(tf.nn.softmax(np.eye(4)), "The model 'a'"),
        "The model 'a' ends in a softmax, but logits are needed",
    ),
}


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize(("check", "message"), VALUES.values(), ids=VALUES)
def test_values_that_stop_who_reads_them(check, message, graph):
    with pytest.raises(ValueError, match=f"{message}[^\n]*$"), checks.in_words():
        tf.function(check)() if graph else check()


def test_other_errors_keep_their_words():
    with pytest.raises(tf.errors.InvalidArgumentError), checks.in_words():
        tf.debugging.assert_equal(1, 2, message="of the user")


LOGITS = {
    "a batch of maps": ([None, 1, 1, 7], r"has shape \(None, 1, 1, 7\). End the model in Flatten"),
    "maps": ([None, 4, 4, 7], "End the model in GlobalAveragePooling2D"),
    "a vector": ([None], r"shape \[batch, classes\]; the output of The net"),
    "no shape": (None, r"tf.ensure_shape\(logits, \[None, classes\]\)"),
    "no classes": ([None, None], "tf.ensure_shape"),
    "one sigmoid": ([None, 1], r"has one output, but a logit for each .*Dense\(2\)"),
}


@pytest.mark.parametrize(("shape", "message"), LOGITS.values(), ids=LOGITS)
def test_what_cannot_be_logits(shape, message):
    with pytest.raises(ValueError, match=message):
        checks.check_logits(spec(shape), "The net")
    checks.check_logits(spec([None, 2]), "The net")


def test_the_logits_among_outputs():
    for output in (IMAGES, [IMAGES], {"any": IMAGES}, {"logits": IMAGES, "features": 0}):
        assert checks.logits_in(output) is IMAGES
    with pytest.raises(ValueError, match="received 2 outputs. .* keras.Model"):
        checks.logits_in((IMAGES, IMAGES))
    with pytest.raises(ValueError, match=r"received the entries \['a', 'b'\]"):
        checks.logits_in({"b": IMAGES, "a": IMAGES})
