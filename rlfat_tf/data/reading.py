"""What every kind of data has in common: the options, and reading into memory."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rlfat_tf.core.errors import unknown
from rlfat_tf.data.memory import check_memory
from rlfat_tf.data.view import View

READ_BATCH = 512
BACKGROUNDS = ("white", "black")  # of transparent pixels


class Unreadable(ValueError):
    """The files of a data set are incomplete or damaged."""


def reason(error: tf.errors.OpError) -> str:
    """Returns what a TensorFlow error says, without where in the graph it was raised."""
    return str(error.message).rpartition("}} ")[2].partition(" [Op:")[0]


def unreadable(error: Exception) -> str | None:
    """Returns what a reader in a graph said of a file that it could not read; None if none did."""
    found = re.search(rf"{Unreadable.__name__}: (.*)", str(error))
    return None if found is None else found[1]


class Options(NamedTuple):
    """How to load a data set; the arguments of :func:`rlfat_tf.data.load`."""

    data_dir: str | None = None
    download: bool = True
    train_examples: int | None = None
    test_examples: int | None = None
    image_size: int | None = None
    skip_unreadable: bool = False
    background: str = "white"
    channels: int | None = None
    test_only: bool = False
    memory: str = "auto"
    view: str = "squash"
    cache_dir: str | None = None
    following: int = 0  # for validation, where the set has no part for it

    @property
    def look(self) -> View:
        """How images become squares."""
        return View(self.image_size, self.view)

    def check(self) -> None:
        """Raises ValueError for a value that is out of its range."""
        if self.background not in BACKGROUNDS:
            raise unknown("background", self.background, BACKGROUNDS)
        if self.channels not in (None, 1, 3):
            raise ValueError(f"Expected channels to be 1 or 3; received {self.channels}.")
        check_memory(self.memory)
        self.look.check()
        for name in ("train_examples", "test_examples", "image_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Expected {name} of at least 1; received {value}.")
        if self.following < 0:
            raise ValueError(f"Expected following of at least 0; received {self.following}.")

    def for_parts(self, parts: Container[str]) -> Options:
        """Returns the options for a set of these parts: its own validation part is enough."""
        return self._replace(following=0) if "validation" in parts else self

    def number(self, part: str, available: int) -> int:
        """Returns how many examples of a part to read.

        Args:
            part: ``"train"`` or ``"test"``; of ``"validation"`` all are read.
            available: How many there are.

        Raises:
            ValueError: If there are none, or more are wanted than there are.
        """
        wanted = {"train": self.train_examples, "test": self.test_examples}.get(part)
        following = self.following if part == "train" else 0
        if available < 1:
            raise ValueError(f"The {part} part of this data set has no examples.")
        if wanted is not None and wanted + following > available:
            also = f" and validation_examples {following}" if following else ""
            raise ValueError(
                f"{part}_examples is {wanted}{also}, but the {part} part has {available} examples. "
                f"Give {available} or less{', together' if also else ''}, or leave it out to use "
                "all."
            )
        return available if wanted is None else wanted + following


def read(dataset: tf.data.Dataset, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads ``count`` (image, label) pairs of one static image shape into arrays.

    Args:
        dataset: Pairs of a uint8 image [H, W, C] and an integer label, at least ``count``.
        count: How many to read.

    Returns:
        uint8 images [count, H, W, C] and int64 labels [count].

    Raises:
        Unreadable: If the files cannot be read to their end, or hold fewer than ``count``.
    """
    shape = tuple(dataset.element_spec[0].shape)
    images = np.empty((count, *shape), np.uint8)
    labels = np.empty((count,), np.int64)
    done = 0
    options = tf.data.Options()
    options.autotune.enabled = False  # the end of the pass would wait for it, see pipeline.py
    batches = dataset.take(count).batch(READ_BATCH).prefetch(2).with_options(options)
    try:
        for some_images, some_labels in batches.as_numpy_iterator():
            end = done + len(some_labels)
            images[done:end], labels[done:end] = some_images, some_labels
            done = end
    except tf.errors.OpError as error:
        raise Unreadable(
            f"Expected {count} examples, but the files are incomplete or damaged "
            f"({reason(error)}). Prepare the data set again."
        ) from error
    check_count(count, done)
    return images, labels


def check_count(expected: int, found: int) -> None:
    """Raises Unreadable if the files of a data set hold another number of examples."""
    if found != expected:
        raise Unreadable(
            f"Expected {expected} examples, but the files hold {found}: they are incomplete. "
            "Prepare the data set again."
        )
