"""Images of one size in one file, which is mapped into memory: the system reads what is used."""

from __future__ import annotations

import hashlib
import math
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf
from numpy.lib import format as npy

from rlfat_tf.core.structure import check_layout
from rlfat_tf.core.types import Array, Tensor
from rlfat_tf.data.content import BUDGET
from rlfat_tf.data.reading import READ_BATCH, Unreadable
from rlfat_tf.data.source import Stored
from rlfat_tf.data.view import View

AS_STORED = View()
ZIP_PREFIX = b"PK"
IMAGES, LABELS = "image", "label"  # of the releases of generated images
LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip archive: the lengths of a name and of extra data


class Rows(Stored):
    """8-bit images of one shape, in an array that need not be in memory.

    Args:
        images: uint8 [N, H, W, C], for instance by :func:`mapped`.
        labels: Integers [N].
        look: What becomes of the images; by default they stay as they are.

    Raises:
        ValueError: If the images are of another type, have the channels first, or the labels are
            not as many.
    """

    def __init__(self, images: Array, labels: Array, look: View = AS_STORED):
        labels = np.asarray(labels)
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(
                "Expected 8-bit images, uint8 [N, H, W, C]; received "
                f"{images.dtype} {list(images.shape)}. Floats in [0, 1] become such by "
                "(255 * images).round().astype(numpy.uint8)."
            )
        check_layout(images)
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"Expected an integer label for each of the {len(images)} images; received "
                f"labels {labels.dtype} {list(labels.shape)}."
            )
        sides = images.shape[1:3] if look.size is None else (look.size, look.size)
        super().__init__(labels, (*sides, images.shape[3]))
        self.store, self._look = images, look

    def view(self, image: Tensor) -> Tensor:
        """Brings an image, or a batch of them, to ``image_shape``."""
        return self._look(image)

    def describe(self) -> str:
        """Returns a line that tells these images from others.

        It is made of all labels and of the first images that together have ``BUDGET`` bytes.
        """
        digest = hashlib.sha256(np.ascontiguousarray(self.labels).astype("<i8").tobytes())
        known = min(len(self.store), BUDGET // max(1, math.prod(self.store.shape[1:])))
        for first in range(0, known, READ_BATCH):
            digest.update(self.store[np.arange(first, min(first + READ_BATCH, known))].tobytes())
        shape = list(self.store.shape[1:])
        return f"{len(self.store)} images of {shape}, digest {digest.hexdigest()[:16]}"

    def _read(self, place: Tensor) -> Tensor:
        images = tf.numpy_function(self._gather, [place], tf.uint8, stateful=False)
        return tf.ensure_shape(images, [*place.shape, *self.store.shape[1:]])  # its rank is lost

    def _gather(self, places: Array) -> Array:
        _check_length(self.store)
        # Each once and in order, as HDF5 asks for, and as a disk reads fastest.
        wanted, back = np.unique(np.ravel(places), return_inverse=True)
        images: Array = np.asarray(self.store[wanted])[np.ravel(back)]
        return images.reshape(*np.shape(places), *self.store.shape[1:])


def _check_length(store: Any) -> None:
    """Refuses to read a mapped file that was cut off since: the system would end the process."""
    for array in store.arrays if isinstance(store, Joined) else [store]:
        while isinstance(getattr(array, "base", None), np.memmap):
            array = array.base  # a slice has the offset of the whole
        if not isinstance(array, np.memmap) or not os.path.exists(str(array.filename)):
            continue  # a file without a name stays mapped
        if os.path.getsize(str(array.filename)) < array.offset + array.nbytes:
            raise Unreadable(f"{str(array.filename)!r} has become shorter. Fetch it again.")


class Joined:
    """Arrays of one kind, one after the other, of which rows can be gathered.

    Args:
        arrays: At least one; all rows have one shape and one type.

    Raises:
        ValueError: If they differ.
    """

    def __init__(self, arrays: Sequence[Array]):
        kinds = {(array.shape[1:], array.dtype) for array in arrays}
        if len(kinds) > 1:
            said = "; ".join(sorted(f"{dtype} {list(shape)}" for shape, dtype in kinds))
            raise ValueError(f"Expected images of one shape and type; received {said}.")
        self.arrays, self._ends = arrays, np.cumsum([len(array) for array in arrays])
        self.shape = (int(self._ends[-1]), *arrays[0].shape[1:])
        self.dtype, self.ndim = arrays[0].dtype, arrays[0].ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: Array) -> Array:
        found = np.empty((len(places), *self.shape[1:]), self.dtype)
        number = np.searchsorted(self._ends, places, side="right")
        for one in np.unique(number):
            rows = number == one
            begin = self._ends[one] - len(self.arrays[one])
            found[rows] = self.arrays[one][places[rows] - begin]
        return found


def open_several(paths: Sequence[str], look: View = AS_STORED) -> Rows:
    """Opens files with images and labels as if they were one.

    Args:
        paths: One or more files as :func:`open_rows` takes them, with images of one shape.
        look: How stored images become those of the network; by default they are left as they are.

    Returns:
        Their examples, one file after the other.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: See :func:`open_rows`; or if the images differ in shape or dtype.
    """
    opened = [open_rows(path) for path in paths]
    labels = np.concatenate([rows.labels for rows in opened])
    return Rows(Joined([rows.store for rows in opened]), labels, look)


def open_rows(path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> Rows:
    """Opens images and labels on disk.

    Args:
        path: An ``.npz`` file with the arrays ``image`` and ``label``, or an ``.npy`` file of
            images.
        labels: The ``.npy`` file of labels that belongs to an ``.npy`` file; by default its name
            with ``_labels`` before the ending.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no such array, is compressed, or holds pickled objects.
    """
    path = Path(path).expanduser()
    if path.suffix == ".npz":
        return Rows(mapped(path, IMAGES), np.array(mapped(path, LABELS)))
    beside = path.with_name(f"{path.stem}_labels{path.suffix}")
    return Rows(mapped(path), np.array(mapped(labels or beside)))


def mapped(
    path: str | os.PathLike[str], member: str | None = None, written: str | None = None
) -> Array:
    """Maps an array on disk into memory, read-only; nothing of it is read.

    Args:
        path: An ``.npy`` file, or an ``.npz`` file as ``numpy.savez`` writes it.
        member: The name of the array in an ``.npz`` file.
        written: The call of NumPy that writes the file as its reader expects it, for messages; by
            default that for files of generated images.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the array is not there, is compressed, cut off, or holds pickled objects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of NumPy arrays; there is no {str(path)!r}.")
    written = written or f"numpy.savez({path.stem + '.npz'!r}, image=images, label=labels)"
    with open(path, "rb") as file:
        begin = 0 if member is None else _begin_of(path, file, member, written)
        file.seek(begin)
        shape, dtype = _header(path, file, written)
        offset = file.tell()
    needed = offset + math.prod(shape) * dtype.itemsize
    if path.stat().st_size < needed:
        raise Unreadable(
            f"{str(path)!r} is cut off: it has {path.stat().st_size} bytes, and an array "
            f"{list(shape)} of {dtype} in it would end at byte {needed}. Fetch the file again."
        )
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)


def _begin_of(path: Path, file: BinaryIO, member: str, written: str) -> int:
    """Returns where an array that is stored in a zip archive begins."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            found = archive.getinfo(f"{member}.npy") if f"{member}.npy" in names else None
    except (zipfile.BadZipFile, NotImplementedError) as error:  # zipfile's, of a wrong version
        raise _no_arrays(path, file, f"no .npz file ({error})", written) from None
    if found is None:
        held = ", ".join(name.removesuffix(".npy") for name in names) or "none"
        raise ValueError(
            f"Expected the array {member!r} in {str(path)!r}; it has {held}. Write it anew: "
            f"{written}."
        )
    if found.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"{str(path)!r} is compressed, so that its images cannot be read one by one. Write it "
            'anew: found = numpy.load(path); numpy.savez("stored.npz", **found).'
        )
    file.seek(found.header_offset)
    header = file.read(LOCAL_HEADER.size)
    if len(header) < LOCAL_HEADER.size:
        said = f"no .npz file (there is nothing where {member!r} should be)"
        raise _no_arrays(path, file, said, written)
    lengths: Sequence[int] = LOCAL_HEADER.unpack(header)
    return found.header_offset + LOCAL_HEADER.size + sum(lengths)


def _header(path: Path, file: BinaryIO, written: str) -> tuple[tuple[int, ...], Any]:
    """Reads what is before the numbers of an array: its shape and its type."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, in_columns, dtype = read(file)
    except ValueError as error:
        raise _no_arrays(path, file, f"no array of NumPy ({error})", written) from None
    if dtype.hasobject:
        raise Unreadable(f"{str(path)!r} holds pickled objects. {_convert(written)}")
    if in_columns and len(shape) > 1:
        raise ValueError(
            f"{str(path)!r} is stored column by column. Write it anew, with "
            f"numpy.ascontiguousarray(array) in place of each array: {written}."
        )
    return shape, dtype


def _no_arrays(path: Path, file: BinaryIO, said: str, written: str) -> Unreadable:
    """Returns the error for a file that cannot be read: empty, damaged, or perhaps a pickle."""
    file.seek(0)
    begin = file.read(len(npy.MAGIC_PREFIX))
    if not begin:
        fault = "is empty. Fetch it again, or write it anew"
    elif begin.startswith((ZIP_PREFIX, npy.MAGIC_PREFIX)):
        fault = f"is damaged or of another kind than expected: it is {said}. Fetch it again, or "
        fault += "write it anew"
    else:
        return Unreadable(f"{str(path)!r} is {said}. {_convert(written)}")
    return Unreadable(f"{str(path)!r} {fault}: {written}.")


def _convert(written: str) -> str:
    return (
        "This library never opens a pickle, which can run any program. If you trust the file, open "
        f"it yourself and write {written}: images uint8 [N, H, W, C], labels integers [N]."
    )
