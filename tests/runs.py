"""Tiny runs for the tests of survival, and what it means that two of them ended alike."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from rlfat_tf import checkpoint
from rlfat_tf.config import TrainConfig

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
