"""Corrupted test images as their authors give them: CIFAR-10-C, CIFAR-100-C, ImageNet-C.

Understood are ``<folder>/<corruption>.npy`` with ``labels.npy``, where the first fifth of the rows
is of severity 1 and the last of severity 5, and ``<folder>/<corruption>/<severity>/<class>/*``.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from rlfat_tf.core.errors import unknown
from rlfat_tf.data import folder
from rlfat_tf.data.arrays import Arrays, DataSet, held
from rlfat_tf.data.layout import list_test_folder
from rlfat_tf.data.memory import holds
from rlfat_tf.data.reading import READ_BATCH, Options, Unreadable
from rlfat_tf.data.rows import Rows

SEVERITIES = (1, 2, 3, 4, 5)
LABELS = "labels"


def load(path: str, options: Options) -> DataSet:
    """Loads one corruption at one severity.

    Args:
        path: ``<folder>/<corruption>/<severity>``; ``~`` is expanded.
        options: Of :func:`rlfat_tf.data.load`.

    Returns:
        The data set, its test part only. Classes of arrays are called by their numbers.

    Raises:
        FileNotFoundError: If there is no such folder or corruption.
        ValueError: If the path is no such path, files are damaged, or ``test_only`` is not given:
            these images are not for training.
    """
    if not options.test_only:
        raise ValueError(
            f"corrupted:{path} has images to evaluate models on (eval.py; in Python load it with "
            "test_only=True), none to train them."
        )
    parts = Path(path).expanduser().parts
    if len(parts) < 3 or parts[-1] not in map(str, SEVERITIES):
        raise ValueError(
            "Expected corrupted:<folder>/<corruption>/<severity>, with a severity from 1 to 5; "
            f"received corrupted:{path}. Several at once: eval.py --corruptions=all "
            "--corruption_dir=<folder>."
        )
    return read(Path(*parts[:-2]), parts[-2], int(parts[-1]), options)


def names(root: str | os.PathLike[str]) -> tuple[str, ...]:
    """Returns the corruptions in a folder, in the order of their names.

    Raises:
        FileNotFoundError: If there are none.
    """
    root = Path(root).expanduser()
    arrays = {path.stem for path in root.glob("*.npy")} - {LABELS}
    folders = {path.parent.name for path in root.glob(f"*/{SEVERITIES[0]}") if path.is_dir()}
    if not arrays and not folders:
        raise FileNotFoundError(
            f"Expected corrupted images in {str(root)!r}: <corruption>.npy and {LABELS}.npy, or "
            "<corruption>/<severity>/<class>/<name>; found none. Unpack an archive first."
        )
    return tuple(sorted(arrays or folders))


def read(root: str | os.PathLike[str], name: str, severity: int, options: Options) -> DataSet:
    """Reads one corruption at one severity; arguments and errors as :func:`load`."""
    root = Path(root).expanduser()
    known = names(root)
    if name not in known:
        raise unknown(f"corruption in {str(root)!r}:", name, known)
    if (root / f"{name}.npy").is_file():
        return _read_arrays(root, name, severity, options)
    found = list_test_folder(str(root / name / str(severity)))
    return folder.load_listing(found, options._replace(test_only=True))


def _read_arrays(root: Path, name: str, severity: int, options: Options) -> DataSet:
    images, labels = _open(root / f"{name}.npy"), _open(root / f"{LABELS}.npy")
    count, rest = divmod(len(images), len(SEVERITIES))
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or rest
        or len(labels)
        not in (
            count,
            len(images),
        )
    ):
        raise Unreadable(
            f"Expected {str(root / name)!r}.npy to hold 8-bit images [5 n, height, width, "
            f"channels], n of every severity, and {LABELS}.npy n or 5 n labels; they hold "
            f"{images.dtype} {images.shape} and {labels.shape}."
        )
    first = count * (severity - 1)
    wanted = options.number("test", count)
    labels = labels[first:] if len(labels) == len(images) else labels
    chosen = np.array(labels[:wanted]).astype(np.int64)
    rows = Rows(images[first : first + wanted], chosen, options.look)
    digest = hashlib.sha256()
    for begin in range(first, first + wanted, READ_BATCH):
        digest.update(images[begin : min(begin + READ_BATCH, first + wanted)].tobytes())
    in_memory = holds(options.memory, wanted, rows.image_shape)
    classes = int(labels.max()) + 1
    return DataSet(
        Arrays.none(rows.image_shape),
        held(rows) if in_memory else rows,
        classes,
        tuple(map(str, range(classes))),
        content={"test": f"{wanted} images, digest {digest.hexdigest()[:16]}"},
    )


def _open(path: Path) -> np.ndarray:
    """Opens an array without reading it."""
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no {path.name!r} in {str(path.parent)!r}.") from None
    except (EOFError, OSError, ValueError) as error:
        raise Unreadable(f"{str(path)!r} is damaged or no array ({error}). Get it anew.") from error
    return found
