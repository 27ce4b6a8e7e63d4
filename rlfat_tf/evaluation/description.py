"""Describes an attack completely, so that its progress is never taken for another attack's."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.classifier import Classifier, as_classifier

PACKAGE = __name__.split(".", maxsplit=1)[0]


def describe(value: Any, name_of: Callable[[Classifier], str]) -> Any:
    """Describes an attack, or what belongs to one.

    Args:
        value: An attack, or a value of one of its attributes.
        name_of: Names a classifier that an attack holds, such as the source of a transfer.

    Returns:
        What JSON can hold, the same in every process for the same attack. Code that is not this
        library's stands in it as ``{"code": name}``: the name does not tell what it does.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, (np.generic, np.ndarray, tf.Tensor, tf.Variable)):
        array = np.asarray(value)
        content = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        return [str(array.dtype), list(array.shape), content]
    if isinstance(value, Mapping):
        return [[describe(key, name_of), describe(item, name_of)] for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [describe(item, name_of) for item in value]
    if isinstance(value, keras.Model):
        return ["classifier", name_of(as_classifier(value))]
    if hasattr(value, "logits_fn"):
        found = value if isinstance(value, Classifier) else Classifier(value.logits_fn, value.name)
        return ["classifier", name_of(found)]
    if inspect.isroutine(value) or isinstance(value, type):
        return _named(value)
    attributes = getattr(value, "__dict__", {})
    if dataclasses.is_dataclass(value):
        attributes = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return [_named(type(value)), describe(attributes, name_of)]


def _named(code: Any) -> Any:
    name = f"{code.__module__}.{getattr(code, '__qualname__', '')}"
    return name if name.split(".", maxsplit=1)[0] == PACKAGE else {"code": name}


def names_other_code(description: Any) -> bool:
    """Tells whether code that is not this library's belongs to what was described."""
    if isinstance(description, list):
        return any(names_other_code(item) for item in description)
    return isinstance(description, dict)
