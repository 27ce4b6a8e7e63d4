"""``folder:<path>``: a folder of class folders with PNG, JPEG, GIF or BMP files."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.data.arrays import Arrays, DataSet
from rlfat_tf.data.reading import Options, Unreadable, read, reason, resize

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")
TEST_NAMES = ("test", "val", "validation")


def load(path: str, options: Options) -> DataSet:
    """Loads ``<path>/train/<class>/*.png`` and ``<path>/test/<class>/*.png``.

    ``val`` or ``validation`` stand in for a missing ``test``. If there is only one level,
    ``<path>/<class>/*.png``, every fifth file of the sorted list becomes a test example. Classes
    are numbered in the order of their names. The files of a part are put in a fixed mixed order
    (that of a digest of their names), so that the first N are of all classes. Images are read as
    RGB; where all are grey they get one channel.

    Args:
        path: The folder; ``~`` is expanded.
        options: ``data_dir`` and ``download`` are not used. Images of different sizes need
            ``image_size``.

    Returns:
        Images uint8, labels int64.

    Raises:
        FileNotFoundError: If the folder or a part of it does not exist.
        ValueError: If there are no images, classes differ between the parts, a class has none, a
            file cannot be read (and ``skip_unreadable`` is not given), or the images differ in
            size and ``image_size`` is not given.
    """
    root = Path(path).expanduser()
    train_files, test_files = _parts(root)
    classes = sorted({file.parent.name for file in train_files})
    foreign = sorted({file.parent.name for file in test_files} - set(classes))
    if foreign:
        raise ValueError(f"The test part of {path!r} has classes that train lacks: {foreign}.")
    parts = []
    for part, files in (("train", train_files), ("test", test_files)):
        parts.append(_part(part, sorted(files, key=_digest), classes, options))
    if all(_grey(arrays.images) for arrays in parts):
        parts = [Arrays(arrays.images[..., :1].copy(), arrays.labels) for arrays in parts]
    return DataSet(parts[0], parts[1], len(classes), tuple(classes))


def _parts(root: Path) -> tuple[list[Path], list[Path]]:
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {str(root)!r} to read images from.")
    if (root / "train").is_dir():
        for name in TEST_NAMES:
            if (root / name).is_dir():
                return _files(root / "train"), _files(root / name)
        raise FileNotFoundError(
            f"{str(root)!r} has a folder 'train' but no 'test' (or 'val') beside it."
        )
    files = _files(root)
    return [file for i, file in enumerate(files) if i % 5 != 4], files[4::5]


def _files(folder: Path) -> list[Path]:
    every = sorted(file for file in folder.glob("*/*") if file.is_file())
    files = [file for file in every if file.suffix.lower() in SUFFIXES]
    if not files:
        raise ValueError(
            f"Expected images {str(folder)!r}/<class>/<name> with one of the endings "
            f"{', '.join(SUFFIXES)}; found none."
        )
    classes = {folder.name for folder in folder.iterdir() if folder.is_dir()}
    empty = sorted(c for c in classes - {file.parent.name for file in files} if c[0] not in "._")
    if empty:
        raise ValueError(
            f"Expected images of every class; {str(folder)!r} has none in {', '.join(empty)}. Add "
            "them, or remove the empty folders."
        )
    others = [file.suffix.lower() for file in set(every) - set(files) if file.name[0] != "."]
    if others:
        warnings.warn(
            f"Left out {len(others)} files in {str(folder)!r} whose endings are not "
            f"{', '.join(SUFFIXES)} but {', '.join(sorted(map(repr, set(others))))}.",
            stacklevel=2,
        )
    return files


def _digest(file: Path) -> bytes:
    return hashlib.sha256(f"{file.parent.name}/{file.name}".encode()).digest()


def _decode(name: Any) -> Any:
    return tf.io.decode_image(tf.io.read_file(name), channels=3, expand_animations=False)


def _part(part: str, files: list[Path], classes: list[str], options: Options) -> Arrays:
    """Reads one part of the data set; what cannot be read is named, or left out."""
    chosen = files[: options.number(part, len(files))]
    labels = [classes.index(file.parent.name) for file in chosen]
    try:
        return Arrays(*_read([str(file) for file in chosen], labels, options.image_size))
    except Unreadable:  # slow, but it names the files
        faults = {file: fault for file in chosen if (fault := _fault(file)) is not None}
        if not faults:
            raise
    first, fault = next(iter(faults.items()))
    others = f" (and {len(faults) - 1} other files)" if len(faults) > 1 else ""
    message = f"{str(first)!r} cannot be read as an image{others}: {fault}."
    if not options.skip_unreadable:
        raise ValueError(
            f"{message} Repair or remove them, or leave them out with --skip_unreadable."
        )
    warnings.warn(f"{message} Left out.", stacklevel=2)
    return _part(part, [file for file in files if file not in faults], classes, options)


def _read(names: list[str], labels: list[int], size: int | None) -> tuple[np.ndarray, np.ndarray]:
    shape = [size, size, 3] if size is not None else _shape(names[0])

    def pair(name: Any, label: Any) -> Any:
        image = _decode(name)
        if size is None:
            same = tf.reduce_all(tf.equal(tf.shape(image), shape))
            with tf.control_dependencies([tf.debugging.Assert(same, [name])]):
                image = tf.identity(image)
        return tf.ensure_shape(resize(image, size), shape), label

    pairs = tf.data.Dataset.from_tensor_slices((names, np.asarray(labels, np.int64)))
    try:
        return read(pairs.map(pair, num_parallel_calls=tf.data.AUTOTUNE), len(names))
    except Unreadable:
        for name in names:  # slow, but it names the file
            if size is None and _shape(name) != shape:
                raise ValueError(
                    f"Images differ in size: {names[0]!r} has shape {shape}, {name!r} has shape "
                    f"{_shape(name)}. Say what size to bring them to: --image_size={shape[0]}, "
                    "for instance."
                ) from None
        raise


def _shape(name: str) -> list[int]:
    try:
        return list(_decode(name).shape)
    except tf.errors.OpError as error:
        raise Unreadable(reason(error)) from None


def _fault(file: Path) -> str | None:
    try:
        _shape(str(file))
    except Unreadable as error:
        return str(error)
    return None


def _grey(images: np.ndarray) -> bool:
    first = images[..., 0]
    return np.array_equal(first, images[..., 1]) and np.array_equal(first, images[..., 2])
