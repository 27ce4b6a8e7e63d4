"""Tiny runs, what it means that two of them ended alike, and how their files can be damaged."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Callable

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
    "augment": "none",
    "distribution": "none",
    "checkpoint_every": 1,
    "export": False,
}
TIMES = ("seconds", "images_per_second", "workdir")


def config(workdir: Path, **changes: object) -> TrainConfig:
    return TrainConfig(**{**SMALL, "workdir": str(workdir), **changes})  # type: ignore[arg-type]


def metrics(workdir: Path) -> list[dict[str, str]]:
    with open(workdir / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_same(expected: Path, actual: Path) -> None:
    """Weights to the last bit, every epoch's validation, the summary but for its times."""
    for name in ("last", "best"):
        pairs = zip(*(checkpoint.load(run, name).get_weights() for run in (expected, actual)))
        assert all(np.array_equal(one, other) for one, other in pairs)
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
