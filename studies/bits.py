"""Which examples are correctly classified, as a short text: eight examples a byte, in base64."""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt

Correct = npt.NDArray[np.bool_]


def to_text(correct: Correct) -> str:
    """Returns the text of a vector of truth values."""
    return base64.b64encode(np.packbits(np.asarray(correct, bool)).tobytes()).decode("ascii")


def from_text(text: str, count: int) -> Correct:
    """Returns the first ``count`` truth values of a text of :func:`to_text`.

    Raises:
        ValueError: If it has fewer, or is no such text.
    """
    content = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(content) != -(-count // 8):
        raise ValueError(f"Expected the bits of {count} examples; received {len(content)} bytes.")
    return np.unpackbits(content, count=count).astype(bool)
