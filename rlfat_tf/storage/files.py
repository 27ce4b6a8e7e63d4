"""Files that are whole or absent, whatever happens while they are written.

Everything is written into a temporary folder beside its place and then moved there, so that a
process killed at any moment, or a full disk, leaves what was there before.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".writing-"
FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXTS = ("No space left on device", "Disk quota exceeded")


@contextmanager
def replacing(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """Gives a path to write to, in the same folder, and moves it to ``path`` when it is whole.

    Args:
        path: The file to write.
        keep: Where the file that was there before is moved to; by default it is replaced.

    Raises:
        OSError: If the disk is full.
    """
    with _beside(path) as folder:
        written = folder / path.name
        yield written
        with open(written, "rb") as file:
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(written, path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Does for a folder what :func:`replacing` does for a file.

    A folder cannot be replaced in one step: killed between the two, there is none.
    """
    with _beside(path) as folder:
        written = folder / path.name
        yield written
        if path.exists():
            os.replace(path, folder / "before")
        os.replace(written, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in one step."""
    with replacing(path) as written:
        written.write_text(text, encoding="utf-8")


def check_folder(folder: Path, name: str) -> None:
    """Refuses a folder in which nothing can be written, before any work; leaves none behind.

    Permissions do not tell it all: a file system may be read-only, or make no folders as ``/proc``.
    So the folder is made, something in it too, and what was made is removed again.

    Args:
        folder: The folder, which need not exist.
        name: The argument or the flag that named it, for the message.

    Raises:
        ValueError: If it, or the nearest folder above it that exists, is a file or not writable.
    """
    folder = folder.absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"Expected {name} to be a folder; {there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"Expected {name} to be a folder that can be written to; {there} cannot. Choose "
            "another, or change its permissions."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.rmdir(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    except OSError as error:
        raise ValueError(
            f"Expected {name} to be a folder that can be written to; {folder} cannot "
            f"({error.strerror}). Choose another."
        ) from error
    finally:
        for made in (folder, *folder.parents):
            if made == there:
                break
            with suppress(OSError):  # not made, or another process has begun to use it
                made.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left half written directly in a folder."""
    for left in folder.glob(f"{PREFIX}*"):
        # Folders of `_beside` alone: by name, right here. rmtree refuses links and follows none.
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=path.parent) as folder:
            yield Path(folder)
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise OSError(
            f"The disk is full: {path} could not be written. What was there before is untouched. "
            "Free some space and give the same command again."
        ) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Tells whether an error, or what led to it, is that a disk or a quota is full."""
    while error is not None:
        if getattr(error, "errno", None) in FULL_NUMBERS:
            return True
        if any(text in str(error) for text in FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False
