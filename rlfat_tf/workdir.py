"""The folder of a run: whose it is, and how far the run has come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlfat_tf import checkpoint
from rlfat_tf.config import TrainConfig
from rlfat_tf.methods import AdversarialModel


def check_workdir(workdir: Path, config: TrainConfig) -> None:
    """Refuses a folder that belongs to another run; its length may grow.

    Raises:
        ValueError: If the run in that folder computes something else.
    """
    path = workdir / "config.json"
    if not path.is_file():
        if workdir.exists() and not workdir.is_dir():
            raise ValueError(f"Expected --workdir to be a folder; {workdir} is a file.")
        return
    there = TrainConfig.from_json(path.read_text(encoding="utf-8")).identity
    here = json.loads(json.dumps(config.identity))
    different = [name for name in here if here[name] != there.get(name)]
    if different:
        changes = ", ".join(f"--{n}={there.get(n)} there, {here[n]} now" for n in different)
        raise ValueError(
            f"The folder {workdir} holds another run ({changes}). Choose another --workdir; a "
            "run is never overwritten."
        )


def write_config(workdir: Path, config: TrainConfig) -> None:
    """Writes ``config.json`` and ``flags.cfg``."""
    checkpoint.write_text(workdir / "config.json", config.to_json() + "\n")
    checkpoint.write_text(workdir / "flags.cfg", config.to_flags())


def restore_progress(workdir: Path, robust: AdversarialModel) -> dict[str, Any]:
    """Restores the backup, if there is one, and returns how far the run has come."""
    backup = workdir / "checkpoints" / "state.npz"
    if not backup.is_file():
        return {"step": 0, "seconds": 0.0, "trained": 0, "best": None, "best_epoch": None}
    return checkpoint.restore_state(backup, robust)
