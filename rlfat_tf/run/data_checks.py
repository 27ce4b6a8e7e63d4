"""What is said of the data of a run before it trains on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlfat_tf import data
from rlfat_tf.core.errors import warn
from rlfat_tf.methods import METHODS

IMBALANCE = 20  # images of the largest class for one of the smallest, above which a run warns
SHOWN = 5
LOOKED_AT = 64  # first images, whose pixels are looked at


def warn_of_flip(dataset: str, augment: str) -> None:
    """Warns of mirrored images where nobody has said that this keeps their meaning."""
    if dataset.startswith("folder:") and data.augment.parse(augment).mirrors:
        warn(
            f"--augment={augment} mirrors images left to right, which changes the meaning of text "
            "and of signs that point to one side. If the images show such things, use "
            "--augment=none or --augment=cutout."
        )


def check_extra_share(extra_data: str | None, extra_share: float) -> None:
    """Refuses extra data of which no batch has any.

    Raises:
        ValueError: If there is extra data and its share is 0.
    """
    if extra_data is not None and not extra_share:
        raise ValueError(
            "Expected --extra_share above 0 beside --extra_data; received 0, with which no extra "
            "image would be used. Give a share such as 0.7; or leave --extra_data out, and take no "
            "recipe that has it."
        )


def warn_of_dark(source: data.Source, part: str) -> None:
    """Warns of 8-bit images that look as if their pixels were in [0, 1].

    Args:
        source: Images, of which the first are looked at.
        part: What they are, for the message: "training", for instance.
    """
    images = source.at(np.arange(min(LOOKED_AT, len(source))))
    if images.dtype == np.uint8 and images.size and images.max() <= 1:
        warn(
            f"The greatest pixel of the first {len(images)} {part} images is {images.max()}, but "
            "8-bit images go from 0 to 255: these are nearly black. Make 8-bit images of floats in "
            "[0, 1] by (255 * images).round().astype(numpy.uint8), and of masks of 0 and 1 by "
            "255 * images."
        )


def check_mixing(method: str, augment: str, extra_label_smoothing: float = 0.0) -> None:
    """Refuses label rows for a method that needs the one class of every example.

    Raises:
        ValueError: If labels are mixed or smoothed, and the method cannot take that.
    """
    mixes = data.augment.parse(augment).mixing is not None
    if METHODS[method].takes_soft_labels or not (mixes or extra_label_smoothing):
        return
    others = ", ".join(name for name, one in METHODS.items() if one.takes_soft_labels)
    raise ValueError(
        f"--method={method} needs one class for every example, but "
        + (f"--augment={augment} mixes" if mixes else "--extra_label_smoothing spreads")
        + f" the classes of {'two' if mixes else 'extra data'}. Leave "
        + f"{'the mixing' if mixes else 'it'} out, or use one of these methods: {others}."
    )


def check_classes(train: data.Source, class_names: Sequence[str]) -> None:
    """Warns of classes of which there is no training example.

    Raises:
        ValueError: If there are examples of one class only.
    """
    counts = np.bincount(train.labels, minlength=len(class_names))
    missing = [name for name, count in zip(class_names, counts) if not count]
    if len(class_names) - len(missing) < 2:
        raise ValueError(
            f"Expected training examples of at least 2 classes; all {len(train)} are of one. Use "
            "more examples (--train_examples)."
        )
    if missing:
        warn(
            f"There is no training example of {len(missing)} of the {len(class_names)} classes: "
            f"{shortened(missing)}."
        )


def warn_of_classes(data_set: data.DataSet) -> None:
    """Warns of classes that the test part lacks, and of classes of very different sizes."""
    names, size = data_set.class_names, len(data_set.class_names)
    tested = np.bincount(data_set.test.labels, minlength=size)
    missing = [name for name, count in zip(names, tested) if not count]
    if missing:
        warn(
            f"There is no test image of {len(missing)} of the {size} classes: "
            f"{shortened(missing)}. The test accuracy does not cover them."
        )
    counts = np.bincount(data_set.train.labels, minlength=size)
    present = np.where(counts, counts, counts.max())
    most, fewest = int(counts.argmax()), int(present.argmin())
    if counts[most] > IMBALANCE * counts[fewest]:
        warn(
            f"The class {names[most]!r} has {counts[most]} training images and {names[fewest]!r} "
            f"{counts[fewest]}, more than {IMBALANCE} to 1. The accuracy is mostly that of the "
            "large classes, and small classes may never be predicted."
        )


def shortened(names: Sequence[str]) -> str:
    """Joins names, of many the first."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
