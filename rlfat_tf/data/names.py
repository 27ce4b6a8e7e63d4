"""What may be in the names of classes and files, and what becomes of names in paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# What ends a line or moves the cursor: lists of class names have one a line.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def folder_name(text: str) -> str:
    """Returns a text as the name of a folder: letters, digits and marks of every script, . and -.

    What else there is becomes ``_``, several in a row one. Equal texts are composed in one way
    (NFC), so that they name one folder wherever they were typed.
    """
    composed = unicodedata.normalize("NFC", text)
    return re.sub("_+", "_", "".join(one if _is_kept(one) else "_" for one in composed))


def _is_kept(one: str) -> bool:
    # Vowels of many scripts are marks (M), which are no letters to str.isalnum.
    return one in ".-" or one.isalnum() or unicodedata.category(one).startswith("M")


def check_on_one_line(name: str, folder: str) -> None:
    """Refuses the name of a class that has control characters.

    Args:
        name: The name.
        folder: Where the folder of this name is.

    Raises:
        ValueError: If it has some.
    """
    if CONTROL.search(name):
        raise ValueError(
            "Expected class folders whose names are one line of text; received "
            f"{name!r} in {folder!r}, which has a line break or another control character. Rename "
            "this folder."
        )


def check_told_apart(names: Iterable[str], folder: str) -> None:
    """Refuses names of classes that differ in their blanks alone.

    Nobody sees the difference, and an exported model, which keeps one blank for any white space,
    has lost it.

    Args:
        names: The names, of whatever parts.
        folder: Where their folders are.

    Raises:
        ValueError: If there are such names.
    """
    known: dict[str, str] = {}
    for name in sorted(set(names)):
        other = known.setdefault(" ".join(name.split()), name)
        if other != name:
            raise ValueError(
                "Expected class folders whose names differ in more than blanks; received "
                f"{other!r} and {name!r} in {folder!r}. Give the folders of one class one name, "
                "and those of two classes names that can be told apart."
            )


def check_list(flag: str, value: str | None) -> None:
    """Refuses a list of files in which one has no name.

    Args:
        flag: The flag that has it, with its dashes.
        value: The names, separated by commas; None if the flag is not given.

    Raises:
        ValueError: If one is empty.
    """
    if value is not None and not all(part.strip() for part in value.split(",")):
        raise ValueError(
            f"Expected {flag} to be the names of files, separated by commas; received {value!r}, "
            "in which a name is empty. Remove the comma that has no name beside it, or leave the "
            "flag out if there is no file."
        )
