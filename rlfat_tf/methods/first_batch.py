"""Looks at what ``fit``, ``evaluate`` and ``predict`` are given before anything is traced.

Tracing an attack can take a minute, and an error from within a graph is long. What is in memory is
looked at always; of a ``tf.data.Dataset`` its specification, and its first batch where
``read`` says so; of a generator nothing, since what was taken from it would be lost: then the
checks of the compiled step are the first to see it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.core import checks, compat, losses, structure
from rlfat_tf.core.errors import warn
from rlfat_tf.core.model_checks import image_shape, try_out
from rlfat_tf.core.types import Model

EXAMPLES = 128  # of arrays, that are looked at
MUCH_ABOVE_ONE = 1.5
EMPTY = (
    "Expected at least one example; received none. Is it the right folder, split or filter of the "
    "data set?"
)


def first_batch(x: Any, y: Any = None, *, read: bool = True) -> Any:
    """Returns the first examples of what a Keras model is given.

    Args:
        x: As in ``keras.Model.fit``: arrays, tensors, a data set, a Sequence or anything else.
        y: Labels, where ``x`` is images.
        read: Whether a batch may be read from a ``tf.data.Dataset``.

    Returns:
        (images, labels, ...) or images alone, as they came; None if there is nothing to look at.
    """
    if isinstance(x, tf.data.Dataset):
        return next(iter(x.take(1)), None) if read else None
    if isinstance(x, compat.keras.utils.Sequence):
        # Where it exists, num_batches replaces len(): None is a Sequence without an end.
        count = x.num_batches if hasattr(x, "num_batches") else len(x)
        return None if count == 0 else x[0]
    if isinstance(x, dict) and y is None:
        return x
    images = _some(x)
    if images is None or y is None:
        return images
    names = isinstance(y, (list, range)) and not structure.is_nested_numbers(y)
    return images, _some(np.asarray(y) if names else y)


def _some(values: Any) -> Any:
    """Returns the first rows of arrays; None of what has no rows, such as a generator."""
    if isinstance(values, (dict, list, tuple)):
        return values
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()  # pandas
    if not (hasattr(values, "shape") and hasattr(values, "dtype")):
        return None
    return values if structure.is_composite(values) else values[:EXAMPLES]


def check_examples(
    model: Model,
    num_classes: int | None,
    x: Any,
    y: Any = None,
    *,
    read: bool = True,
    soft: bool = True,
) -> tuple[int, ...] | None:
    """Refuses examples that no step could use.

    Args:
        model: The classifier.
        num_classes: How many classes it has; None if that is not known.
        x: See :func:`first_batch`.
        y: See :func:`first_batch`.
        read: See :func:`first_batch`.
        soft: Whether label rows may share an example among several classes.

    Returns:
        The shape of an image; None if neither examples nor the classifier tell it.

    Raises:
        ValueError: If there are no images and labels, or their form or values are wrong.
    """
    is_data_set = isinstance(x, tf.data.Dataset)
    if is_data_set:
        structure.check_structure(x.element_spec)
    batch = first_batch(x, y, read=read)
    known = image_shape(model)
    if batch is None and (isinstance(x, compat.keras.utils.Sequence) or (is_data_set and read)):
        raise ValueError(EMPTY)
    if batch is None:
        return None if known is None or None in known else known  # type: ignore[return-value]
    structure.check_structure(batch)
    images, labels = batch[:2]
    if images.shape[0] == 0:
        raise ValueError(EMPTY)
    if not tf.TensorShape(known).is_compatible_with(images.shape[1:]):
        raise ValueError(
            f"{model.name!r} takes images of shape {known}; received images of shape "
            f"{tuple(images.shape[1:])}. Is it the data set of this model, and its image size?"
        )
    with checks.in_words():
        checks.checked_images(images)
        checks.checked_labels(labels, num_classes, soft=soft)
    return tuple(images.shape[1:])


def specification(model: Model, x: Any, shape: tuple[int, ...]) -> tf.TensorSpec:
    """Returns what a compiled step knows of its images.

    Args:
        model: The classifier.
        x: See :func:`first_batch`.
        shape: That of an image of the first batch.
    """
    known = tf.TensorShape(shape)
    if isinstance(x, tf.data.Dataset):
        known = x.element_spec[0].shape[1:].merge_with(image_shape(model))
    return tf.TensorSpec([None, *known], tf.float32)


def check_by_trial(model: Model, shape: tuple[int, ...]) -> int:
    """Runs the classifier once, and refuses or warns of what its code does not tell.

    Args:
        model: The classifier.
        shape: Height, width and channels of an image.

    Returns:
        The number of classes.

    Raises:
        ValueError: If it returns no logits, or probabilities.
    """
    trial = try_out(model, shape)
    with checks.in_words():
        checks.checked_logits(losses.as_float(trial.logits), f"The model {model.name!r}")
    if trial.scaling:
        warn(trial.scaling)
    return int(trial.logits.shape[-1])


def look_before_predicting(model: Model, x: Any) -> None:
    """Refuses what is no batch of images, and warns of images that are not floats in [0, 1].

    Raises:
        ValueError: If it is a list of numbers, or one image instead of a batch.
    """
    images = first_batch(x)
    if structure.is_nested_numbers(images):
        raise ValueError(f"predict expects {structure.AS_ARRAY.format('images')}")
    images = images[0] if isinstance(images, (tuple, list)) and len(images) else images
    if not hasattr(images, "dtype"):
        return
    known = image_shape(model)
    if known is not None and len(images.shape) == len(known):
        raise ValueError(
            f"predict expects a batch of images, of shape [batch, {', '.join(map(str, known))}]; "
            f"received shape {tuple(getattr(x, 'shape', images.shape))}. Of one image make a batch "
            "of one: images[None]; batch a data set: dataset.batch(128)."
        )
    dtype = tf.as_dtype(images.dtype)
    greatest = float(np.max(images, initial=0)) if dtype.is_floating else 0.0
    if not dtype.is_floating or greatest > MUCH_ABOVE_ONE:
        received = f"values up to {greatest:g}" if dtype.is_floating else dtype.name
        warn(
            f"predict expects float images in [0, 1]; received {received}. The classifier was "
            "trained on images in [0, 1], so its predictions are probably wrong. Divide 8-bit "
            "images by 255: images / 255."
        )
