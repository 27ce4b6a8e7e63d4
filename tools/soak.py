"""Trains and evaluates in one process for a long time and reports how its memory grows.

    python tools/soak.py --minutes=30

Every round grows one run by an epoch, with its callbacks, backups and checkpoints, and evaluates it
on the test images, clean and under attack. Reports the slope of the resident memory, least squares
over the second half of the rounds, and fails if it is above ``--limit``.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from pathlib import Path

import numpy as np

from rlfat_tf import builders, data, training, workdir
from rlfat_tf.config import TrainConfig


def resident_megabytes() -> float:
    """Returns the resident memory of this process, without what Python may free at any time."""
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as file:
        (line,) = (line for line in file if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def soak(folder: Path, seconds: float, method: str) -> tuple[list[float], list[float]]:
    """Returns the minutes since the start and the resident memory, after every round."""
    config = TrainConfig(
        method=method,
        model="small_cnn",
        train_examples=600,
        attack_steps=3,
        checkpoint_every=4,
        distribution="none",
        workdir=str(folder),
    )
    digits = data.load("digits", train_examples=config.train_examples)
    train, validation = data.split(digits.train, config.validation_fraction, config.seed)
    epoch = data.steps_per_epoch(train, config.batch_size)
    robust = builders.build_model(config, digits, epoch, epoch)
    progress = dict(workdir.BEGINNING)
    start, minutes, memory = time.monotonic(), [], []
    while time.monotonic() - start < seconds:
        training.train_model(
            config, robust, (train, validation), progress, progress["step"] + epoch
        )
        test = data.evaluation_batches(digits.test, batch_size=config.batch_size)
        result = robust.evaluate(test, verbose=0, return_dict=True)
        minutes.append((time.monotonic() - start) / 60)
        memory.append(resident_megabytes())
        print(
            f"round {len(memory)}: {minutes[-1]:.1f} min, {memory[-1]:.1f} MB, accuracy "
            f"{result['accuracy']:.1%}, under attack {result['adv_accuracy']:.1%}",
            flush=True,
        )
    return minutes, memory


def slope(minutes: list[float], memory: list[float]) -> float:
    """Returns the growth in MB an hour over the second half, when all caches are filled."""
    half = len(minutes) // 2
    return float(np.polyfit(minutes[half:], memory[half:], 1)[0] * 60)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--method", default="rlfat_p")
    parser.add_argument("--limit", type=float, default=60.0, help="MB an hour")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        minutes, memory = soak(Path(folder), arguments.minutes * 60, arguments.method)
    if len(memory) < 6:
        raise SystemExit(f"{len(memory)} rounds are too few to tell a slope; give more --minutes.")
    growth = slope(minutes, memory)
    print(
        f"{len(memory)} rounds in {minutes[-1]:.1f} minutes: resident memory {memory[0]:.1f} MB "
        f"after the first round, {memory[-1]:.1f} MB after the last; slope {growth:+.1f} MB/h."
    )
    if growth > arguments.limit:
        raise SystemExit(f"The slope is above {arguments.limit} MB/h.")


if __name__ == "__main__":
    main()
