"""Data sets, in memory or on disk, and the batches made of them.

Example::

    data = load("cifar10")
    train, validation = split(data.train, fraction=0.1, seed=0)
    batches = training_batches(train, batch_size=64, seed=0, augment="crop_flip")
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Callable

from rlfat_tf.core.errors import unknown
from rlfat_tf.data import digits, folder, prepared, tfds
from rlfat_tf.data.arrays import Arrays, DataSet, from_arrays, split, split_end
from rlfat_tf.data.augment import AUGMENTATIONS
from rlfat_tf.data.corruptions import stored
from rlfat_tf.data.mixture import Mixture
from rlfat_tf.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from rlfat_tf.data.reading import Options
from rlfat_tf.data.rows import Rows, open_rows, open_several
from rlfat_tf.data.source import Pixels, Source, Stored
from rlfat_tf.data.subset import subset

DATASETS: dict[str, Callable[[Options], DataSet]] = {
    "digits": digits.load,
    **{
        name: functools.partial(tfds.load, name)
        for name in ("cifar10", "cifar100", "stl10", "mnist", "fashion_mnist", "svhn_cropped")
    },
}
PREFIXES: dict[str, Callable[[str, Options], DataSet]] = {
    "tfds": tfds.load,
    "folder": folder.load,
    "corrupted": stored.load,
    "arrays": prepared.load,
}


def load(
    name: str,
    *,
    data_dir: str | None = None,
    download: bool = True,
    train_examples: int | None = None,
    test_examples: int | None = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    background: str = "white",
    channels: int | None = None,
    test_only: bool = False,
    **where: Any,
) -> DataSet:
    """Loads a data set.

    Args:
        name: A name from ``DATASETS``, ``"tfds:<name>"`` or ``"tfds:<name>/<config>"`` for any
            other image classification set of TensorFlow Datasets, ``"folder:<path>"`` for a folder
            of class folders, ``"arrays:<path>"`` for NumPy arrays on disk, see
            :func:`rlfat_tf.data.prepared.load`, or
            ``"corrupted:<folder>/<corruption>/<severity>"`` for CIFAR-10-C, CIFAR-100-C or
            ImageNet-C as their authors give them.
        data_dir: Where TensorFlow Datasets keeps its files; None means ``TFDS_DATA_DIR`` or TFDS's
            default.
        download: Whether a set that is not on disk may be downloaded. If not, the network is not
            touched.
        train_examples: Read only the first so many training examples; None means all.
        test_examples: Read only the first so many test examples; None means all.
        image_size: Resize to squares of this side (bilinear, antialiased, by default without
            keeping the aspect ratio); None leaves the images as they are.
        skip_unreadable: Do without images of a folder that cannot be read, with a warning, instead
            of refusing the folder: the next one of its class takes the place of one for training,
            so that the order of the others stays; others are left out.
        background: Of a folder's images that have transparent pixels, the colour behind them:
            ``"white"`` or ``"black"``.
        channels: Of a folder's images: 3, or 1 for grey ones; None means 1 where all are grey.
        test_only: Read the test part only; the training part then has no examples.
        **where: ``memory``: ``"always"`` holds all images in memory, ``"never"`` leaves them on
            disk, from where they are read whenever they are needed; ``"auto"``, the default, holds
            what fits into a quarter of the memory that is free. It changes no image. ``view``: how
            images become squares, see :class:`rlfat_tf.data.view.View`. ``cache_dir``: where to
            keep what makes the next start faster. ``following``: how many training examples are
            read in addition to ``train_examples``, for validation, where the set has no validation
            part of its own.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: If the data set is not on disk and may not be downloaded.
        ImportError: If a package that the data set needs is missing.
        ValueError: If the name or a number is wrong, or the data do not fit the arguments.
    """
    options = Options(
        data_dir=data_dir,
        download=download,
        train_examples=train_examples,
        test_examples=test_examples,
        image_size=image_size,
        skip_unreadable=skip_unreadable,
        background=background,
        channels=channels,
        test_only=test_only,
        **where,
    )
    options.check()
    data_set = _loader(name)(options)
    if test_only and len(data_set.train):  # not every loader looks at this option
        none = Arrays.none(data_set.image_shape)
        data_set = dataclasses.replace(data_set, train=none, validation=None)
    return data_set


def check_name(name: str) -> None:
    """Refuses what is the name of no data set, before anything is read.

    Raises:
        ValueError: If it is none.
    """
    _loader(name)


def _loader(name: str) -> Callable[[Options], DataSet]:
    prefix, colon, rest = name.partition(":")
    if colon and rest and prefix in PREFIXES:
        return functools.partial(PREFIXES[prefix], rest)
    if name not in DATASETS:
        raise unknown(
            "data set",
            name,
            DATASETS,
            "Others: tfds:<name>[/<config>] for TensorFlow Datasets, folder:<path> for a folder "
            "of class folders, arrays:<path> for NumPy arrays on disk, "
            "corrupted:<folder>/<corruption>/<severity>.",
        )
    return DATASETS[name]


__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Arrays",
    "DataSet",
    "Mixture",
    "Pixels",
    "Rows",
    "Source",
    "Stored",
    "evaluation_batches",
    "from_arrays",
    "load",
    "open_rows",
    "open_several",
    "split",
    "split_end",
    "steps_per_epoch",
    "subset",
    "training_batches",
]
