"""The index of a folder of images: its files, their classes, and which part each belongs to."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rlfat_tf.data.names import check_on_one_line

TEST_SHARE = 0.2


class File(NamedTuple):
    """An image file.

    Attributes:
        path: Where it is.
        class_name: The name of its folder, in Unicode's composed form (NFC).
        name: Its own name, in the same form.
        size: In bytes.
        key: SHA-256 of ``<class_name>/<name>``, by which the files of a part are ordered.
    """

    path: str
    class_name: str
    name: str
    size: int
    key: bytes


@dataclasses.dataclass(frozen=True)
class Listing:
    """The index of a folder.

    Attributes:
        root: The folder in which parts or classes were found.
        class_names: The classes, in the order of their names.
        parts: The files of ``"train"``, ``"test"`` and, where there are any, ``"validation"``, in
            a fixed mixed order, so that the first N are of all classes.
        flat: Whether the test part was split off here, for want of one on disk.
        left_out: What of the folder is not used, in words.
    """

    root: str
    class_names: tuple[str, ...]
    parts: Mapping[str, tuple[File, ...]]
    flat: bool
    left_out: tuple[str, ...]


def make_file(folder: str, class_name: str, name: str, size: int) -> File:
    """Makes the entry of a file.

    Args:
        folder: Where it is.
        class_name: The name of its class.
        name: Its own name, as it is on disk.
        size: In bytes.

    Raises:
        ValueError: If the name of the class is no text or has control characters: reports and
            exported models hold it, one a line.
    """
    try:
        class_name.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"Expected class folders whose names are UTF-8; received {_encoded(class_name)!r} in "
            f"{_encoded(os.path.dirname(folder))!r}. Rename this folder."
        ) from None
    check_on_one_line(class_name, os.path.dirname(folder))
    composed = [unicodedata.normalize("NFC", text) for text in (class_name, name)]
    key = hashlib.sha256(_encoded("/".join(composed))).digest()
    return File(os.path.join(folder, name), composed[0], composed[1], size, key)


def split(files: Iterable[File]) -> tuple[list[File], list[File]]:
    """Splits the files of one class into a training and a test part of about a fifth.

    A file is a test file by its name alone, so no other file that is added or removed changes its
    part. There is one exception: so that of two or more files each part has one, the file with the
    lowest digest is a test file where there would be none, and the one with the highest is a
    training file where there would be none.
    """
    places = sorted((hashlib.sha256(_encoded(file.name)).digest(), file) for file in files)
    limit = int(TEST_SHARE * 2**64)
    count = sum(int.from_bytes(place[:8], "big") < limit for place, _ in places)
    if len(places) > 1:
        count = min(max(count, 1), len(places) - 1)
    elif count:
        count = 0  # a class of one image is for training
    in_order = [file for _, file in places]
    return in_order[count:], in_order[:count]


def straddling_tracks(listing: Listing) -> tuple[int, str]:
    """Counts what look like video sequences with images in both the training and the test part.

    Those are files of a class whose names differ in their last number alone, where the class has
    several such groups: ``00001_00000.ppm``, ``00001_00001.ppm``, ..., ``00002_00000.ppm``.

    Returns:
        How many groups have images in both parts, and the beginning of the names of one.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for part, files in listing.parts.items():
        for file in files:
            stem = re.fullmatch(r"(.*?\d.*?)[^0-9a-zA-Z]+\d+", os.path.splitext(file.name)[0])
            if stem:
                group = groups.setdefault(file.class_name, {}).setdefault(stem[1], [])
                group.append(part)
    both = [
        stem
        for of_class in groups.values()
        if len(of_class) > 1
        for stem, parts in of_class.items()
        if len(set(parts)) > 1
    ]
    return len(both), min(both, default="")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # names on disk need not be text
