"""The examples of an evaluation: any kind of data as two arrays that have been checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.core import losses
from rlfat_tf.core.checks import check_columns, checked_images, checked_labels, in_words
from rlfat_tf.core.structure import check_layout, check_structure
from rlfat_tf.core.types import Images, Labels
from rlfat_tf.data import Arrays, DataSet, Pixels, Source

SMALL = 2**28  # bytes of 8-bit images


def as_arrays(data: Any) -> tuple[Images, Labels]:
    """Returns float32 images [n, H, W, C] in [0, 1] and int32 labels [n] as NumPy arrays.

    Images that a data set has left on disk stay there, and many 8-bit ones stay such: they are
    read and scaled when they are indexed, see :class:`rlfat_tf.data.Pixels`.

    Args:
        data: (images, labels), one part of a :class:`rlfat_tf.data.DataSet`, or a
            ``tf.data.Dataset`` of batches. Images are floats in [0, 1] or 8-bit; labels whole
            numbers [n] or [n, 1], or one-hot rows.

    Raises:
        TypeError: If it is something else.
        ValueError: If there is no example or no end of them, images and labels do not fit, or one
            of them is not what it must be.
    """
    if isinstance(data, DataSet):
        raise TypeError("Expected one part of a data set; received both. Pass data.test.")
    if isinstance(data, Arrays) and _is_small(data.images):
        data = data.images, data.labels
    if isinstance(data, Source):
        data = Pixels(data, scaled=True), data.labels
    if isinstance(data, tuple) and isinstance(data[0], Pixels):
        return _on_disk(*data)
    if isinstance(data, tf.data.Dataset):
        return _of_batches(data)
    if isinstance(data, Mapping):
        return _checked(data)
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise TypeError(
            "Expected (images, labels), rlfat_tf.data.Arrays or a tf.data.Dataset of batches of "
            f"both; received {type(data).__name__}."
        )
    kept = (Mapping, type(None))
    parts: Any = tuple(part if isinstance(part, kept) else np.asarray(part) for part in data)
    if len(parts) == 2 and not _is_small(parts[0]) and np.ndim(parts[1]):
        _checked((parts[0][:1], parts[1][:1]))  # the form of all
        with in_words():
            return as_arrays(Arrays(parts[0], _class_ids(parts[1])))
    return _checked(parts)


def _is_small(images: Any) -> bool:
    """Tells whether images may be scaled all at once, which takes seven times their memory."""
    return getattr(images, "dtype", None) != np.uint8 or images.nbytes <= SMALL


def _on_disk(images: Pixels, labels: Labels) -> tuple[Images, Labels]:
    """Checks the labels of images that are 8-bit, and so in [0, 1] when they are scaled."""
    if not len(images):
        raise ValueError("Expected at least one example; received none.")
    with in_words():
        return images, _class_ids(labels)


def _of_batches(data: tf.data.Dataset) -> tuple[Images, Labels]:
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "Expected a data set that ends; received an infinite one. Leave repeat() out, or "
            "take(n) batches."
        )
    batches = [_checked(tf.nest.map_structure(_numpy, batch)) for batch in data]
    if not batches:
        raise ValueError("Expected at least one batch of examples; the data set is empty.")
    images, labels = (np.concatenate(part) for part in zip(*batches))
    return images, labels


def _numpy(tensor: Any) -> Any:
    return np.asarray(tensor.numpy()) if isinstance(tensor, tf.Tensor) else tensor


def _checked(batch: Any) -> tuple[Images, Labels]:
    """Checks one batch, or all examples at once."""
    if isinstance(batch, (tuple, list)) and len(batch) == 3:
        raise ValueError(
            "Expected (images, labels); received weights of the examples as well. Every example "
            "counts once in an accuracy: leave the weights out, dataset.map(lambda x, y, w: "
            "(x, y))."
        )
    if isinstance(batch, (tuple, list)) and getattr(batch[0], "dtype", None) == np.uint8:
        batch = batch[0].astype(np.float32) / np.float32(255), *batch[1:]
    check_structure(batch)
    images, labels = batch
    check_layout(images)
    if labels.ndim == 0 or len(images) != len(labels) or not len(images):
        raise ValueError(
            "Expected images [n, H, W, C] and as many labels, at least one; received images of "
            f"shape {images.shape} and labels of shape {labels.shape}."
        )
    with in_words():
        return checked_images(images).numpy(), _class_ids(labels)


def _class_ids(labels: Labels) -> Labels:
    """Returns int32 labels [n] of integers or one-hot rows, one class for each example."""
    labels = np.asarray(labels)
    ids = losses.class_ids(checked_labels(labels, soft=False)).numpy()
    if not losses.is_one_hot(labels) and np.any(ids != labels.reshape(-1)):
        widest = labels.reshape(-1)[np.argmax(ids != labels.reshape(-1))]
        raise ValueError(f"Expected labels that are the numbers of classes; received {widest}.")
    return ids


def check_width(data: Any, classes: int) -> None:
    """Refuses one-hot labels of another number of classes than a classifier's.

    Args:
        data: What :func:`as_arrays` has taken.
        classes: How many classes the classifier has.

    Raises:
        ValueError: If that is so.
    """
    if isinstance(data, tf.data.Dataset):
        labels = data.element_spec[1]
    else:
        labels = data.labels if hasattr(data, "labels") else np.asarray(data[1])
    shape = tf.TensorShape(labels.shape)
    if shape.rank == 2 and shape[-1] not in (1, None):
        check_columns(labels, classes)


def check_classes(labels: Labels, classes: int) -> None:
    """Refuses labels that are no classes of a classifier.

    Args:
        labels: int32 [n].
        classes: How many classes it has.

    Raises:
        ValueError: If one is none.
    """
    with in_words():
        checked_labels(labels, classes)
