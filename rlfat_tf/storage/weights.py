"""What the weights of a saved model may be: arrays that are whole and within the file itself.

HDF5 also knows links to other files, data that lie in other files, and arrays of terabytes of which
a file holds a few bytes. Keras writes nothing of the kind.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import h5py
import tensorflow as tf

from rlfat_tf.core.compat import keras
from rlfat_tf.storage.reading import Refused

MAXIMUM_OBJECTS = 200_000
# A model is never much larger than its weights: an optimizer may not be stored.
FACTOR, ALLOWANCE = 8, 2**26


def check(file: BinaryIO) -> int:
    """Checks the content of ``model.weights.h5`` without following a link.

    Args:
        file: The file, open for reading.

    Returns:
        The bytes of all arrays.

    Raises:
        Refused: If something is not an array of numbers within the file.
    """
    with h5py.File(file, "r") as content:
        pending: list[Any] = [content]
        sizes: dict[Any, int] = {}
        while pending:
            group = pending.pop()
            for name in group:
                if type(group.get(name, getlink=True)) is not h5py.HardLink:
                    raise Refused(f"its weights link to elsewhere ({group.name}/{name}).")
                found = group[name]
                address = h5py.h5o.get_info(found.id).addr
                if address in sizes:
                    continue
                sizes[address] = 0
                if isinstance(found, h5py.Group):
                    pending.append(found)
                else:
                    sizes[address] = _size(found)
                if len(sizes) > MAXIMUM_OBJECTS:
                    raise Refused(f"its weights are more than {MAXIMUM_OBJECTS} objects.")
    return sum(sizes.values())


def _size(array: Any) -> int:
    """Returns the bytes of an array, and refuses what is not wholly within the file."""
    layouts = (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not isinstance(array, h5py.Dataset) or array.shape is None:
        raise Refused("its weights are not arrays.")
    plan = array.id.get_create_plist()
    if plan.get_layout() not in layouts or plan.get_external_count():
        raise Refused(f"its weights {array.name} lie in pieces or in other files.")
    if array.dtype.kind not in "biufcV" or array.dtype.hasobject or array.dtype.itemsize > 16:
        raise Refused(f"its weights {array.name} are not numbers, but {array.dtype}.")
    if array.id.get_storage_size() < array.nbytes:
        raise Refused(f"its weights {array.name} are larger than what the file holds of them.")
    return int(array.nbytes)


@contextmanager
def limited_variables(stored: int) -> Iterator[None]:
    """Refuses to make variables that are much larger than the weights that a file stores.

    Args:
        stored: The bytes of the weights, from :func:`check`.

    Raises:
        Refused: Before the variable that is too large is made.
    """
    left = FACTOR * stored + ALLOWANCE

    def create(next_creator: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= _bytes_of(**kwargs)
        if left < 0:
            raise Refused(
                f"its layers are larger than its weights ({stored} bytes) by far, so that it is "
                "not what Keras writes."
            )
        return next_creator(**kwargs)

    with tf.variable_creator_scope(create):
        yield


def _bytes_of(initial_value: Any = None, shape: Any = None, dtype: Any = None, **_: Any) -> int:
    """Returns the bytes of a variable that is about to be made."""
    if shape is None and callable(initial_value):
        shape = _shape_of_result(initial_value)
    elif shape is None:
        shape = getattr(initial_value, "shape", ())
    sizes = tf.TensorShape(shape).as_list()
    return math.prod(size or 0 for size in sizes) * tf.as_dtype(dtype or tf.float32).size


def _shape_of_result(initial_value: Any) -> Any:
    """Returns the shape of what a function returns, without its computing it."""
    if isinstance(initial_value, functools.partial) and initial_value.args:
        return initial_value.args[0]  # Keras 2: initializer(shape)
    kinds = getattr(keras, "Variable", ())
    for cell in getattr(initial_value, "__closure__", None) or ():
        if isinstance(cell.cell_contents, kinds):  # Keras 3: a function of the variable
            return cell.cell_contents.shape
    with tf.Graph().as_default():
        return initial_value().shape
