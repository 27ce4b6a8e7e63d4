"""What lies in a folder and the folders below it: images, and what is none."""

from __future__ import annotations

import collections
import dataclasses
import os
import stat
from collections.abc import Iterator

from rlfat_tf.data.decode import SUFFIXES

MAX_DEPTH = 8
JUNK = ("__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir",
        "$recycle.bin", "system volume information", "lost+found")  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Tree:
    """A folder.

    Attributes:
        path: Where it is.
        name: Its own name.
        images: Name and size of every file directly in it that has the ending of an image.
        folders: The folders directly in it.
        others: How many files have other endings, by ending.
        broken: How many links lead nowhere.
    """

    path: str
    name: str
    images: tuple[tuple[str, int], ...]
    folders: tuple[Tree, ...]
    others: collections.Counter[str]
    broken: int

    def below(self) -> Iterator[Tree]:
        """Yields every folder below this one."""
        for folder in self.folders:
            yield folder
            yield from folder.below()

    @property
    def images_below(self) -> int:
        """How many images are in the folders below this one."""
        return sum(len(folder.images) for folder in self.below())

    @property
    def total(self) -> int:
        """How many images are in this folder and those below."""
        return len(self.images) + self.images_below


def is_junk(name: str) -> bool:
    """Tells whether systems and tools, not people, make files or folders of this name."""
    return name.startswith(".") or name.lower() in JUNK


def scan(path: str) -> Tree:
    """Lists a folder and those below it, in the order of their names, without what is junk.

    Links are followed, but not in circles.

    Raises:
        OSError: If a folder cannot be read.
    """
    return _scan(path, os.path.basename(os.path.normpath(path)), ())


def _scan(path: str, name: str, above: tuple[tuple[int, int], ...]) -> Tree:
    status = os.stat(path)
    above = (*above, (status.st_dev, status.st_ino))
    images, folders, broken = [], [], 0
    others: collections.Counter[str] = collections.Counter()
    with os.scandir(path) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if is_junk(entry.name):
            continue
        try:
            status = entry.stat()
        except OSError:  # a link to nothing, or to itself
            broken += 1
            continue
        if stat.S_ISDIR(status.st_mode):
            # On Windows an entry's own numbers are 0.
            status = os.stat(entry.path)
            if (status.st_dev, status.st_ino) not in above and len(above) < MAX_DEPTH:
                folders.append(_scan(entry.path, entry.name, above))
        elif stat.S_ISREG(status.st_mode):
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in SUFFIXES:
                images.append((entry.name, status.st_size))
            else:
                others[suffix] += 1
    return Tree(path, name, tuple(images), tuple(folders), others, broken)
