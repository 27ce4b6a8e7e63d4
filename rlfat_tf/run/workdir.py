"""The folder of a run: whose it is, how far the run has come, what a killed one left in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlfat_tf.core.errors import given
from rlfat_tf.data.content import BY_CONTENT
from rlfat_tf.methods import AdversarialModel
from rlfat_tf.run import initial_weights
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.guard import NOTHING_SEEN
from rlfat_tf.storage import checkpoint, locks
from rlfat_tf.storage.files import check_folder, remove_leftovers, write_text
from rlfat_tf.storage.reading import as_written, read_json

GOOD_STATE = "state.good.npz"  # that of the end of the last epoch which had not overfitted

# How far a run has come; kept in its backup.
BEGINNING: dict[str, Any] = {
    "step": 0,
    "seconds": 0.0,  # of training alone
    "trained": 0,  # images in that time
    "best": None,  # the accuracies by which it was selected, its epoch, the digest of best.keras
    "best_epoch": None,
    "best_digest": None,
    "unvalidated": None,  # the metrics of an epoch whose validation was stopped
    **NOTHING_SEEN,  # of the overfitting guard
}


def as_list(best: Any) -> list[float]:
    """The accuracies of the best epoch; backups of version 0.1 hold the first one alone."""
    return best if isinstance(best, list) else [best]


@contextmanager
def lock_workdir(workdir: Path, config: TrainConfig) -> Iterator[None]:
    """Holds the folder of a run for this process, and tidies up what a killed one left there.

    A start that was refused before its first epoch ended, for a wrong flag perhaps, claims nothing:
    a run with other flags may begin in the folder.

    Raises:
        ValueError: If another process holds it, or it belongs to another run.
    """
    check_folder(workdir, "--workdir")
    with locks.holding(workdir):
        if has_trained(workdir):
            check_workdir(workdir, config)
        else:  # the good state is that of the beginning, perhaps of another network
            (workdir / "checkpoints" / GOOD_STATE).unlink(missing_ok=True)
        for folder in (workdir, workdir / "checkpoints"):
            remove_leftovers(folder)
        checkpoint.repair_state(workdir / "checkpoints" / "state.npz")
        _check_backup(workdir)
        yield


def check_workdir(workdir: Path, config: TrainConfig) -> None:
    """Refuses a folder that belongs to another run; its length may grow.

    Raises:
        ValueError: If the run in that folder computes something else.
    """
    path = workdir / "config.json"
    if not path.is_file():
        return
    there = with_absolute_paths(read_config(workdir)).identity
    here = json.loads(json.dumps(with_absolute_paths(config).identity))
    different = [name for name in here if here[name] != there.get(name)]
    if different:
        changes = ", ".join(
            f"--{n}: {given(there.get(n))} there, {given(here[n])} now" for n in different
        )
        raise ValueError(
            f"The folder {workdir} holds another run ({changes}). Choose another --workdir; a "
            f"run is never overwritten.{_longer(different, config)}"
        )


def _check_backup(workdir: Path) -> None:
    """Refuses a run that has come to its second epoch and has no backup to go on from.

    Killed at the end of the first one, it may have the files of that epoch and no backup yet.

    Raises:
        ValueError: If it would begin again, over what it has made.
    """
    metrics = workdir / "metrics.csv"
    epochs = metrics.read_bytes().count(b"\n") - 1 if metrics.is_file() else 0
    if not has_backup(workdir) and (epochs > 1 or (workdir / "summary.json").is_file()):
        raise ValueError(
            f"The run in {workdir} has no backup any more (checkpoints/state.npz), so that it can "
            "only begin again, and a run is never overwritten. Restore the backup; or choose "
            f"another --workdir, where --weights={workdir} begins with the model of this run; or "
            "remove the folder."
        )


def _longer(different: list[str], config: TrainConfig) -> str:
    """Says how to go on with a run whose length is part of what it computes."""
    if not set(different) <= {"epochs", "train_steps"}:
        return ""
    return (
        f" With --lr_schedule={config.lr_schedule} and --epsilon_warmup={config.epsilon_warmup} "
        "every step depends on the length, so that this run cannot grow: continue from its weights "
        "in another folder, --weights=<this folder>."
    )


def read_config(workdir: str | os.PathLike[str]) -> TrainConfig:
    """Returns the configuration of the run in a folder.

    Raises:
        Damaged: If ``config.json`` is not what a run of this version has written.
        OSError: If it cannot be read.
    """
    path = Path(workdir) / "config.json"
    advice = (
        "Choose another folder; or, if you know that it is of this very run, remove the file and "
        "give the command of the run again."
    )
    with as_written(path, advice):
        return TrainConfig.from_json(path.read_text(encoding="utf-8"))


def copy_good_state(shared: Path, workdir: Path) -> None:
    """Gives a worker that writes elsewhere the good state that the run's folder holds, if any."""
    there, here = (folder / "checkpoints" / GOOD_STATE for folder in (shared, workdir))
    if there.is_file():
        here.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(there, here)


def fingerprint(config: TrainConfig) -> int:
    """Returns a number, exact in float64, that runs which compute something else do not share."""
    identity = json.dumps(config.identity, sort_keys=True, default=str)
    return int(hashlib.sha256(identity.encode()).hexdigest()[:12], 16)


def check_shared(workdir: Path, seconds: float = 60.0) -> None:
    """Checks that this worker sees the folder in which the chief has just written ``config.json``.

    Args:
        workdir: The folder of the run.
        seconds: How long a network's file system may take to show it.

    Raises:
        ValueError: If it does not.
    """
    deadline = time.monotonic() + seconds
    while not (workdir / "config.json").is_file():
        if time.monotonic() > deadline:
            raise ValueError(
                f"Expected --workdir to be on storage that all workers see; {workdir} is not here "
                "what it is for the chief, which has written to it."
            )
        time.sleep(0.2)


def write_config(workdir: Path, config: TrainConfig) -> None:
    """Writes ``config.json`` and ``flags.cfg``, which can be used from any folder."""
    config = with_absolute_paths(config)
    write_text(workdir / "config.json", config.to_json() + "\n")
    write_text(workdir / "flags.cfg", config.to_flags())


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Returns the configuration as it can be used from any folder of this machine."""
    changes: dict[str, Any] = {}
    prefix, _, path = config.dataset.partition(":")
    if prefix in BY_CONTENT:
        changes["dataset"] = f"{prefix}:{_absolute(path)}"
        changes["workdir"] = str(Path(config.run_dir).resolve())  # its default is made of the name
    if config.extra_data is not None:
        changes["extra_data"] = ",".join(map(_absolute, config.extra_data.split(",")))
    paths = {name: getattr(config, name) for name in ("data_dir", "helper_model")}
    if initial_weights.is_path(config.weights):
        paths["weights"] = config.weights
    for name, path in paths.items():
        if path is not None and "://" not in path:
            changes[name] = _absolute(path)
    return dataclasses.replace(config, **changes)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def has_trained(workdir: Path) -> bool:
    """Tells whether a folder holds anything that training has made, which is to be protected.

    Backups and checkpoints are; what is left of a run without them, to save space, is too.
    """
    checkpoints = workdir / "checkpoints"
    made = [path for path in checkpoints.glob("*") if path.is_file() and path.name != GOOD_STATE]
    left = [workdir / name for name in ("metrics.csv", "summary.json", "export")]
    return bool(made) or any(path.exists() for path in left)


def has_backup(workdir: Path) -> bool:
    """Tells whether a run has a backup to go on from."""
    return (workdir / "checkpoints" / "state.npz").is_file()


def restore_progress(workdir: Path, robust: AdversarialModel) -> dict[str, Any]:
    """Restores the backup, if there is one, and returns how far the run has come.

    A best checkpoint of an epoch that the backup does not know, or that is gone, is forgotten.
    """
    folder = workdir / "checkpoints"
    if not has_backup(workdir):
        return dict(BEGINNING)
    path = folder / "state.npz"
    progress = {**BEGINNING, **checkpoint.restore_state(path, robust)}
    with as_written(path):
        _check_progress(progress)
    if progress["best_digest"] != checkpoint.digest(folder / "best.keras"):
        progress.update(best=None, best_epoch=None, best_digest=None)
    return progress


def _check_progress(progress: dict[str, Any]) -> None:
    numbers = [progress[name] for name in ("step", "seconds", "trained")]
    optional = [*as_list(progress["best"]), progress["best_probe"]]
    numbers += [number for number in optional if number is not None]
    if not all(type(number) in (int, float) for number in numbers):
        raise TypeError(f"{numbers} are not all numbers")
    if not isinstance(progress["unvalidated"], (dict, type(None))):
        raise TypeError(f"unvalidated is {progress['unvalidated']!r:.40}")
    if not isinstance(progress["best_epoch"], (int, type(None))):
        raise TypeError(f"best_epoch is {progress['best_epoch']!r:.40}")
    if not all(type(progress[name]) is bool for name in ("careful", "stopped")):
        raise TypeError("careful and stopped are not true or false")
    sentences = progress["overfitted"]
    if not isinstance(sentences, list) or not all(isinstance(text, str) for text in sentences):
        raise TypeError(f"overfitted is {sentences!r:.40}")


def read_summary(workdir: Path) -> dict[str, Any]:
    """Returns what ``summary.json`` holds; nothing if there is none.

    Raises:
        ValueError: If it is damaged.
    """
    path = workdir / "summary.json"
    if not path.is_file():
        return {}
    return read_json(path, "Remove it: the same command makes it anew.")
