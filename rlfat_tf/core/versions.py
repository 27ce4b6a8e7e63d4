"""Versions of what computed a result."""

from __future__ import annotations

import platform

import numpy as np
import tensorflow as tf

from rlfat_tf.core import compat

VERSION = "0.2.0"


def versions() -> dict[str, str]:
    """Returns the versions that a result depends on."""
    return {
        "rlfat_tf": VERSION,
        "tensorflow": str(tf.__version__),
        "keras": compat.KERAS_VERSION,
        "numpy": str(np.__version__),
        "python": platform.python_version(),
    }
