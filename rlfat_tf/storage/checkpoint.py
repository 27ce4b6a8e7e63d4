"""The files of a run: its backup, its checkpoints, and getting a model back from them.

model = rlfat_tf.load("runs/cifar10_rlfat_p")                     # the best checkpoint
model = rlfat_tf.load("runs/cifar10_rlfat_p", checkpoint="last")
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.core.compat import KERAS_VERSION, frugal_saving, keras, refresh_normalization
from rlfat_tf.core.errors import unknown, warn
from rlfat_tf.core.types import Model
from rlfat_tf.storage import archive, weights
from rlfat_tf.storage.files import replacing
from rlfat_tf.storage.reading import Damaged, Refused, as_written, read_arrays

CHECKPOINTS = ("best", "last")


def save_state(
    path: Path, model: Model, progress: dict[str, Any], *, keep_previous: bool = True
) -> None:
    """Writes everything that a run needs to go on: weights, optimizer, progress.

    Args:
        path: A ``.npz`` file.
        model: A compiled :class:`rlfat_tf.AdversarialModel` whose optimizer is built.
        progress: What else to keep, as JSON.
        keep_previous: Whether to keep the file that was there before, see :func:`previous`.
    """
    model.begin_average()  # else its values have no meaning
    with model.weights_of_training():
        arrays: dict[str, Any] = {str(i): _storable(v) for i, v in enumerate(model.state)}
    arrays["progress"] = np.array(json.dumps({**progress, "keras": KERAS_VERSION}))
    with replacing(path, keep=previous(path) if keep_previous else None) as written:
        np.savez(written, **arrays)


def _storable(variable: Any) -> Any:
    """Returns the value of a variable in a type that NumPy's files have: bfloat16 is none."""
    value = variable.numpy()
    return value.astype(np.float32) if value.dtype.kind == "V" else value


def previous(path: Path) -> Path:
    """Returns where the backup before the latest is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def read_state(path: Path) -> tuple[list[Any], dict[str, Any]]:
    """Reads the arrays and the progress of a backup.

    Raises:
        Damaged: If the file is truncated or its content is not what was written.
        OSError: If it cannot be read at all.
    """
    arrays = read_arrays(path)
    with as_written(path):
        progress = json.loads(str(arrays.pop("progress")))
        if not isinstance(progress, dict):
            raise TypeError("the progress is not one JSON object")
        return [arrays[str(i)] for i in range(len(arrays))], progress


def repair_state(path: Path) -> None:
    """Puts the backup before it in place of one that is damaged, with a warning.

    Raises:
        ValueError: If there is no good backup.
    """
    fault = _fault(path)
    if fault is None or not (path.exists() or previous(path).exists()):
        return
    worse = _fault(previous(path))
    if worse is not None:
        raise ValueError(
            f"{fault} So is the one before: {worse} Restore one of them from elsewhere, or remove "
            f"{path.parent.parent} to begin the run anew."
        )
    warn(f"{fault} The run goes on from the backup before it.")
    os.replace(previous(path), path)


def _fault(path: Path) -> str | None:
    try:
        read_state(path)
    except Damaged as error:
        return str(error)
    except FileNotFoundError:
        return f"The backup {path} is missing."
    return None


def restore_state(path: Path, model: Model) -> dict[str, Any]:
    """Puts the state of :func:`save_state` back into a model that is built alike.

    Returns:
        The progress that was saved with it.

    Raises:
        ValueError: If the file is damaged or holds another model's, or the other Keras's state.
    """
    stored, progress = read_state(path)
    written_by = str(progress.pop("keras", KERAS_VERSION))  # 0.1 did not say
    if written_by.split(".")[0] != KERAS_VERSION.split(".")[0]:
        raise ValueError(
            f"{path} was written with Keras {written_by}, and Keras {KERAS_VERSION} runs here: "
            "their optimizers keep their state in different ways. Continue the run where it was "
            "begun, or begin another one with its weights: --weights=<its folder>."
        )
    model.begin_average()  # what is restored goes on, and is not begun anew
    variables = model.state
    shapes = [tuple(v.shape) for v in variables]
    if [a.shape for a in stored] != shapes:
        raise ValueError(
            f"{path} holds {len(stored)} arrays that do not fit the {len(shapes)} variables of "
            "this model and optimizer: it was written for another network or another version."
        )
    with model.weights_of_training():
        for variable, value in zip(variables, stored):
            variable.assign(tf.cast(value, variable.dtype))
    refresh_normalization(model)
    return progress


def save_model(path: Path, model: Model) -> None:
    """Writes a ``.keras`` file in one step."""
    with replacing(path) as written, frugal_saving():
        model.save(written)


def repair_best(workdir: Path) -> None:
    """Puts a copy of ``last.keras`` in place of a ``best.keras`` that is gone or damaged.

    For a run whose epochs are all trained, so that no other best can come; with a warning.
    """
    best = workdir / "checkpoints" / "best.keras"
    try:
        archive.check(best)
        return
    except FileNotFoundError:
        fault = f"{best} is missing."
    except Damaged as error:
        fault = str(error)
    last = model_path(workdir, "last")
    archive.check(last)
    warn(f"{fault} The last epoch's checkpoint takes its place.")
    with replacing(best) as written:
        shutil.copyfile(last, written)


def digest(path: Path) -> str | None:
    """Returns what tells a file from any other; None if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def model_path(workdir: str | os.PathLike[str], checkpoint: str = "best") -> Path:
    """Returns the path of a run's checkpoint, ``"best"`` or ``"last"``.

    Raises:
        ValueError: If the name is unknown.
        FileNotFoundError: If the run has none (yet).
    """
    if checkpoint not in CHECKPOINTS:
        raise unknown("checkpoint", checkpoint, CHECKPOINTS)
    path = Path(workdir).expanduser() / "checkpoints" / f"{checkpoint}.keras"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a checkpoint at {path}; there is none. Either {os.fspath(workdir)!r} is "
            f"not the folder of a run, or the run has not finished its first epoch.{_hint(workdir)}"
        )
    return path


def _hint(path: str | os.PathLike[str]) -> str:
    """Returns a sentence that names the run in which a path lies; none if it lies in none."""
    for folder in Path(path).absolute().parents:
        if any((folder / "checkpoints" / f"{name}.keras").is_file() for name in CHECKPOINTS):
            return f" Its run is the folder {os.path.relpath(folder)!r}: load that."
    return ""


def load(path: str | os.PathLike[str], checkpoint: str = "best") -> Model:
    """Loads a trained model.

    Args:
        path: The folder of a run, or a ``.keras`` file.
        checkpoint: Of a run: ``"best"`` (by ``val_adv_accuracy`` on the validation split; the last
            where there was no validation) or ``"last"``.

    Returns:
        The :class:`rlfat_tf.AdversarialModel` as it was saved (``.model`` is the classifier), or
        whatever Keras model the ``.keras`` file holds. It maps images in [0, 1] to logits.

    Raises:
        FileNotFoundError: If there is nothing to load.
        ValueError: If the file is damaged, holds anything that is not known to compute and do
            nothing else, or does not fit this version of Keras.
    """
    file = Path(path).expanduser()
    if (file / "saved_model.pb").is_file():
        raise FileNotFoundError(
            f"Expected the folder of a run or a .keras file; {path} is a SavedModel. Load it with "
            "tf.saved_model.load, or with rlfat_tf.evaluation.load_classifier to evaluate it. Its "
            "run, which can be trained on, is the folder above it."
        )
    of_run = file.is_dir()
    if of_run:
        file = model_path(file, checkpoint)
    elif not file.is_file():
        raise FileNotFoundError(f"Expected the folder of a run or a .keras file; no {path} exists.")
    elif file.suffix not in (".keras", ".h5", ".hdf5"):  # what HDF5 is told is in archive.check
        raise ValueError(
            f"Expected the folder of a run or a .keras file; {path} is neither.{_hint(path)}"
        )
    try:
        stored = archive.check(file)
    except Damaged as error:
        others = [c for c in CHECKPOINTS if c != checkpoint and of_run]
        hint = f" Load checkpoint={others[0]!r} instead." if others else ""
        raise Damaged(f"{error}{hint}") from error
    try:
        with weights.limited_variables(stored):
            return keras.models.load_model(file, safe_mode=True)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        refusal = _first_cause(error)
        if isinstance(refusal, Refused):
            raise Refused(f"{file} is refused: {refusal}") from error
        reason = " ".join(f"{type(refusal).__name__}: {refusal}".split())
        raise Damaged(
            f"{file} is not what Keras {KERAS_VERSION} writes, or its weights do not fit its "
            f"layers ({reason:.300})."
        ) from error


def _first_cause(error: BaseException) -> BaseException:
    """Returns what an error came from: Keras raises new ones that quote the whole model."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error
