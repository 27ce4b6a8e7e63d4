"""Export for serving: a SavedModel that needs neither this library nor Keras.

    loaded = tf.saved_model.load("runs/digits_rlfat_p/export")
    loaded.signatures["serving_default"](images=images)   # float images in [0, 1]
    loaded.signatures["serving_uint8"](images=bytes)      # 8-bit images, divided by 255 inside

Both return ``logits`` [batch, classes], ``probabilities`` [batch, classes] and ``label`` [batch].
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from rlfat_tf import losses
from rlfat_tf.compat import keras


def export_saved_model(model: Any, path: str | os.PathLike[str], *, verbose: bool = False) -> None:
    """Writes a SavedModel with a float and an 8-bit signature, for any batch size.

    Args:
        model: A built Keras model from float images in [0, 1] to logits.
        path: The folder to write.
        verbose: Whether Keras prints what it wrote.

    Raises:
        ValueError: If the model is not built, or the path is a file or a folder of something else.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple):
        raise ValueError(
            f"Expected a model with one input of a known shape; {model.name!r} has {shape}. "
            "Call it on a batch of images first, or build it with a keras.Input."
        )
    path = Path(path)
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not _is_export(path))):
        raise ValueError(f"{path} exists and is not a SavedModel; choose another path.")
    shape = (None, *shape[1:])

    def serve(images: Any) -> dict[str, Any]:
        logits = losses.as_float(model(images, training=False))
        return {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "label": tf.argmax(logits, axis=-1),
        }

    def serve_uint8(images: Any) -> dict[str, Any]:
        return serve(tf.cast(images, tf.float32) / 255.0)

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, function, dtype in (
        ("serving_default", serve, tf.float32),
        ("serving_uint8", serve_uint8, tf.uint8),
    ):
        signature = [tf.TensorSpec(shape, dtype, name="images")]
        archive.add_endpoint(name, function, input_signature=signature)
    # Only Keras 3 can be asked to keep quiet.
    archive.write_out(str(path), **({"verbose": verbose} if _can_be_quiet(archive) else {}))


def _is_export(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def _can_be_quiet(archive: Any) -> bool:
    return "verbose" in archive.write_out.__code__.co_varnames
