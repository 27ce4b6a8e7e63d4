"""Reading what a run or an evaluation has written, which may have been damaged or forged since.

Whatever a file holds, its reader returns what was asked for or raises :class:`Damaged` with a
sentence; nothing in it is run, and it takes no more memory than the file has bytes.
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# What the readers of Python, NumPy and HDF5 raise when a file is not what they expect.
_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, ValueError, TypeError,
    AttributeError, ArithmeticError, RuntimeError, SyntaxError,
)  # fmt: skip


class Damaged(ValueError):
    """A file is not whole, or not what was written."""


class Refused(ValueError):
    """A file holds what must not be loaded; the message is the reason."""


@contextmanager
def as_written(path: Path, advice: str = "") -> Iterator[None]:
    """Turns whatever goes wrong while a file is read and understood into :class:`Damaged`.

    Args:
        path: The file.
        advice: A sentence that says what to do.

    Raises:
        Damaged: If the content is not what was written.
        OSError: If the file cannot be read at all.
    """
    try:
        yield
    except (*_FAULTS, OSError) as error:
        if isinstance(error, (Damaged, Refused)) or (isinstance(error, OSError) and error.filename):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        text = f"{path} is damaged, or is not what was written ({reason:.200}). {advice}"
        raise Damaged(text.strip()) from error


def read_json(path: Path, advice: str = "") -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        path: The file.
        advice: A sentence that says what to do if it is damaged.

    Raises:
        Damaged: If the file is not one JSON object.
        OSError: If it cannot be read at all.
    """
    with as_written(path, advice):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise TypeError(f"expected one JSON object, received {value!r:.40}")
        return value


def read_arrays(path: Path, advice: str = "") -> dict[str, Any]:
    """Reads the arrays of a ``.npz`` file that :func:`numpy.savez` has written.

    Args:
        path: The file.
        advice: A sentence that says what to do if it is damaged.

    Raises:
        Damaged: If the file is truncated, an array is larger than what the file holds of it, or
            objects are pickled in it.
        OSError: If it cannot be read at all.
    """
    with as_written(path, advice):
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            if sum(member.file_size for member in members) > path.stat().st_size:
                raise ValueError("its parts are larger than it is")
            for member in members:
                _check_array(file, member)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def _check_array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Compares what the header of an array says with what there is, before it is made."""
    with file.open(member) as content:
        if np.lib.format.read_magic(content) == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(content)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(content)
        if dtype.hasobject:
            raise ValueError("objects are not loaded: allow_pickle=False")
        if math.prod(shape) * dtype.itemsize != member.file_size - content.tell():
            raise ValueError(f"its part {member.filename!r} is not as large as it says")
