"""How long a step takes, from which runs with a budget of time get their number of steps.

Measured once, on one machine, which should do nothing else; the file is kept with the results. So
all runs of a study have equal time on *that* machine, wherever they are made.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from rlfat_tf import data
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Logs
from rlfat_tf.core.versions import versions
from rlfat_tf.run import builders, dataset
from rlfat_tf.run.config import TrainConfig
from studies import results
from studies.runs import Folders, Run

STEPS, WARM = 16, 4  # measured, and those before, which trace and fill caches


def steps(run: Run, folders: Folders) -> int:
    """Returns how many steps fit into a run's budget; measures a step if nobody has.

    Raises:
        ValueError: If the run has no budget.
    """
    if run.budget is None:
        raise ValueError(f"{run.key} has no budget.")
    return max(1, round(60 * run.budget / _seconds(run, folders)))


def _seconds(run: Run, folders: Folders) -> float:
    """Returns the seconds of a step of this recipe; recipes that differ by budget share them."""
    path = folders.results / run.study / "rates.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    name = run.recipe.rpartition("-")[0] or run.recipe
    if name not in found:
        before = results.load()
        found[name] = {
            "seconds_per_step": round(measure(run.config(folders)), 5),
            "versions": versions(),
            "machine": machine(),
            "load": before,
        }
        results.write(Path(path), found)
    return float(found[name]["seconds_per_step"])


class _Clock(keras.callbacks.Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.times.append(time.perf_counter())


def measure(config: TrainConfig) -> float:
    """Returns the median of the seconds of some steps of a run."""
    total = STEPS + WARM
    short = dataclasses.replace(config, train_examples=config.batch_size * total)
    data_set, train, _ = dataset.load_for_training(short)
    robust = builders.build_model(short, data_set, total, total)
    batches = data.training_batches(
        train, batch_size=short.batch_size, seed=short.seed, augment=short.augment
    )
    clock = _Clock()
    robust.fit(batches, epochs=1, steps_per_epoch=total, verbose=0, callbacks=[clock])
    ends = clock.times[WARM - 1 :]
    return statistics.median(after - before for before, after in zip(ends, ends[1:]))
