"""Messages for what a user got wrong: what was expected, what came, what to do."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

LISTED = 100  # names at most that a message lists
_PACKAGE = str(Path(__file__).resolve().parents[1])


def warn(message: str) -> None:
    """Warns with the line outside of this library that led here, however deep the call is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def given(value: object) -> str:
    """Returns a setting for a sentence; one that was left open is not given."""
    return "not given" if value is None else repr(value) if isinstance(value, str) else str(value)


def nearest(name: str, names: Iterable[str], count: int = 1) -> list[str]:
    """Returns the names that are most like one that was mistyped, in whatever case it is.

    Args:
        name: What came.
        names: The names that exist.
        count: How many at most.
    """
    lowered = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), lowered, n=count, cutoff=0.4)
    return [lowered[near] for near in found]


def unknown(kind: str, name: object, known: Iterable[str], hint: str = "") -> ValueError:
    """Returns the error for a name that is in no registry, with the nearest known name.

    Args:
        kind: What the name should have been, for instance ``"method"``.
        name: What came.
        known: The names that exist.
        hint: A further sentence, for names that are not listed one by one.

    Returns:
        A ``ValueError`` to raise.
    """
    names = sorted(known)
    near = nearest(str(name), names)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    tail = f" {hint}" if hint else ""
    listed = f" Known: {', '.join(names)}." if len(names) <= LISTED else ""
    return ValueError(f"Unknown {kind} {name!r}.{guess}{listed}{tail}")
