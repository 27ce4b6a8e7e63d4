"""Which Keras runs, and whether it is one that this library can run on."""

from __future__ import annotations

import os
import re
from typing import Any

import tensorflow as tf

MINIMUM_KERAS_3 = (3, 11, 3)


def _version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _import_keras() -> tuple[Any, str]:
    """Returns TensorFlow's own Keras and its version, or says what is wrong with it."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ImportError(
            f"rlfat_tf needs Keras on TensorFlow, but KERAS_BACKEND is {backend!r}. "
            "Unset KERAS_BACKEND or set it to 'tensorflow' before Python starts."
        )
    # tf.keras is the Keras that belongs to this TensorFlow: Keras 2.15, or Keras 3, whose own
    # package is the same code with every submodule loaded.
    version = str(getattr(tf.keras, "__version__", "2.15"))  # 2.15's lazy module names none
    if _version_tuple(version)[0] < 3:
        return tf.keras, version
    import keras as keras_3

    if keras_3.backend.backend() != "tensorflow":
        raise ImportError(
            f"rlfat_tf needs Keras on TensorFlow, but keras.json sets the backend "
            f"{keras_3.backend.backend()!r}. Set KERAS_BACKEND=tensorflow before Python starts."
        )
    if _version_tuple(version) < MINIMUM_KERAS_3:
        raise ImportError(
            f"rlfat_tf needs Keras 3.11.3 or newer (or Keras 2.15), but Keras {version} is "
            "installed: older releases of Keras 3 train wrongly on several replicas, or run code "
            "that a saved model names. Run: pip install --upgrade keras (it needs Python 3.10)"
        )
    return keras_3, version


keras, KERAS_VERSION = _import_keras()
KERAS_3 = _version_tuple(KERAS_VERSION)[0] >= 3
