"""Tiny runs, what it means that two of them ended alike, and how their files can be damaged."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from rlfat_tf.run.config import TrainConfig
from rlfat_tf.storage import checkpoint

# Two steps an epoch, a backup after each, three batches of validation.
SMALL = {
    "dataset": "digits",
    "method": "standard",
    "model": "small_cnn",
    "train_examples": 112,
    "test_examples": 20,
    "batch_size": 32,
    "validation_fraction": 0.4,
    "epochs": 2,
    "epsilon": 0.1,
    "attack_steps": 1,
    "guard": "off",
    "augment": "none",
    "distribution": "none",
    "checkpoint_every": 1,
    "export": False,
}
# What the run of the fixture `trained` has beside: the harder case of each, and a best epoch that
# is the last one. What a recipe would fill in is given, so that train.py makes the same run of it.
TRAINED = {
    "method": "rlfat_p",
    "eta": 0.5,
    "attack_step_size": 0.05,
    "attack_random_start": "uniform",
    "learning_rate": 0.01,
    "ema": 0.5,
    "export": True,
}
TIMES = ("seconds", "images_per_second", "workdir")


def config(workdir: Path, **changes: object) -> TrainConfig:
    settings = {**SMALL, "workdir": str(workdir), **changes}
    if "train_steps" in changes:
        settings["epochs"] = None
    return TrainConfig(**settings)  # type: ignore[arg-type]


def flags(run: TrainConfig) -> list[str]:
    """The configuration as arguments of ``train.py``."""
    return run.to_flags().splitlines()


@dataclass(frozen=True)
class Trained:
    """A run that nothing happened to."""

    folder: Path
    summary: dict[str, Any]

    @property
    def tested(self) -> dict[str, float]:
        """What the test set has given."""
        return {name: self.summary[name] for name in ("test_accuracy", "test_adv_accuracy")}

    def files(self) -> dict[Path, tuple[int, int]]:
        """What tells whether a file of it was touched."""
        found = [path for path in self.folder.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def weights(workdir: Path, name: str = "last") -> list[np.ndarray]:
    return checkpoint.load(workdir, name).get_weights()


def check_weights(expected: Path, actual: Path, name: str = "last") -> None:
    """To the last bit."""
    for one, other in zip(weights(expected, name), weights(actual, name)):
        np.testing.assert_array_equal(one, other)


def metrics(workdir: Path) -> list[dict[str, str]]:
    with open(workdir / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_same(expected: Path, actual: Path) -> None:
    """Weights to the last bit, every epoch's validation, the summary but for its times."""
    check_weights(expected, actual, "last")
    check_weights(expected, actual, "best")
    assert len(metrics(expected)) == len(metrics(actual))
    for one, other in zip(metrics(expected), metrics(actual)):
        validated = [name for name in one if name == "epoch" or name.startswith("val_")]
        assert {name: one[name] for name in validated} == {name: other[name] for name in validated}
    summaries = []
    for run in (expected, actual):
        summary = json.loads((run / "summary.json").read_text())
        summaries.append({k: v for k, v in summary.items() if k not in TIMES})
    assert summaries[0] == summaries[1]
    assert not list(actual.rglob(".writing-*")) and not (actual / ".lock").exists()


def damages(path: Path) -> dict[str, Callable[[bytes], bytes]]:
    """The ways in which a file can be damaged, as functions of its content."""
    size = path.stat().st_size
    return {
        "empty": lambda content: b"",
        "no archive": lambda content: b"not what was written" * 10,
        "truncated": lambda content: content[: size // 2],
        "end lost": lambda content: content[:-1],
        "one bit": lambda content: _flipped(content, size // 2),
        "first bit": lambda content: _flipped(content, 0),
    }


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
