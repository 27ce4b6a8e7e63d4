"""What the values of examples and logits must be: one set of checks for training and evaluation.

They run eagerly or as operations of a graph, where they stop whoever reads what they return; XLA
drops those of values. What shapes and dtypes must be is in :mod:`rlfat_tf.core.structure`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from rlfat_tf.core import losses
from rlfat_tf.core.structure import check_images_structure, check_labels_structure
from rlfat_tf.core.types import Images, Labels, Logits, Tensor

OUT_OF_RANGE = (
    "Expected images in [0, 1] (divide 8-bit images by 255, put any other scaling inside of the "
    "model); received values from"
)
NOT_A_NUMBER = (
    "Expected images in [0, 1]; received pixels that are NaN. Find them with numpy.isnan(images): "
    "often an image was divided by its own standard deviation or maximum, which was 0."
)
SOFT = (
    "Expected one class for every example, integers or one-hot rows; "
    "received soft label rows, whose greatest entry may be as small as"
)
ONE_LOGIT = (
    "has one output, but a logit for each class is needed. For two classes end in Dense(2), "
    "without a sigmoid, and give labels 0 and 1."
)
SOFTMAX = (
    "ends in a softmax, but logits are needed: attacks on probabilities find no gradient and look "
    "harmless. Write model = rlfat_tf.adapt(model), which cuts it off and keeps the weights "
    "(adapt(model, input='unit') if it takes images in [0, 1] and does not say so); or "
    "build the last layer without an activation. For probabilities apply tf.nn.softmax to the "
    "output of predict, or use export(), whose SavedModel returns both."
)
SQUASHED = (
    "which is one value between two bounds for each class, but logits are needed: attacks find "
    "next to no gradient near the bounds, and the model looks robust. Build the last layer without "
    "an activation. Images of several classes are not supported."
)
CUT_SIGMOID = (
    " If every image has one class, model = rlfat_tf.adapt(model, logits='before_sigmoid') cuts "
    "the sigmoid off and keeps the weights (with input='unit' if it takes images in [0, 1] and "
    "does not say so)."
)
SUMS_TO_ONE = 1e-2  # in bfloat16 probabilities add up to 1 only roughly


def guarded(value: Tensor, condition: Tensor, data: list[Any]) -> Tensor:
    """Returns the value; whoever reads it waits for the check.

    Raises:
        tf.errors.InvalidArgumentError: Eagerly, with the data as its message, if it fails.
    """
    if tf.executing_eagerly():
        if not condition:
            raise tf.errors.InvalidArgumentError(None, None, " ".join(map(_text, data)))
        return value
    guard = tf.debugging.Assert(condition, data)
    with tf.control_dependencies([] if guard is None else [guard]):
        return tf.identity(value)


def _text(part: Any) -> str:
    return part if isinstance(part, str) else f"{part.numpy():g}"


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Raises the sentence of a failed check alone, without TensorFlow's account of its graph.

    Raises:
        ValueError: In place of the error of a check of this library.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        said = re.search(r"assertion failed: \[(.*?)\]\s*(?:\[\[|$)", error.message, re.DOTALL)
        sentence = re.sub(r"\\(['\"])", r"\1", said.group(1)) if said else error.message
        sentence = sentence.replace("] [", " ")
        if sentence.startswith(OUT_OF_RANGE) and "nan" in sentence[len(OUT_OF_RANGE) :]:
            sentence = NOT_A_NUMBER
        if not sentence.startswith(("Expected ", "The model ", "The loss ", "The gradients ")):
            raise
        raise ValueError(sentence) from None


# Examples.


def checked_images(images: Images) -> Images:
    """Returns the images as float32 and stops whoever reads them if they are not in [0, 1].

    Raises:
        ValueError: If they are not floats.
    """
    check_images_structure(images)
    images = tf.cast(images, tf.float32)
    inside = tf.reduce_all((images >= 0) & (images <= 1))  # false for NaN, true for no image
    data = [OUT_OF_RANGE, tf.reduce_min(images), "to", tf.reduce_max(images)]
    return guarded(images, inside, data)


def checked_labels(labels: Labels, classes: int | None = None, *, soft: bool = True) -> Labels:
    """Returns the labels and stops whoever reads them if one is no number of a class.

    Args:
        labels: Integers [batch] or [batch, 1] in any dtype, or rows [batch, classes].
        classes: How many classes the model has; None if that is not known.
        soft: Whether rows may share an example among several classes.

    Raises:
        ValueError: If there are none, or their dtype or shape is wrong.
    """
    if labels is None:
        raise ValueError("Expected batches of (images, labels); received images only.")
    check_labels_structure(labels)
    labels = tf.convert_to_tensor(labels)
    if losses.is_one_hot(labels):
        if classes is not None:
            check_columns(labels, classes)
        labels = _checked_rows(labels)
        if soft:
            return labels
        greatest = tf.reduce_max(labels, axis=-1)
        hard = tf.reduce_all((greatest == 1) & (tf.reduce_sum(labels, axis=-1) == 1))
        return guarded(labels, hard, [SOFT, tf.reduce_min(greatest)])
    if labels.dtype.is_floating:
        fraction = tf.abs(labels - tf.round(labels))
        odd = tf.reduce_max(tf.where(fraction == 0, labels.dtype.min, labels))
        data = ["Expected labels that are whole numbers, of the classes; received", odd]
        labels = guarded(labels, tf.reduce_all(fraction == 0), data)
    if classes is None:
        return labels
    return guarded_by_labels(labels, labels, classes)


def check_columns(labels: Labels, classes: int) -> None:
    """Refuses one-hot labels of another number of classes.

    Args:
        labels: Rows [batch, columns].
        classes: How many classes the model has.

    Raises:
        ValueError: If that is so.
    """
    columns = tf.TensorShape(labels.shape)[-1]
    if columns != classes:
        raise ValueError(
            f"Expected one-hot labels with {classes} columns, as many as the model has logits; "
            f"received {columns}."
        )


def guarded_by_labels(value: Tensor, labels: Labels, classes: int) -> Tensor:
    """Returns the value and stops whoever reads it if an integer label is none of the classes.

    Args:
        value: Any tensor.
        labels: Integers [batch] or [batch, 1].
        classes: How many classes the model has.
    """
    ids = tf.cast(labels, tf.int64)  # wide enough that no other number becomes a class
    inside = tf.reduce_all((ids >= 0) & (ids < classes))
    message = f"Expected labels in 0 ... {classes - 1}, the model's classes; received values from"
    return guarded(value, inside, [message, tf.reduce_min(ids), "to", tf.reduce_max(ids)])


def _checked_rows(rows: Labels) -> Labels:
    """Returns label rows and stops whoever reads them if one is no distribution of classes."""
    shares = tf.cast(rows, tf.float32)
    lowest, sums = tf.reduce_min(shares), tf.reduce_sum(shares, axis=-1)
    fine = (lowest >= 0) & tf.reduce_all(tf.abs(sums - 1) < 1e-2)
    message = "Expected label rows that are not negative and sum to 1; received entries from"
    data = [message, lowest, "and sums from", tf.reduce_min(sums), "to", tf.reduce_max(sums)]
    return guarded(rows, fine, data)


# Logits.


def logits_in(output: Any) -> Logits:
    """Returns the logits in what a classifier returned.

    Args:
        output: A tensor; or a dictionary, as the signature of a SavedModel returns it, with the
            entry ``logits`` or with one entry; or a list of one tensor.

    Raises:
        ValueError: If it does not tell which output the logits are.
    """
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    if not isinstance(output, (Mapping, list, tuple)):
        return output
    if len(output) == 1:
        return next(iter(output.values())) if isinstance(output, Mapping) else output[0]
    received = f"{len(output)} outputs"
    if isinstance(output, Mapping):
        received = f"the entries {sorted(map(str, output))}"
    raise ValueError(
        "Expected one output, the logits, or a dictionary with the entry 'logits' or one entry "
        f"only; received {received}. An attack needs one loss: pass a model of the output to "
        "defend, keras.Model(model.inputs, model.outputs[0]), or a function that picks it."
    )


def check_logits(logits: Logits, name: str) -> None:
    """Refuses logits of which the shape tells that they are none.

    Args:
        logits: What the classifier returned for a batch; a tensor, or a symbolic one.
        name: The classifier, for the message: "The model 'net'".

    Raises:
        ValueError: If the shape is unknown or not [batch, classes], or there is one class only.
    """
    shape = tf.TensorShape(logits.shape)
    if shape.rank is None or (shape.rank > 1 and shape[-1] is None):
        raise ValueError(
            f"Expected logits of shape [batch, classes]; {name} returns an output of shape "
            f"{shape}, as tf.numpy_function leaves it. State it: "
            "tf.ensure_shape(logits, [None, classes]); through that function no gradient flows, so "
            "that only attacks without gradients fit."
        )
    if shape.rank != 2:
        flat = shape.rank > 2 and all(size == 1 for size in shape[1:-1])
        ending = (
            "Flatten()" if flat else "GlobalAveragePooling2D() or Flatten(), and Dense(classes)"
        )
        raise ValueError(
            f"Expected logits of shape [batch, classes]; the output of {name} has shape "
            f"{tuple(shape)}. End the model in {ending}."
        )
    if shape[-1] == 1:
        raise ValueError(f"{name} {ONE_LOGIT}")


def checked_logits(logits: Logits, name: str, *, may_be_softmax: bool = True) -> Logits:
    """Returns the logits and stops whoever reads them if they are probabilities.

    Args:
        logits: [batch, classes].
        name: The classifier, for the message: "The model 'net'".
        may_be_softmax: Whether the last layer leaves that open, as in subclassed models.

    Raises:
        ValueError: See :func:`check_logits`.
    """
    check_logits(logits, name)
    if not may_be_softmax:
        return logits
    several = tf.shape(logits)[0] > 1  # two rows of logits do not add up to 1 by chance
    return guarded(logits, ~(are_probabilities(logits) & several), [f"{name} {SOFTMAX}"])


def are_probabilities(outputs: Logits) -> Tensor:
    """Tells whether outputs [batch, classes] are non-negative and add up to 1, all of them."""
    total = tf.reduce_sum(tf.cast(outputs, tf.float32), -1)
    return tf.reduce_all(outputs >= 0) & tf.reduce_all(tf.abs(total - 1) < SUMS_TO_ONE)
