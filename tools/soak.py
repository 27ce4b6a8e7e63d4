"""Trains and then evaluates for a long time in one process and reports how its memory grows.

    python tools/soak.py --minutes=30

Two thirds of the time go to one run of very many epochs, with its validation, callbacks, backups
and checkpoints, which a SIGTERM ends as a preemption would; the last third to evaluations of the
test images, clean and under attack. Reports the slope of the resident memory of each, least squares
over its second half, an hour and an epoch or evaluation, and fails if one is above ``--limit``.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf import data
from rlfat_tf.run import builders, signals, train, workdir
from rlfat_tf.run.config import TrainConfig

READINGS = 50  # of the memory at least, while it trains and while it evaluates
EPOCHS = 10**6  # more than there is time for


class Memory:
    """Reads this process's resident memory in a thread, in MB, while the context lasts.

    Args:
        every: Seconds between two readings.
    """

    def __init__(self, every: float):
        self.every = every

    def __enter__(self) -> Memory:
        self.minutes: list[float] = []
        self.megabytes: list[float] = []
        self._done, self._start = threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._done.wait(self.every):
            with open("/proc/self/status", encoding="ascii") as file:
                (line,) = (line for line in file if line.startswith("VmRSS:"))
            self.minutes.append((time.monotonic() - self._start) / 60)
            self.megabytes.append(int(line.split()[1]) / 1024)

    def slope(self) -> float:
        """Returns the growth in MB an hour over the second half, when all caches are filled."""
        half = len(self.minutes) // 2
        return float(np.polyfit(self.minutes[half:], self.megabytes[half:], 1)[0] * 60)


def train_for(config: TrainConfig, seconds: float) -> tuple[Any, data.DataSet, int, Memory]:
    """Trains until the time is over; returns the model, the data, the epochs and the memory."""
    digits = data.load("digits", train_examples=config.train_examples)
    arrays = data.split(digits.train, config.validation_fraction, config.seed)
    epoch = data.steps_per_epoch(arrays[0], config.batch_size)
    robust = builders.build_model(config, digits, epoch, EPOCHS * epoch)
    progress, asked = dict(workdir.BEGINNING), signals.Signals()
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    with Memory(seconds / READINGS) as memory:
        timer.start()
        try:
            train.train_model(config, robust, arrays, progress, asked, EPOCHS * epoch)
        except signals.Interrupted:
            pass
        finally:
            asked.restore()
    return robust, digits, progress["step"] // epoch, memory


def evaluate(robust: Any, arrays: data.Arrays, batch_size: int, seconds: float) -> Any:
    """Evaluates until the time is over; returns how often, and the memory."""
    batches, count = data.evaluation_batches(arrays, batch_size=batch_size), 0
    until = time.monotonic() + seconds
    with Memory(seconds / READINGS) as memory:
        while time.monotonic() < until:
            robust.evaluate(batches, verbose=0)
            count += 1
    return count, memory


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--method", default="rlfat_p")
    parser.add_argument("--limit", type=float, default=20.0, help="MB an hour")
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            method=arguments.method,
            model="small_cnn",
            attack_steps=10,
            checkpoint_every=4,
            distribution="none",
            workdir=str(Path(folder)),
        )
        robust, digits, epochs, training_memory = train_for(config, seconds * 2 / 3)
    count, evaluation_memory = evaluate(robust, digits.test, config.batch_size, seconds / 3)
    steep = []
    for what, number, memory in (
        ("epochs", epochs, training_memory),
        ("evaluations", count, evaluation_memory),
    ):
        hours = memory.minutes[-1] / 60
        print(
            f"{number} {what} in {60 * hours:.1f} minutes: resident memory "
            f"{memory.megabytes[len(memory.megabytes) // 2]:.1f} MB halfway, "
            f"{memory.megabytes[-1]:.1f} MB at the end; slope {memory.slope():+.1f} MB/h, "
            f"{1000 * memory.slope() * hours / max(1, number):+.1f} kB each."
        )
        if memory.slope() > arguments.limit:
            steep.append(what)
    if steep:
        raise SystemExit(f"The slope of {' and of '.join(steep)} is above {arguments.limit} MB/h.")


if __name__ == "__main__":
    main()
