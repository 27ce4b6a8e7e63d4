"""What an evaluation knows so far, on disk, so that it can be killed at any moment.

Of every attack: which examples it was given, how many of them are done, which it broke. An attack
is known by its full configuration and by the examples that it was given, so that a changed
configuration begins anew and an unchanged one is never run twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.storage.files import replacing, write_text

FILE = "state.json"


@dataclasses.dataclass
class Progress:
    """How far one attack has come.

    Attributes:
        done: How many of the examples that it was given are done.
        broken: The numbers of those that it broke, in the data set.
        norms: The L2 norms of the perturbations that broke them, in the same order.
        seconds: Time spent.
    """

    done: int = 0
    broken: list[int] = dataclasses.field(default_factory=list)
    norms: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class State:
    """Progress of all attacks, kept in a folder or, without one, in memory only.

    Args:
        folder: Where to keep it; None for memory only. Every identity has a folder of its own
            within, so that evaluations of several models or seeds do not meet.
        identity: What the evaluation is of: model, data, seed. As JSON.
    """

    def __init__(self, folder: Path | None, identity: dict[str, Any]):
        self._identity = identity
        self._folder = None if folder is None else folder / _digest(json.dumps(identity).encode())
        self._attacks: dict[str, Progress] = {}
        path = None if self._folder is None else self._folder / FILE
        if path is not None and path.is_file():
            stored = json.loads(path.read_text(encoding="utf-8"))
            self._attacks = {key: Progress(**value) for key, value in stored["attacks"].items()}

    @staticmethod
    def key(name: str, attack: Any, examples: Any) -> str:
        """Returns the name under which the progress of an attack on some examples is kept."""
        return f"{name}-{_digest(repr(attack).encode() + np.asarray(examples, np.int64).tobytes())}"

    def progress(self, key: str) -> Progress:
        """Returns how far an attack has come."""
        return self._attacks.setdefault(key, Progress())

    def kept_images(self, key: str) -> Any:
        """Returns the adversarial images that were kept for pictures, or None."""
        path = self._images(key)
        if path is None or not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as file:
            return file["images"]

    def save(self, key: str, images: Any = None) -> None:
        """Writes everything known, after the images that go with it."""
        path = self._images(key)
        if self._folder is None or path is None:
            return
        if images is not None:
            with replacing(path) as written:
                np.savez(written, images=images)
        attacks = {key: dataclasses.asdict(value) for key, value in self._attacks.items()}
        state = {"identity": self._identity, "attacks": attacks}
        write_text(self._folder / FILE, json.dumps(state))

    def _images(self, key: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{key}.npz"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
