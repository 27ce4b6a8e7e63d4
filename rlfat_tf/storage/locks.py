"""One process at a time: a lock on a folder that dies with its holder.

The kernel releases it when the holder ends, however that happens, so that no lock is ever stale.
"""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlfat_tf.core.errors import warn

NAME = ".lock"


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Holds a folder for this process.

    Args:
        folder: The folder, which is made if there is none, and removed again if it stays empty.
            While it is held, the file ``.lock`` in it names the holder.

    Raises:
        OSError: If nothing can be written there.
        ValueError: If another process holds it.
    """
    is_new = not folder.exists()
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    except OSError as error:
        raise OSError(
            f"Expected a folder in which files can be written; {folder} is none "
            f"({error.strerror}). Choose another --workdir."
        ) from error
    try:
        with suppress(OSError):  # the disk may be full; the lock holds all the same
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is locked: see _is_at
        os.close(file)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def _locked(path: Path) -> int:
    """Returns the descriptor of the locked file."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 1000).decode(errors="replace") or "another process"
            os.close(file)
            raise ValueError(
                f"{path.parent} is in use by {holder}. Wait until it ends, stop it, or choose "
                "another --workdir."
            ) from None
        except OSError as error:
            warn(
                f"The file system of {path.parent} has no locks ({error}): do not start a run "
                "twice."
            )
            return file
        if _is_at(path, file):
            return file
        os.close(file)


def _is_at(path: Path, file: int) -> bool:
    """Tells whether a file is the one that others would open: its last holder may remove it."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
