"""The JSON files of finished runs: written whole, read by the tables."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from rlfat_tf.storage.files import write_text
from studies.runs import Folders, Look, NotPossible, Run

ROOT = Path(__file__).resolve().parent.parent
COMMITS = "commits.txt"


def commit() -> str:
    """Returns the commit of the code, "dirty" if files differ from it, "unknown" outside git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def note_commit(workdir: Path) -> list[str]:
    """Notes by which commits a run was made, which may go on after a change; returns them all."""
    path = workdir / COMMITS
    known = path.read_text("utf-8").split() if path.is_file() else []
    if commit() not in known:
        known.append(commit())
        write_text(path, "\n".join(known) + "\n")
    return known


def command(run: Run | Look) -> str:
    """Returns the command that makes a run or a look."""
    return shlex.join(["python", "-m", "studies", run.study, f"--only={run.name}"])


def epochs(path: Path) -> dict[str, list[float | None]]:
    """Returns the columns of a run's ``metrics.csv``; None where an epoch was not validated."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0]) if rows else []
    return {
        name: [float(f"{float(row[name]):.6g}") if row[name] else None for row in rows]
        for name in names
    }


def write(path: Path, result: dict[str, Any]) -> None:
    """Writes a result, lists of numbers on one line each."""
    text = json.dumps(result, indent=1, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    write_text(path, text.replace("[ ", "[").replace(" ]", "]") + "\n")


def read(run: Run | Look, folders: Folders) -> dict[str, Any] | None:
    """Returns the result of a run or a look; None if it is not finished.

    Raises:
        NotPossible: If the result is of a run with other settings than the catalogue's.
    """
    path = run.result(folders)
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if isinstance(run, Run) and (unlike := _unlike(run, found)):
        raise NotPossible(
            f"{path} is of another run than the catalogue describes: {', '.join(unlike)}. Move it "
            "away and make the run again, or take the catalogue back."
        )
    return found


def _unlike(run: Run, found: dict[str, Any]) -> list[str]:
    """Returns in what a result differs from what the catalogue describes."""
    of_budget = {"epochs", "train_steps", "ema"} if run.budget else set()
    wanted = {
        "seed": run.seed,
        **{name: value for name, value in run.flags.items() if name not in of_budget},
    }
    config = found["config"]
    unlike = [
        f"{name} {config.get(name)!r} instead of {value!r}"
        for name, value in wanted.items()
        if config.get(name) != value
    ]
    for checkpoint, evaluated in found["evaluation"].items():
        for attack, part in evaluated.items():
            examples = run.autoattack if attack == "autoattack" else run.examples
            if part["examples"] != examples:
                unlike.append(f"{checkpoint}, {attack}: {part['examples']} images of {examples}")
    missing = set(run.checkpoints) - set(found["evaluation"])
    return unlike + [f"nothing of the {each} checkpoint" for each in sorted(missing)]


def load() -> float:
    """Returns how busy the machine is: processes that want to run, mean of a minute."""
    return round(os.getloadavg()[0], 2)
