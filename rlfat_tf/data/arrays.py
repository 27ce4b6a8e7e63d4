"""A data set: pairs of images and labels, checked once, where they are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from rlfat_tf.core.structure import check_layout
from rlfat_tf.data.reading import READ_BATCH
from rlfat_tf.data.source import Reader, Source, as_counted

NEAR = 1e-4  # beyond the border of [0, 1], where rounding leaves images


@dataclasses.dataclass(frozen=True)
class Arrays(Source):
    """Images in memory and their labels.

    Attributes:
        images: [N, H, W, C], uint8, or float32 in [0, 1].
        labels: [N], int32 or int64; [N, 1], as Keras's data sets have them, become [N].

    Raises:
        ValueError: If shapes, dtypes or values are others.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        _check_images(self.images)
        object.__setattr__(self, "labels", as_counted(self.labels))
        if self.labels.shape[1:] == (1,):
            object.__setattr__(self, "labels", self.labels[:, 0])
        _check_labels(self.labels)
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"Expected one label for each image; received {len(self.images)} images and "
                f"{len(self.labels)} labels."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls, image_shape: Sequence[int]) -> Arrays:
        """Returns no examples, of an image shape."""
        return cls(np.empty((0, *image_shape), np.uint8), np.empty((0,), np.int64))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def reader(self) -> Reader:
        """Returns the function that gathers images; see :class:`rlfat_tf.data.Source`."""
        with tf.device("CPU"):
            # Once: tf.data captures tensors by reference. tf.constant would keep two copies.
            images = tf.identity(self.images)
        return lambda index: tf.gather(images, index)

    def at(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the images of some examples."""
        return self.images[numbers]

    def take(self, index: np.ndarray | slice) -> Arrays:
        """Returns the examples of an index vector, a mask or a slice."""
        return Arrays(self.images[index], self.labels[index])

    def relabelled(self, labels: np.ndarray) -> Arrays:
        """Returns the same images with other labels, [N]."""
        return Arrays(self.images, labels)


def held(source: Source) -> Arrays:
    """Reads the images of a source into memory."""
    images = np.empty((len(source), *source.image_shape), np.uint8)
    for first in range(0, len(source), READ_BATCH):
        numbers = np.arange(first, min(first + READ_BATCH, len(source)))
        images[numbers] = source.at(numbers)
    return Arrays(images, source.labels)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set for classification.

    Attributes:
        train: The training examples; none where only the test part was asked for.
        test: The test examples, of the same image shape; at least one.
        num_classes: At least 2; every label is in [0, num_classes).
        class_names: One name for each class.
        validation: The validation examples, where the set brings some; else a part of the
            training examples can be set aside by :func:`split`.
        content: For each part that was looked at, a line that tells its content from any other.
            Empty for sets whose name says it all.

    Raises:
        ValueError: If the parts do not fit together.
    """

    train: Source
    test: Source
    num_classes: int
    class_names: tuple[str, ...]
    validation: Source | None = None
    content: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(
                f"Expected at least 2 classes; received {self.num_classes}. Add images of another "
                "class: a classifier needs something to choose between."
            )
        if len(self.class_names) != self.num_classes:
            raise ValueError(
                f"Expected {self.num_classes} class names, one for each class; received "
                f"{len(self.class_names)}."
            )
        parts = {"training": self.train, "test": self.test}
        if self.validation is not None:
            parts["validation"] = self.validation
        if not len(self.test):
            raise ValueError("Expected at least one test image; received none.")
        for part, source in parts.items():
            if self.test.image_shape != source.image_shape:
                raise ValueError(
                    f"Expected {part} and test images of one shape; received "
                    f"{source.image_shape} and {self.test.image_shape}."
                )
            check_range(source.labels, self.num_classes, part)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.test.image_shape


def check_range(labels: np.ndarray, num_classes: int, part: str) -> None:
    """Refuses labels that are no classes.

    Raises:
        ValueError: If one is not in [0, num_classes).
    """
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected {part} labels from 0 to {num_classes - 1} ({num_classes} classes); "
            f"received labels from {low} to {high}."
        )


def from_arrays(
    train_images: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_images: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
) -> DataSet:
    """Makes a data set of arrays.

    Args:
        train_images: [N, H, W, C], uint8, or floats in [0, 1].
        train_labels: [N] integers.
        test_images: As ``train_images``; of the same image shape.
        test_labels: As ``train_labels``.
        num_classes: Number of classes. By default that of ``class_names``, or else the highest
            label plus one.
        class_names: One name for each class; by default ``"0"``, ``"1"``, ...

    Returns:
        The data set. uint8 images are used as they are; other floats become float32.

    Raises:
        ValueError: If shapes, types or values are not those above.
    """
    train = Arrays(_as_images(train_images), np.asarray(train_labels))
    test = Arrays(_as_images(test_images), np.asarray(test_labels))
    if not len(train):
        raise ValueError("Expected at least one image for training; received none.")
    if num_classes is None:
        highest = max(int(train.labels.max()), int(test.labels.max()))
        num_classes = len(class_names) if class_names is not None else highest + 1
    if class_names is None:
        class_names = [str(i) for i in range(num_classes)]
    return DataSet(train, test, num_classes, tuple(class_names))


def split(source: Source, fraction: float, seed: int) -> tuple[Source, Source | None]:
    """Sets a random part of the training examples aside for validation.

    Args:
        source: The training examples.
        fraction: The part for validation, in [0, 1); the count is rounded to the nearest.
        seed: The same seed gives the same parts.

    Returns:
        The rest and the validation part, both in their original order. The validation part is
        None if ``fraction`` is 0.

    Raises:
        ValueError: If ``fraction`` is out of range, or leaves one of the parts empty.
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"Expected a validation fraction in [0, 1); received {fraction}.")
    if fraction == 0.0:
        return source, None
    total = len(source)
    count = round(total * fraction)
    if count in (0, total):
        raise ValueError(
            f"A validation fraction of {fraction} of {total} examples leaves {count} for "
            f"validation and {total - count} for training; each needs at least 1. "
            "Choose another fraction, or 0 for no validation."
        )
    order = np.random.RandomState(seed).permutation(total)
    return source.take(np.sort(order[count:])), source.take(np.sort(order[:count]))


def split_end(source: Source, count: int) -> tuple[Source, Source]:
    """Sets the last training examples aside for validation.

    Args:
        source: The training examples.
        count: How many are set aside, at least 1.

    Returns:
        The rest and the validation part, both in their order.

    Raises:
        ValueError: If nothing would be left for training.
    """
    rest = len(source) - count
    if rest < 1:
        raise ValueError(
            f"Expected fewer validation examples than there are examples for training and "
            f"validation together; received {count} of {len(source)}. Take fewer, or a share: "
            "--validation_examples=0 --validation_fraction=0.1."
        )
    return source.take(slice(rest)), source.take(slice(rest, None))


def _as_images(images: npt.ArrayLike) -> np.ndarray:
    """Turns other floats into float32, and leaves every other type to the check."""
    images = np.asarray(images)
    return images.astype(np.float32) if images.dtype.kind == "f" else images


def _check_images(images: np.ndarray) -> None:
    check_layout(images)
    if 0 in images.shape[1:]:
        raise ValueError(f"Expected at least one pixel; received shape {images.shape}.")
    if images.dtype == np.uint8:
        return
    if images.dtype != np.float32:
        raise ValueError(
            f"Expected uint8 images, or floats in [0, 1] as float32; received {images.dtype}."
        )
    if not len(images):
        return
    low, high = float(images.min()), float(images.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("Expected finite pixel values; received NaN or infinity.")
    if low < 0.0 or high > 1.0:
        guess = ""
        if low >= -NEAR and high <= 1 + NEAR:
            guess = " Rounding alone is mended by numpy.clip(images, 0, 1)."
        elif low >= 0.0 and high <= 255.0:
            guess = " Did you mean to divide by 255?"
        raise ValueError(
            f"Expected float images in [0, 1]; received values from {low:.9g} to {high:.9g}.{guess}"
        )


def _check_labels(labels: np.ndarray) -> None:
    if labels.ndim != 1:
        hint = " For one-hot labels pass labels.argmax(-1)." if labels.ndim == 2 else ""
        raise ValueError(f"Expected labels of shape [examples]; received {labels.shape}.{hint}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"Expected integer labels; received dtype {labels.dtype}.")
