"""The only door to TensorFlow Addons, which is optional and exists on one of the two stacks."""

from __future__ import annotations

import warnings
from types import ModuleType

from rlfat_tf.core.compat import KERAS_3, KERAS_VERSION


def tfa(feature: str) -> ModuleType:
    """Imports TensorFlow Addons for a feature that needs it.

    Args:
        feature: What needs it and what to use instead, as the message shall name it; for instance
            ``"augment 'tfa:cutout' (use 'cutout' instead)"``.

    Returns:
        The module ``tensorflow_addons``.

    Raises:
        ImportError: If TensorFlow Addons is not installed, or this Keras cannot run it.
    """
    ended = (
        "TensorFlow Addons has ended: its last release, 0.23, needs Python 3.9 to 3.11 and "
        "TensorFlow 2.13 to 2.15, and cannot be imported with Keras 3."
    )
    if KERAS_3:
        raise ImportError(
            f"{feature} needs TensorFlow Addons, but Keras {KERAS_VERSION} runs here. {ended} "
            "Use what this library has of its own, or an environment with TensorFlow 2.15."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the notice of its end, told above
            import tensorflow_addons
    except ImportError as error:
        raise ImportError(
            f"{feature} needs TensorFlow Addons, which cannot be imported ({error}). {ended} "
            "Here it can be installed: pip install tensorflow-addons==0.23.0"
        ) from error
    return tensorflow_addons
