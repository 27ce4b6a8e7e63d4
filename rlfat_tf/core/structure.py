"""What the shapes and dtypes of examples must be; the specification of a data set is enough.

What their values must be is in :mod:`rlfat_tf.core.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

# What makes floats in [0, 1] of other pixels, by their dtype; signed integers tell no range.
TO_FLOAT = {
    "bool": "Convert them: tf.cast(images, tf.float32).",
    "uint16": "Divide 16-bit images by 65535: tf.cast(images, tf.float32) / 65535.",
}
DIVIDE = "Divide 8-bit images by 255: tf.cast(images, tf.float32) / 255."
AS_ARRAY = "one array of {0}; received a list of numbers. Write numpy.asarray({0})."
WRAPPED = "keras.Sequential([keras.Input((height, width, channels)), {}, model])"
HINTS_BY_RANK = {
    2: "Pass the images whole, and flatten them inside of the model: "
    f"{WRAPPED.format('keras.layers.Flatten()')}.",
    3: "For one channel add an axis: images[..., None]. A network that takes images without it: "
    f"{WRAPPED.format('keras.layers.Reshape((height, width))')}.",
}


def check_structure(batch: Any) -> None:
    """Refuses what is no batch of images and labels, by shapes and dtypes alone.

    Args:
        batch: (images, labels) or (images, labels, weights) of arrays, tensors or their
            specifications, for instance the ``element_spec`` of a data set.

    Raises:
        ValueError: If it is anything else.
    """
    if isinstance(batch, Mapping):
        raise ValueError(
            "Expected batches of (images, labels); received dictionaries with the entries "
            f"{sorted(map(str, batch))}. Load the data set with as_supervised=True, or map it: "
            "dataset.map(lambda example: (example['image'], example['label']))."
        )
    if not isinstance(batch, (tuple, list)) or len(batch) < 2 or batch[1] is None:
        raise ValueError("Expected batches of (images, labels); received images only.")
    check_images_structure(batch[0])
    check_labels_structure(batch[1])
    images, labels = batch[0].shape, batch[1].shape
    if len(images) == 3 and len(labels) == 0:
        raise ValueError(
            f"Expected batches of images; received single ones, of shape {tuple(images)}. Batch "
            "the data set: dataset.batch(128)."
        )
    if len(batch) > 2:
        check_weights_structure(batch[2])


def check_images_structure(images: Any) -> None:
    """Refuses what is no batch of float images; see :func:`check_structure`."""
    if is_nested_numbers(images):
        raise ValueError(f"Expected {AS_ARRAY.format('images')}")
    if isinstance(images, (Mapping, tuple, list)):
        raise ValueError(_several_inputs(images))
    if is_composite(images):
        raise ValueError(
            f"Expected images of one size in one tensor; received a {type(images).__name__}. "
            "Resize them before they are batched: dataset.map(lambda image, label: "
            "(tf.image.resize(image, [height, width]), label)).batch(128)."
        )
    dtype = _dtype(images)
    if not dtype.startswith(("float", "bfloat")):
        remedy = TO_FLOAT.get(dtype, DIVIDE)
        raise ValueError(f"Expected float images in [0, 1]; received {dtype}. {remedy}")
    if tf.TensorShape(images.shape).rank is None:
        raise ValueError(
            "Expected images of a known shape; received images without one, as tf.numpy_function "
            "and tf.py_function leave them. State it in the map: "
            "images = tf.ensure_shape(images, [height, width, channels])."
        )


def _several_inputs(images: Any) -> str:
    """Says what is wrong with a dictionary, a tuple or a list in the place of images."""
    parts = list(images.values()) if isinstance(images, Mapping) else list(images)
    entries = sorted(map(str, images)) if isinstance(images, Mapping) else len(images)
    expected = "Expected one batch of images, the input of the classifier; received"
    if len(parts) == 1:
        entry = entries[0] if isinstance(entries, list) else 0
        return (
            f"{expected} a {type(images).__name__} that holds it. Pass what is in it, "
            f"images[{entry!r}], and in a tf.data.Dataset "
            f"dataset.map(lambda images, labels: (images[{entry!r}], labels))."
        )
    if isinstance(images, list) and all(np.ndim(part) == 3 for part in parts):
        return f"{expected} a list of {entries} images. Make an array of them: numpy.stack(images)."
    return (
        f"{expected} {type(images).__name__} of several inputs ({entries}). An attack moves one "
        "image: fix the other inputs inside of a model that takes images only."
    )


def is_composite(values: Any) -> bool:
    """Tells ragged and sparse tensors, which TensorFlow keeps in several parts, from plain ones."""
    kinds = (tf.RaggedTensor, tf.RaggedTensorSpec, tf.SparseTensor, tf.SparseTensorSpec)
    return isinstance(values, kinds)


def is_nested_numbers(values: Any) -> bool:
    """Tells whether this is a list, or lists in it, of numbers, as JSON holds an array."""
    while isinstance(values, (list, tuple)) and values:
        values = values[0]
        if isinstance(values, (int, float)):
            return True
    return False


def check_layout(images: Any) -> None:
    """Refuses images of which the shape does not tell height, width and channels, in that order.

    Args:
        images: An array, a tensor or a specification.

    Raises:
        ValueError: If they are not [batch, height, width, channels], or if they look like
            [batch, channels, height, width].
    """
    shape = tuple(images.shape)
    expected = "Expected images of shape [batch, height, width, channels]; received"
    if len(shape) != 4:
        raise ValueError(f"{expected} {shape}. {HINTS_BY_RANK.get(len(shape), '')}".rstrip())
    if _is_channels_first(*shape[1:]):
        wrapped = WRAPPED.format("keras.layers.Permute((3, 1, 2))")
        raise ValueError(
            f"{expected} {shape}, which looks like [batch, channels, height, width]. Move the "
            "channels to the end, numpy.transpose(images, [0, 2, 3, 1]), and wrap the network: "
            f"{wrapped}, or, of a function, lambda x: model(tf.transpose(x, [0, 3, 1, 2]))."
        )


def _is_channels_first(first: int | None, second: int | None, third: int | None) -> bool:
    """Tells images whose last axis is too long for channels and whose first is short enough."""
    if first is None or third is None or third <= 4:
        return False
    return first <= 4 or (second == third and first < second)


def check_labels_structure(labels: Any) -> None:
    """Refuses what are no class numbers or label vectors; see :func:`check_structure`."""
    if is_nested_numbers(labels):
        raise ValueError(f"Expected {AS_ARRAY.format('labels')}")
    if not hasattr(labels, "dtype"):
        raise ValueError(
            "Expected one tensor of labels, the numbers of the classes; received "
            f"{type(labels).__name__}. A classifier has one output: leave other targets out."
        )
    if is_composite(labels):
        raise ValueError(
            "Expected labels of shape [batch] (integers) or [batch, classes] (one-hot) in one "
            f"tensor; received a {type(labels).__name__}. Convert it: tf.sparse.to_dense(labels), "
            "labels.to_tensor()."
        )
    if _dtype(labels).startswith(("str", "<U", "|S", "object", "bytes")):
        names = labels.ravel().tolist() if isinstance(labels, np.ndarray) else []
        example = f", for instance {names[0]!r}" if names else ""
        raise ValueError(
            f"Expected labels that are the numbers of the classes; received strings{example}. "
            "Number the names: names, labels = numpy.unique(labels, return_inverse=True); in a "
            "tf.data.Dataset with keras.layers.StringLookup(vocabulary=names, "
            "num_oov_indices=0)."
        )
    rank = tf.TensorShape(labels.shape).rank
    if rank is None:
        raise ValueError(
            "Expected labels of a known shape; received labels without one, as tf.numpy_function "
            "and tf.py_function leave them. State it in the map: "
            "label = tf.ensure_shape(label, []). Keras forgets the shape, too, when one model is "
            "given labels of several layouts, such as [batch] and [batch, 1]: keep to one of them, "
            "or compile the model again in between."
        )
    if rank > 2:
        raise ValueError(
            "Expected labels of shape [batch] (integers) or [batch, classes] (one-hot); received "
            f"shape {tuple(labels.shape)}."
        )


def check_weights_structure(weights: Any) -> None:
    """Refuses what are no sample weights, one for every example; None are none."""
    if weights is None or tf.TensorShape(getattr(weights, "shape", None)).rank is None:
        return
    shape = tuple(weights.shape)
    if len(shape) > 1 and shape[1:] != (1,):
        raise ValueError(
            "Expected one sample weight for every example, of shape [batch] or [batch, 1]; "
            f"received shape {shape}. Weights of classes are class_weight={{0: 2.0, 1: 1.0}}."
        )


def _dtype(values: Any) -> str:
    dtype = getattr(values, "dtype", type(values).__name__)
    return str(getattr(dtype, "name", dtype))
