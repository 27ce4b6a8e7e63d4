"""The files of a run: its backup, its checkpoints, and getting a model back from them.

    model = rlfat_tf.load("runs/cifar10_rlfat_p")                     # the best checkpoint
    model = rlfat_tf.load("runs/cifar10_rlfat_p", checkpoint="last")

Every file is written beside its place and then moved there in one step, so that a run killed at any
moment leaves the previous file whole.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf import compat
from rlfat_tf.compat import keras
from rlfat_tf.errors import unknown

CHECKPOINTS = ("best", "last")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write to, in the same folder, and moves it to ``path`` when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        yield written
        with open(written, "rb") as file:
            os.fsync(file.fileno())
        os.replace(written, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in one step."""
    with replacing(path) as written:
        written.write_text(text, encoding="utf-8")


def _state_variables(model: Any) -> list[Any]:
    return [*compat.variables_of(model.model), *compat.optimizer_variables(model.optimizer)]


def save_state(path: Path, model: Any, progress: dict[str, Any]) -> None:
    """Writes everything that a run needs to go on: weights, optimizer, progress.

    Args:
        path: A ``.npz`` file.
        model: A compiled :class:`rlfat_tf.AdversarialModel` whose optimizer is built.
        progress: What else to keep, as JSON.
    """
    arrays: dict[str, Any] = {str(i): v.numpy() for i, v in enumerate(_state_variables(model))}
    arrays["progress"] = np.array(json.dumps(progress))
    with replacing(path) as written:
        np.savez(written, **arrays)


def restore_state(path: Path, model: Any) -> dict[str, Any]:
    """Puts the state of :func:`save_state` back into a model that is built alike.

    Returns:
        The progress that was saved with it.

    Raises:
        ValueError: If the file holds another model's state.
    """
    variables = _state_variables(model)
    with np.load(path, allow_pickle=False) as file:
        stored = [file[str(i)] for i in range(len(file.files) - 1)]
        progress = json.loads(str(file["progress"]))
    shapes = [tuple(v.shape) for v in variables]
    if [a.shape for a in stored] != shapes:
        raise ValueError(
            f"{path} holds {len(stored)} arrays that do not fit the {len(shapes)} variables of "
            "this model and optimizer: it was written for another network or another version."
        )
    for variable, value in zip(variables, stored):
        variable.assign(value)
    return progress


def save_model(path: Path, model: Any) -> None:
    """Writes a ``.keras`` file in one step."""
    with replacing(path) as written:
        model.save(written)


def model_path(workdir: str | os.PathLike[str], checkpoint: str = "best") -> Path:
    """Returns the path of a run's checkpoint, ``"best"`` or ``"last"``.

    Raises:
        ValueError: If the name is unknown.
        FileNotFoundError: If the run has none (yet).
    """
    if checkpoint not in CHECKPOINTS:
        raise unknown("checkpoint", checkpoint, CHECKPOINTS)
    path = Path(workdir) / "checkpoints" / f"{checkpoint}.keras"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a checkpoint at {path}; there is none. Either {os.fspath(workdir)!r} is "
            "not the folder of a run, or the run has not finished its first epoch."
        )
    return path


def load(path: str | os.PathLike[str], checkpoint: str = "best") -> Any:
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
    """
    path = Path(path)
    if path.is_dir():
        path = model_path(path, checkpoint)
    elif not path.is_file():
        raise FileNotFoundError(f"Expected the folder of a run or a .keras file; no {path} exists.")
    return keras.models.load_model(path)
