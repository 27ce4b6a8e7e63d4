"""Losses and gradients that are not finite stop a step before they change the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from rlfat_tf.core.checks import guarded
from rlfat_tf.core.types import Tensor

NON_FINITE = "The loss is not finite:"
NO_GRADIENTS = r"The gradients of .+ are not finite"  # a pattern: of the loss, or of another part
REMEDY = (
    "and no weight was changed by them. Look for a norm, a square root, a logarithm or a quotient "
    "that can be taken of 0, or lower the learning rate."
)


@contextlib.contextmanager
def finite_or_stop(loss: Tensor, step: Tensor) -> Iterator[None]:
    """Stops the step if the loss is not finite, before anything made inside this context runs."""
    data = [NON_FINITE, loss, "at step", step]
    with tf.control_dependencies([guarded(loss, tf.math.is_finite(loss), data)]):
        yield


def finite_gradients(gradients: list[Any], step: Tensor, of: str = "the loss") -> list[Any]:
    """Returns the gradients and stops whoever reads them if one is not finite.

    Args:
        gradients: Tensors, ``tf.IndexedSlices`` or None.
        step: Of training, for the message.
        of: What they are of, for the message.
    """
    step = tf.convert_to_tensor(step)
    parts = tf.nest.flatten(gradients, expand_composites=True)
    numbers = [part for part in parts if part is not None and part.dtype.is_floating]
    finite = [tf.reduce_all(tf.math.is_finite(part)) for part in numbers]
    data = [f"The gradients of {of} are not finite at step", step, REMEDY]
    guard = guarded(step, tf.reduce_all([True, *finite]), data)
    with tf.control_dependencies([guard]):
        return tf.nest.map_structure(
            lambda part: None if part is None else tf.identity(part),
            gradients,
            expand_composites=True,
        )
