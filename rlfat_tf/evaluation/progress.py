"""What an evaluation knows so far, on disk, so that it can be killed at any moment.

Of every attack: which examples it was given, how many of them are done, which it broke and what
the classifier then takes them for. An
evaluation is known by its classifier, data and seed, an attack by its whole description and by the
examples that it was given, so that whatever changes begins anew and nothing is run twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Callable

import numpy as np

from rlfat_tf.attacks import Attack
from rlfat_tf.attacks.base import NO_CLASS
from rlfat_tf.core.types import Array
from rlfat_tf.evaluation.description import describe, names_other_code
from rlfat_tf.evaluation.identity import digest
from rlfat_tf.evaluation.recognition import KnownClassifiers, advice_for
from rlfat_tf.evaluation.step import Judged
from rlfat_tf.storage.files import replacing, write_text
from rlfat_tf.storage.reading import as_written, read_arrays, read_json

FILE = "state.json"
VERSION = 2  # of what that file holds


@dataclasses.dataclass
class AttackProgress:
    """How far one attack has come.

    Attributes:
        done: How many of the examples that it was given are done.
        broken: The numbers of those that it broke, in the data set.
        predictions: The classes that they are taken for, in the same order; -1 for no class.
        sizes: The lengths of the perturbations that broke them, in the norm of the attack.
        l2: Their Euclidean lengths.
        seconds: Time spent.
    """

    done: int = 0
    broken: list[int] = dataclasses.field(default_factory=list)
    predictions: list[int] = dataclasses.field(default_factory=list)
    sizes: list[float] = dataclasses.field(default_factory=list)
    l2: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        _check_list("done", [self.done], int)
        _check_list("broken", self.broken, int)
        _check_list("predictions", self.predictions, int, NO_CLASS)
        _check_list("sizes", self.sizes, (int, float))
        _check_list("l2", self.l2, (int, float))
        _check_list("seconds", [self.seconds], (int, float))
        counts = {len(self.broken), len(self.predictions), len(self.sizes), len(self.l2)}
        if len(counts) > 1:
            raise ValueError(f"lists of {sorted(counts)} broken examples")

    def add(self, rows: Array, judged: Judged, broken: Array, seconds: float) -> None:
        """Notes what the attack made of the next examples.

        Args:
            rows: Their numbers, [batch].
            judged: What it made of them.
            broken: Where it has succeeded, bool [batch].
            seconds: How long it took.
        """
        self.done += len(rows)
        self.broken += rows[broken].tolist()
        self.predictions += judged.prediction[broken].tolist()
        self.sizes += [round(float(size), 6) for size in judged.size[broken]]
        self.l2 += [round(float(size), 6) for size in judged.l2[broken]]
        self.seconds = round(self.seconds + seconds, 3)


def _check_list(name: str, values: Any, kind: Any, least: int = 0) -> None:
    """Raises TypeError unless all values are numbers of that kind and not below the least."""
    if not isinstance(values, list) or not all(
        isinstance(value, kind) and not isinstance(value, bool) and value >= least
        for value in values
    ):
        raise TypeError(f"{name} is {values!r:.40}")


class EvaluationProgress:
    """Progress of all attacks, kept in a folder or, without one, in memory only.

    Attributes:
        identity: What the evaluation is of.
        folder: Where its progress is; None for memory only.
        predictions: The classes predicted of all examples as they are, -1 for no class; None until
            they are known. They are kept, because a classifier that draws at random would give
            other examples to the attacks when the evaluation goes on.

    Args:
        folder: Where to keep it; None for memory only. Every identity has a folder of its own
            within, so that evaluations of several classifiers or seeds do not meet.
        identity: What the evaluation is of: classifier, data, seed. As JSON.
        known: Names the classifiers that attacks bring.

    Raises:
        ValueError: If what is there cannot be read, or an earlier version of this library wrote it
            and kept less.
    """

    def __init__(self, folder: Path | None, identity: dict[str, Any], known: KnownClassifiers):
        self.predictions: list[int] | None = None
        self.identity, self._known = identity, known
        self.folder = None if folder is None else folder / _digest(json.dumps(identity))
        self._attacks: dict[str, AttackProgress] = {}
        path = None if self.folder is None else self.folder / FILE
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: Path) -> None:
        stored = read_json(path, advice_for(path))
        if stored.get("version") != VERSION:
            raise ValueError(
                f"{path} is progress as another version of this library keeps it, without the "
                f"classes predicted under attack. {advice_for(path)}"
            )
        with as_written(path, advice_for(path)):
            self.predictions = stored["predictions"]
            if self.predictions is not None:
                _check_list("predictions", self.predictions, int, NO_CLASS)
            self._attacks = {k: AttackProgress(**v) for k, v in stored["attacks"].items()}

    def key(self, name: str, attack: Attack, examples: Any, trace: Callable[[], Any]) -> str:
        """Returns the name under which the progress of an attack on some examples is kept.

        Args:
            name: Of the attack.
            attack: The attack.
            examples: The numbers of the examples that it is given.
            trace: Traces the attack. An attack that is not this library's is known by its graph as
                well, because whoever writes one changes its code as often as its arguments.
        """
        if self.folder is None:  # nothing is ever found again
            return f"{name} {len(self._attacks)}"
        description = describe(attack, self._known.name_of)
        code = digest(trace()) if names_other_code(description) else ""
        whole = json.dumps([name, description, code])
        rows = np.asarray(examples, np.int64).tobytes()
        return f"{re.sub(r'[^A-Za-z0-9_-]', '-', name)[:40]}-{_digest(whole, rows)}"

    def of(self, key: str) -> AttackProgress:
        """Returns how far an attack has come."""
        return self._attacks.setdefault(key, AttackProgress())

    def kept_images(self, key: str) -> tuple[Any, Any] | None:
        """Returns the numbers of examples and their adversarial images, or None.

        Raises:
            ValueError: If what is there cannot be read.
        """
        path = self._images(key)
        if path is None or not path.is_file():
            return None
        arrays = read_arrays(path, advice_for(path))
        with as_written(path, advice_for(path)):
            rows, images = arrays["rows"].astype(np.int64), arrays["images"].astype(np.float32)
            if rows.shape != images.shape[:1]:
                raise ValueError(f"{rows.shape} rows of {images.shape} images")
        return rows, images

    def keep_images(self, key: str, rows: Any, images: Any) -> None:
        """Writes adversarial images of the examples with these numbers, for pictures."""
        path = self._images(key)
        if path is not None:
            with replacing(path) as written:
                np.savez(written, rows=rows, images=images)

    def save(self) -> None:
        """Writes everything known but the images, which are written before."""
        if self.folder is None:
            return
        attacks = {key: dataclasses.asdict(value) for key, value in self._attacks.items()}
        state = {
            "version": VERSION,
            "identity": self.identity,
            "predictions": self.predictions,
            "attacks": attacks,
        }
        write_text(self.folder / FILE, json.dumps(state))

    def _images(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{key}.npz"


def _digest(text: str, data: bytes = b"") -> str:
    return hashlib.sha256(text.encode() + data).hexdigest()[:16]
