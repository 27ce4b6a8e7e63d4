"""Export for serving: a SavedModel that needs neither this library nor Keras.

    loaded = tf.saved_model.load("runs/digits_rlfat_p/export")
    loaded.signatures["serving_default"](images=images)   # float images in [0, 1]
    loaded.signatures["serving_uint8"](images=bytes)      # 8-bit images, divided by 255 inside
    loaded.signatures["serving_bytes"](files=contents)    # of image files; of runs on files only

All return ``logits`` [batch, classes], ``probabilities`` [batch, classes] and ``label`` [batch].
The names of the classes are the asset ``assets/class_names.txt``, one a line in the order of the
labels; ``loaded.class_names.asset_path`` says where it lies. What the model is and what it was
measured to withstand is told by ``assets.extra/model_card.json``, which servers leave alone.
See ``docs/serving.md``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core import compat, losses
from rlfat_tf.core.checks import checked_logits, in_words, logits_in
from rlfat_tf.core.model_checks import check_ending, check_model, count_classes, try_out
from rlfat_tf.core.types import Images, Model, Report, Tensor
from rlfat_tf.storage.files import replacing_folder, write_text

# TensorFlow casts NumPy arrays to the dtype of a signature, whatever is lost, before its graph
# runs: floats in [0, 1] reach the one for 8 bits as zeros and ones, bytes the other as up to 255.
HIGHEST_FLOAT = 2.0
NOT_BYTES = (
    "serving_uint8 expects 8-bit images, 0 to 255, but no pixel of this batch is above 1. Floats "
    "in [0, 1] belong to serving_default."
)
NOT_FLOATS = (
    "serving_default expects float images in [0, 1], but there are pixels above 2. 8-bit images "
    "belong to serving_uint8."
)
CLASS_NAMES = "class_names.txt"
MODEL_CARD = "model_card.json"


def export_saved_model(
    model: Model,
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    card: Report | None = None,
    from_bytes: Callable[[Tensor], Tensor] | None = None,
    verbose: bool = False,
) -> None:
    """Writes a SavedModel with a float and an 8-bit signature, for any batch size.

    It appears under its path when it is whole, and not before: a server that watches the folder
    above never loads half of it.

    Args:
        model: A built Keras model from float images in [0, 1] to logits.
        path: The folder to write.
        class_names: The name of every class, kept as an asset. White space within a name becomes
            one space, so that each has a line of its own.
        card: What a user of the model should know, kept as JSON beside it; see :func:`model_card`.
        from_bytes: From the content of an image file, a string tensor [], to the image that the
            model gets, uint8 [H, W, C]; adds the signature ``serving_bytes``, which takes
            ``files``, strings [batch]. See :func:`rlfat_tf.data.serving.image_of_bytes`.
        verbose: Whether Keras prints what it wrote.

    Raises:
        ValueError: If the model is not built, takes no floats, or returns anything but logits; the
            path is a file or a folder of something else, the names are not as many as the classes,
            or the card cannot be written as JSON.
    """
    shape = _check_model(model)
    names = None if class_names is None else [" ".join(str(name).split()) for name in class_names]
    classes = count_classes(model)
    if names is not None and len(names) != classes:
        raise ValueError(
            f"Expected a name for each of the {classes} classes; received {len(names)}."
        )
    path = Path(path).expanduser()
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not _is_export(path))):
        raise ValueError(f"{path} exists and is not a SavedModel; choose another path.")
    shape = (None, *shape[1:])
    card_text = None if card is None else _to_json(card)

    def predict(images: Images) -> dict[str, Tensor]:
        logits = losses.as_float(logits_in(model(images, training=False)))
        return {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "label": tf.argmax(logits, axis=-1),
        }

    def serve(images: Images) -> dict[str, Tensor]:
        _refuse_unless(~tf.reduce_any(images > HIGHEST_FLOAT), NOT_FLOATS)
        return predict(images)

    def serve_uint8(images: Tensor) -> dict[str, Tensor]:
        _refuse_unless(tf.reduce_any(images > 1) | tf.equal(tf.size(images), 0), NOT_BYTES)
        return predict(tf.cast(images, tf.float32) / 255.0)

    def serve_bytes(files: Tensor) -> dict[str, Tensor]:
        spec = tf.TensorSpec(shape[1:], tf.uint8)
        images = tf.map_fn(from_bytes, files, fn_output_signature=spec)
        return predict(tf.cast(images, tf.float32) / 255.0)

    archive, root = compat.serving_archive(model)
    for name, function, dtype in (
        ("serving_default", serve, tf.float32),
        ("serving_uint8", serve_uint8, tf.uint8),
    ):
        signature = [tf.TensorSpec(shape, dtype, name="images")]
        archive.add_endpoint(name, function, input_signature=signature)
    if from_bytes is not None:
        files = [tf.TensorSpec([None], tf.string, name="files")]
        archive.add_endpoint("serving_bytes", serve_bytes, input_signature=files)
    with tempfile.TemporaryDirectory() as scratch, replacing_folder(path) as written:
        if names is not None:
            asset = Path(scratch) / CLASS_NAMES
            asset.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            root.class_names = tf.saved_model.Asset(str(asset))
        compat.write_archive(archive, written, verbose=verbose)
        if card_text is not None:
            (written / "assets.extra").mkdir()
            (written / "assets.extra" / MODEL_CARD).write_text(card_text, encoding="utf-8")


def _check_model(model: Model) -> tuple[Any, ...]:
    """Returns the shape of a batch that a model takes; refuses one that maps no images to logits.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If it is not built, takes integers, or returns probabilities.
    """
    check_model(model)
    check_ending(model)
    shape = compat.input_shape(model)
    if not isinstance(shape, tuple):
        raise ValueError(
            f"Expected a model with one input of a known shape; {model.name!r} has {shape}. "
            "Call it on a batch of images first, or build it with a keras.Input."
        )
    for given in getattr(model, "inputs", None) or []:
        if not tf.as_dtype(given.dtype).is_floating:
            raise ValueError(
                f"Expected a model of float images in [0, 1]; {model.name!r} takes "
                f"{tf.as_dtype(given.dtype).name}, to which they would be cut down. Scale and cast "
                "within the model, or see rlfat_tf.adapt."
            )
    if None not in shape[1:]:
        with in_words():
            logits = losses.as_float(try_out(model, shape[1:]).logits)
            checked_logits(logits, f"The model {model.name!r}")
    return shape


def _refuse_unless(condition: Tensor, message: str) -> None:
    """Lets the graph stop with a message, wherever it is served."""
    tf.debugging.Assert(condition, [message])


def write_card(path: str | os.PathLike[str], card: Report) -> None:
    """Replaces the card of a SavedModel, for instance when the model has been tested.

    Raises:
        ValueError: If the card cannot be written as JSON.
    """
    write_text(Path(path).expanduser() / "assets.extra" / MODEL_CARD, _to_json(card))


def _to_json(card: Report) -> str:
    try:
        return json.dumps(dict(card), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected card to hold what JSON can ({error}): strings, finite numbers, lists and "
            "dictionaries of them."
        ) from error


def _is_export(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()
