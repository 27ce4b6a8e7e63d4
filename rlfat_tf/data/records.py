"""Images in TFRecord files, each read from its place whenever it is needed.

A TFRecord file is a row of records: 8 bytes with the length of the data, 4 with a checksum of it,
the data, and 4 with a checksum of them. So the lengths of all records, which one pass tells, say
where each of them lies.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import tensorflow as tf

from rlfat_tf.core.types import Array, Tensor
from rlfat_tf.data.reading import Unreadable, reason
from rlfat_tf.data.source import Stored
from rlfat_tf.data.view import View

HEADER, FOOTER = 12, 4
READ_BATCH = 512


class Part(NamedTuple):
    """What is used of a file: ``take`` records from number ``skip`` on, -1 for all of them."""

    path: str
    skip: int
    take: int


class Index(NamedTuple):
    """Where N records lie, and their labels.

    Attributes:
        shard: The number of the file, int32 [N].
        offset: Of the data in the file, in bytes, int64 [N].
        length: Of the data, int64 [N].
        label: int64 [N].
    """

    shard: Array
    offset: Array
    length: Array
    label: Array


class Records(Stored):
    """Examples in TFRecord files.

    Args:
        paths: The files.
        index: Where their records lie.
        image_shape: Of an image, after ``look``.
        decode: From a record, a string tensor [], to its image, uint8 [h, w, C].
        look: What becomes of images that differ in size.
    """

    by_example = True

    def __init__(
        self,
        paths: Sequence[str],
        index: Index,
        image_shape: Sequence[int],
        decode: Callable[[Tensor], Tensor],
        look: View,
    ):
        super().__init__(index.label, image_shape)
        self._paths, self._index, self._decode, self._look = paths, index, decode, look

    def view(self, image: Tensor) -> Tensor:
        """Brings an image of any size to ``image_shape``."""
        return tf.ensure_shape(self._look(image), self.image_shape)

    def _read(self, place: Tensor) -> Tensor:
        record = tf.numpy_function(self._record, [place], tf.string, stateful=False)
        image = self._decode(tf.ensure_shape(record, []))
        return tf.ensure_shape(image, [None, None, self.image_shape[-1]])

    def _record(self, place: Array) -> bytes:
        path = self._paths[self._index.shard[place]]
        length = int(self._index.length[place])
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(int(self._index.offset[place]))
                record = file.read(length)
        except OSError as error:
            raise Unreadable(f"{path!r} cannot be read ({error.strerror}).") from error
        if len(record) < length:
            raise Unreadable(f"{path!r} has become shorter. Prepare the data set again.")
        return record


def make_index(
    parts: Sequence[Part], label: Callable[[Tensor], Tensor], cache_dir: str | None = None
) -> Index:
    """Reads all records once, to learn where they lie and what their labels are.

    Args:
        parts: The files.
        label: From records, a string tensor [b], to their labels, int64 [b].
        cache_dir: Where to keep the index for the next time; None: nowhere. It is made anew if a
            file has another size or time.

    Raises:
        Unreadable: If a file is damaged, or holds fewer records.
    """
    kept = None if cache_dir is None else Path(cache_dir) / f"records-{_digest(parts)}.npz"
    if kept is not None and kept.is_file():
        try:
            with np.load(kept) as stored:
                return Index(*(stored[name] for name in Index._fields))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # damaged: made anew
            pass
    tables = [_scan(number, part, label) for number, part in enumerate(parts)]
    index = Index(*(np.concatenate(column) for column in zip(*tables)))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        # In a folder of its own, since others may write the same index, on other machines too.
        with tempfile.TemporaryDirectory(prefix=f"{kept.stem}-", dir=kept.parent) as folder:
            partial = Path(folder) / kept.name
            with open(partial, "wb") as file:
                np.savez(file, **index._asdict())
                file.flush()
                os.fsync(file.fileno())  # else a loss of power may leave an empty file
            os.replace(partial, kept)
    return index


def _scan(number: int, part: Part, label: Callable[[Tensor], Tensor]) -> Index:
    """Returns the index of one file."""
    records = tf.data.TFRecordDataset(part.path)
    if part.take >= 0:
        records = records.take(part.skip + part.take)
    rows = records.batch(READ_BATCH).map(lambda some: (tf.strings.length(some), label(some)))
    lengths, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    options = tf.data.Options()
    options.autotune.enabled = False
    try:
        for some, theirs in rows.with_options(options).as_numpy_iterator():
            lengths.append(some)
            labels.append(theirs)
    except tf.errors.OpError as error:
        raise Unreadable(
            f"{part.path!r} is incomplete or damaged ({reason(error)}). Prepare the data set again."
        ) from error
    length = np.concatenate(lengths).astype(np.int64)
    offset = HEADER + np.cumsum(length + HEADER + FOOTER) - (length + HEADER + FOOTER)
    chosen = slice(part.skip, None)
    shard = np.full(len(length), number, np.int32)
    return Index(*(column[chosen] for column in (shard, offset, length, np.concatenate(labels))))


def _digest(parts: Iterable[Part]) -> str:
    """Returns what tells these files, as they are, from others."""
    digest = hashlib.sha256()
    for part in parts:
        state = os.stat(part.path)
        digest.update(f"{tuple(part)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
