"""What a step costs as the attack, the batch or the data grow; compiling; distribution; input.

Compile time and peak memory are measured in a process of their own each.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

import rlfat_tf
from benchmarks import measure, streaming
from rlfat_tf import data
from rlfat_tf.core.compat import keras
from rlfat_tf.data import from_arrays

NET, EPSILON = "wrn-10-1", 0.03


def arrays(count: int) -> Any:
    """Images and labels as a data set."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, count).astype(np.int32)
    return from_arrays(images, labels, images[:10], labels[:10], num_classes=10)


def trainer(attack_steps: int) -> Any:
    """RLFAT_P around a new network."""
    from benchmarks.train_step import network

    attack = rlfat_tf.attacks.LinfPGD(epsilon=EPSILON, steps=attack_steps)
    robust = rlfat_tf.RLFATP(network(NET, "float32"), attack=attack)
    robust.compile(optimizer=keras.optimizers.Adam(1e-3))
    return robust


def peak_mebibytes() -> float:
    """The peak of this process's memory; what ``resource`` tells includes its parent's."""
    with open("/proc/self/status", encoding="ascii") as file:
        (line,) = (line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def child(attack_steps: int, batch_size: int, images: int, steps: int) -> None:
    """Prints the seconds of the first step, of a later one, and the peak of memory."""
    train = arrays(images).train
    before = peak_mebibytes()
    robust = trainer(attack_steps)
    batches = data.training_batches(train, batch_size=batch_size, seed=0)
    started = time.perf_counter()
    robust.fit(batches, steps_per_epoch=1, verbose=0)
    first = time.perf_counter() - started
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        robust.fit(batches, steps_per_epoch=1, verbose=0)
        times.append(time.perf_counter() - started)
    found = {"first": first, "step": min(times), "peak": peak_mebibytes(), "before": before}
    print(json.dumps(found))


def spawn(attack_steps: int = 10, batch_size: int = 64, images: int = 2000) -> dict[str, float]:
    """Runs :func:`child` in a process of its own."""
    settings = f"{attack_steps}, {batch_size}, {images}, 3"
    code = f"from benchmarks import scaling; scaling.child({settings})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def spawned(pairs: int) -> dict[str, list[dict[str, float]]]:
    """All variants in turn, as often as there are pairs."""
    variants: dict[str, dict[str, int]] = {
        "PGD-10": {},
        "PGD-1": {"attack_steps": 1},
        "PGD-100": {"attack_steps": 100},
        "batch 256": {"batch_size": 256},
        "20,000 images": {"images": 20000},
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for _ in range(pairs):
        for name, settings in variants.items():
            found[name].append(spawn(**settings))
            measure.say(f"scaling, {name}: {found[name][-1]}")
    return found


def compared(what: str, pairs: int, target: float) -> measure.Row:
    """A row from the processes."""
    found = spawned(pairs)
    short, long, one = found["PGD-10"], found["PGD-100"], found["PGD-1"]
    big, many = found["batch 256"], found["20,000 images"]
    unit = "x"
    if what == "first step":
        values, unit = [a["first"] for a in short], "s"
    elif what == "compile":
        values = [(b["first"] - b["step"]) / (a["first"] - a["step"]) for a, b in zip(short, long)]
    elif what == "memory of steps":
        values = [b["peak"] / a["peak"] for a, b in zip(short, long)]
    elif what == "memory of images":
        values = [b["peak"] / a["peak"] for a, b in zip(short, many)]
    elif what == "time of steps":
        values = [
            (c["step"] - b["step"]) / 90 / ((b["step"] - a["step"]) / 9)
            for a, b, c in zip(one, short, long)
        ]
    elif what == "time of images":
        values = [b["step"] / a["step"] for a, b in zip(short, many)]
    else:
        values = [b["step"] / 4 / a["step"] for a, b in zip(short, big)]
    return measure.row(
        values,
        target=target,
        better="lower",
        unit=unit,
        peer="ours at another size",
        same="the same step",
        seconds={name: [run["step"] for run in runs] for name, runs in found.items()},
        first_seconds={name: [run["first"] for run in runs] for name, runs in found.items()},
        peak_mebibytes={name: [run["peak"] for run in runs] for name, runs in found.items()},
        settings={"method": "rlfat_p", "network": NET, "batch": 64, "images": 2000},
    )


def distribution(args: argparse.Namespace) -> measure.Row:
    """MirroredStrategy with one device against no strategy."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored = trainer(10)
    sides = {"none": trainer(10), "mirrored": mirrored}
    batches = data.training_batches(arrays(2000).train, batch_size=64, seed=0)
    seconds = measure.interleaved(
        {name: functools.partial(_fit, side, batches, 3 * args.steps)
         for name, side in sides.items()},
        args.pairs,
    )  # fmt: skip
    return measure.faster(
        seconds,
        "mirrored",
        ["none"],
        target=0.97,
        same="the same step",
        settings={"method": "rlfat_p", "network": NET, "batch": 64},
    )


def _fit(robust: Any, batches: Any, steps: int) -> None:
    robust.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)


def pipeline(args: argparse.Namespace) -> measure.Row:
    """Images that the input can give in a second over images that an RLFAT_P step takes."""
    batches = data.training_batches(arrays(5000).train, batch_size=64, seed=0, augment="crop_flip")
    robust = trainer(10)
    iterator = iter(batches)

    def read() -> None:
        for _ in range(100):
            images, _ = next(iterator)
        images.numpy()

    seconds = measure.interleaved(
        {"100 batches read": read, "1 step": functools.partial(_fit, robust, batches, 1)},
        args.pairs,
    )
    values = [
        100 * step / reading
        for reading, step in zip(seconds["100 batches read"], seconds["1 step"])
    ]
    return measure.row(
        values,
        target=2.0,
        peer="a training step",
        same="the same batches",
        seconds=seconds,
        settings={"method": "rlfat_p", "network": NET, "batch": 64, "augment": "crop_flip"},
    )


def jobs(args: argparse.Namespace) -> measure.Jobs:
    """Returns the rows' names, and how each is measured."""
    pairs = min(args.pairs, 3)  # each of them starts five processes
    sizes = {
        "first step, PGD-10, seconds": ("first step", 10.0),
        "compile time, PGD-100 over PGD-10": ("compile", 1.1),
        "peak memory, PGD-100 over PGD-10": ("memory of steps", 1.05),
        "peak memory, 20,000 images over 2,000": ("memory of images", 1.25),
        "time of an attack step, PGD-100 over PGD-10": ("time of steps", 1.05),
        "time of a training step, 20,000 images over 2,000": ("time of images", 1.05),
        "time of an image, batch 256 over 64": ("time of batch", 1.05),
    }
    return {
        "MirroredStrategy with one device over none": functools.partial(distribution, args),
        "input pipeline over consumption": functools.partial(pipeline, args),
        **{
            name: functools.partial(compared, what, pairs, target)
            for name, (what, target) in sizes.items()
        },
        **streaming.jobs(args),
    }
