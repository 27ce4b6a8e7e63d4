"""What the files of a data set hold, in one line for each part: to tell whether they have changed.

The line counts the files and their bytes, and ends with a digest of all names and sizes and of the
contents of the first files, in their order, that together have at most ``BUDGET`` bytes.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Iterable, Mapping

from rlfat_tf.data.listing import File

BUDGET = 2 * 2**30
THREADS = 8
BY_CONTENT = ("folder", "arrays")  # kinds of data sets that may be moved and renamed


def without_place(dataset: str) -> str:
    """Returns the name of a data set; of one that is where its user has put it, the kind alone."""
    kind, colon, _ = dataset.partition(":")
    return kind + colon if kind in BY_CONTENT else dataset


def digests(files: Iterable[File], budget: int = BUDGET) -> dict[File, bytes]:
    """Returns the SHA-256 of the contents of the first files that fit into the budget."""
    chosen = []
    for file in files:
        budget -= file.size
        if budget < 0:
            break
        chosen.append(file)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(chosen, pool.map(_digest, chosen)))


def _digest(file: File) -> bytes:
    digest = hashlib.sha256()
    try:
        with open(file.path, "rb") as content:
            while some := content.read(2**20):
                digest.update(some)
    except OSError:  # told when the image is read
        return b""
    return digest.digest()


def describe(files: Iterable[File], contents: Mapping[File, bytes]) -> str:
    """Returns the line of a part.

    Args:
        files: In their order.
        contents: The digests of their contents; of the files that are not there, names and sizes
            alone count.
    """
    whole, count, size = hashlib.sha256(), 0, 0
    for file in files:
        whole.update(file.key + file.size.to_bytes(8, "big") + contents.get(file, b"").ljust(32))
        count, size = count + 1, size + file.size
    return f"{count} files, {size} bytes, digest {whole.hexdigest()[:16]}"


def shared(some: Mapping[File, bytes], others: Mapping[File, bytes]) -> list[tuple[File, File]]:
    """Pairs the files of one part with a file of another part that has the very same content."""
    known = {digest: file for file, digest in others.items() if digest and file.size}
    return [(file, known[digest]) for file, digest in some.items() if digest in known]
