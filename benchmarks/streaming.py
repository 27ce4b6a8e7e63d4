"""Data that need not fit in memory: what they take of it, and how fast they come.

Memory is that of a process which trains and evaluates as the commands do, above what TensorFlow
has taken before: its anonymous pages, sampled all the time. Pages of a mapped file are the
system's, and do not count.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from PIL import Image

import rlfat_tf
from benchmarks import measure
from rlfat_tf import data
from rlfat_tf.core.compat import keras
from rlfat_tf.models import MODELS
from rlfat_tf.run import evaluate, train
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.storage import checkpoint

SIDE, CLASSES = 128, 10
FILES = {"train": 14_000, "test": 6_000}
ROWS = {"train": 63_000, "test": 24_000}  # of SIDE pixels, 4.28 GB
DRAWN = 2_500  # first rows of a part that are not black
EVALUATED = 5_500  # in memory as floats they would take 1.01 GiB
SMALL = 640  # examples of the run that is made both ways
NET, BATCH = "wrn-10-2", 64


def smooth_images(count: int, side: int, seed: int) -> np.ndarray:
    """Blurred noise, uint8 [count, side, side, 3]: JPEG files of it are as small as photos."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3)).astype(np.float32)
    return tf.image.resize(coarse, (side, side)).numpy().astype(np.uint8)


def write_files(home: Path) -> str:
    """Writes a folder of JPEG files; returns its name as a data set."""
    for seed, (part, count) in enumerate(FILES.items()):
        for label in range(CLASSES):
            (home / part / str(label)).mkdir(parents=True)
        for first in range(0, count, 500):
            images = smooth_images(500, SIDE, 100 * first + seed)
            for number, image in enumerate(images, first):
                path = home / part / str(number % CLASSES) / f"{number}.jpg"
                Image.fromarray(image).save(path, quality=90)
    return f"folder:{home}"


def write_rows(home: Path) -> str:
    """Writes sparse arrays, which take little of the disk; returns their name as a data set."""
    home.mkdir(parents=True)
    for seed, (part, count) in enumerate(ROWS.items()):
        shape = (count, SIDE, SIDE, 3)
        images = np.lib.format.open_memmap(home / f"x_{part}.npy", "w+", np.uint8, shape)
        images[:DRAWN] = smooth_images(DRAWN, SIDE, seed)
        images.flush()
        np.save(home / f"y_{part}.npy", np.arange(count) % CLASSES)
    return f"arrays:{home}"


KINDS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "files": ("20,000 JPEG files", write_files),
    "rows": ("4 GB of mapped rows", write_rows),
}


def anonymous_mebibytes() -> float:
    """What this process has of memory that is no file's."""
    with open("/proc/self/status", encoding="ascii") as file:
        (line,) = (line for line in file if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def pooled(*, input_shape: Any, num_classes: int, normalize: str = "none") -> Any:
    """A network that costs next to nothing."""
    images = keras.Input(input_shape)
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(16)(images))
    return keras.Model(images, keras.layers.Dense(num_classes)(x))


def configured(dataset: str, workdir: Path, how: str, train_examples: int | None) -> Any:
    """The run: everything that reads images is switched on."""
    return rlfat_tf.TrainConfig(
        dataset=dataset,
        method="pgdat",
        model="pooled",
        workdir=str(workdir),
        memory=how,
        train_examples=train_examples,
        test_examples=10 * CLASSES,
        validation_fraction=0.05,
        augment="crop_flip+cutout",
        train_steps=20,
        epochs=None,
        batch_size=BATCH,
        attack_steps=1,
        learning_rate=0.01,
        picture_every=1,
        export=False,
    )


def child(dataset: str, home: str) -> None:
    """Trains and evaluates, and trains little both ways; prints what the former took of memory."""
    tf.matmul(tf.ones([64, 64]), tf.ones([64, 64])).numpy()
    before, greatest, done = anonymous_mebibytes(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal greatest
        while not done.wait(0.01):
            greatest = max(greatest, anonymous_mebibytes())

    threading.Thread(target=watch, daemon=True).start()
    MODELS["pooled"] = pooled
    whole = Path(home) / "whole"
    train.run(configured(dataset, whole, "never", None))
    found: dict[str, Any] = {"TensorFlow": before, "training": greatest - before}
    evaluate.run(
        EvalConfig(
            workdir=str(whole),
            memory="never",
            test_examples=EVALUATED,
            test_subset="stratified",
            attacks="clean,pgd",
            steps=1,
            corruptions="brightness:1",
        )
    )
    found["evaluation"] = greatest - before
    done.set()
    weights = []
    for how in ("never", "always"):
        train.run(configured(dataset, Path(home) / how, how, SMALL))
        weights.append(checkpoint.load(Path(home) / how, "last").model.get_weights())
    found["same"] = all(np.array_equal(one, other) for one, other in zip(*weights))
    print(json.dumps(found))


def memory(kind: str) -> measure.Row:
    """Mebibytes above TensorFlow's own; a small run in memory must give the same."""
    with tempfile.TemporaryDirectory() as scratch:
        dataset = KINDS[kind][1](Path(scratch) / "data")
        code = f"from benchmarks import streaming; streaming.child({dataset!r}, {scratch!r})"
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"The process ended with {done.returncode}; above is why.")
    found = json.loads(done.stdout.splitlines()[-1])
    if not found.pop("same"):
        raise ValueError("The same run, in memory and from disk, has other weights.")
    return measure.row(
        [max(found["training"], found["evaluation"])],
        target=1024,
        better="lower",
        unit="MiB",
        same=f"weights after {SMALL} examples, from disk and in memory: bit-equal",
        mebibytes=found,
        settings={"pixels": SIDE, "batch": BATCH, "network": "pooling and a dense layer"},
    )


@functools.cache
def speeds(pairs: int, steps: int) -> dict[str, list[float]]:
    """Processor seconds of 1,000 images: trained on, and from files, mapped rows and memory."""
    from benchmarks.train_step import network

    with tempfile.TemporaryDirectory() as scratch:
        for label in range(CLASSES):
            (Path(scratch) / "train" / str(label)).mkdir(parents=True)
        for number, image in enumerate(smooth_images(2_000, SIDE, 0)):
            path = Path(scratch) / "train" / str(number % CLASSES) / f"{number}.jpg"
            Image.fromarray(image).save(path, quality=90)
        files = data.load(f"folder:{scratch}/train", memory="never", image_size=32).train
        images = smooth_images(20_000, 32, 0)
        np.save(Path(scratch) / "x.npy", images)
        np.save(Path(scratch) / "x_labels.npy", np.arange(len(images)) % CLASSES)
        rows = data.open_rows(Path(scratch) / "x.npy")
        sources = {"files": files, "rows": rows, "memory": data.Arrays(images, rows.labels)}
        robust = rlfat_tf.PGDAT(
            network(NET, "float32"), attack=rlfat_tf.attacks.LinfPGD(epsilon=0.03, steps=1)
        )
        robust.compile(optimizer=keras.optimizers.Adam(1e-3))
        streams = {name: iter(_batches(source)) for name, source in sources.items()}
        # So many that those which were read ahead, in the others' turns, do not count.
        counts = {"step": steps, "files": 60, "rows": 400, "memory": 400}

        def read(name: str) -> None:
            for _ in range(counts[name]):
                batch, _ = next(streams[name])
            batch.numpy()

        def step() -> None:
            robust.fit(_batches(sources["memory"]), steps_per_epoch=steps, epochs=1, verbose=0)

        sides: dict[str, Callable[[], Any]] = {"step": step}
        sides.update({name: functools.partial(read, name) for name in streams})
        seconds: dict[str, list[float]] = {}
        # What files have begun to read ahead would be counted as the work of rows.
        for pair in (("rows", "memory"), ("step", "files")):
            some = {name: sides[name] for name in pair}
            seconds.update(measure.interleaved(some, pairs, clock=time.process_time))
    return {
        name: [1000 * value / counts[name] / BATCH for value in values]
        for name, values in seconds.items()
    }


def _batches(source: data.Source) -> Any:
    return data.training_batches(source, batch_size=BATCH, seed=0, augment="crop_flip")


def faster_than(ours: str, peer: str, target: float, args: argparse.Namespace) -> measure.Row:
    """How many images come from one source for the work that the peer needs for one."""
    seconds = speeds(args.pairs, 3 * args.steps)
    return measure.faster(
        {name: seconds[name] for name in (ours, peer)},
        ours,
        [peer],
        target=target,
        same="batches of as many images of 32 pixels",
        settings={
            "network": NET,
            "method": "pgdat, PGD-1",
            "batch": BATCH,
            "augment": "crop_flip",
            "seconds": "of the processor, for 1,000 images",
        },
    )


def jobs(args: argparse.Namespace) -> measure.Jobs:
    """Returns the rows' names, and how each is measured."""
    return {
        "images from JPEG files over consumption": functools.partial(
            faster_than, "files", "step", 2.0, args
        ),
        "images from mapped rows over consumption": functools.partial(
            faster_than, "rows", "step", 2.0, args
        ),
        "images from mapped rows over rows in memory": functools.partial(
            faster_than, "rows", "memory", 0.9, args
        ),
        **{
            f"memory above TensorFlow's own, {what}": functools.partial(memory, kind)
            for kind, (what, _) in KINDS.items()
        },
    }
