"""What happened to each example of an evaluation: the file ``examples.npz`` beside a report.

    examples = rlfat_tf.evaluation.read_examples("runs/a/evaluation")
    examples.robust("pgd")[0].mean(), examples.worst_case()[0].mean()

It holds plain arrays and no objects, so reading it runs nothing, and whatever reads NumPy's format
can read it: the fields of :class:`Examples`, with those of :class:`Outcomes` stacked by attack.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.storage.files import replacing
from rlfat_tf.storage.reading import as_written, read_arrays

FILE = "examples.npz"
VERSION = 1  # of what that file holds
# Of an attack, one value; one for each example of each epsilon.
ONE = {"norm": np.str_, "bounded": np.bool_, "examples": np.int64}
EACH = {"given": np.bool_, "broken": np.bool_, "prediction": np.int32, "size": np.float32}


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What one attack did to each example: arrays of one row for every epsilon, [epsilons, n].

    Attributes:
        norm: The name of the norm in which it measures: ``"linf"``, ``"l2"``, ``"l1"``, ``"l0"``.
        bounded: Whether it stays within epsilon, and so counts for the worst case.
        examples: On how many of the examples it was evaluated, from the first on, those that are
            misclassified as they are included.
        given: Which examples it attacked, bool. Among those on which it was evaluated it leaves
            out what is misclassified anyway and, in a cascade, what an attack before it broke.
        broken: Which of these it broke, bool: correctly classified before and not after.
        prediction: Where it broke an example, the class that the adversarial image is taken for,
            -1 for none (a logit is NaN); everywhere else the prediction on the clean image, int32.
        size: Where it broke an example, the length of the perturbation in ``norm``, in units of
            pixels in [0, 1]; NaN everywhere else. float32, rounded to six decimals.
    """

    norm: str
    bounded: bool
    examples: int
    given: Any
    broken: Any
    prediction: Any
    size: Any


@dataclasses.dataclass(frozen=True)
class Examples:
    """What happened to each of the n examples of an evaluation.

    Attributes:
        index: The number of the example in its test set, int64 [n].
        label: Its class, int32 [n].
        clean_prediction: The class predicted of it as it is, -1 for none (a logit is NaN), int32
            [n].
        epsilons: The radii of the evaluation in the order of the report, float64 [epsilons]; the
            first is the headline. NaN where the attacks bring radii of their own.
        attacks: By name, in the order of the report, what each attack did.
        data: SHA-256 of the images and labels as they were attacked, hexadecimal: two evaluations
            with the same one have the same examples in the same order.
    """

    index: Any
    label: Any
    clean_prediction: Any
    epsilons: Any
    attacks: Mapping[str, Outcomes]
    data: str = ""

    @property
    def clean(self) -> Any:
        """Which examples are correctly classified as they are, bool [n]."""
        return self.clean_prediction == self.label

    def robust(self, attack: str) -> Any:
        """Returns which examples an attack of that name was given and left, [epsilons, n]."""
        outcomes = self.attacks[attack]
        return outcomes.given & ~outcomes.broken

    def worst_case(self) -> Any:
        """Returns which examples are right when clean and no bounded attack broke, [epsilons, n].

        Without a bounded attack these are all that are right when clean.
        """
        broken = [outcomes.broken for outcomes in self.attacks.values() if outcomes.bounded]
        shape = [len(self.epsilons), len(self.label)]
        return np.broadcast_to(self.clean, shape) & ~np.any([np.zeros(shape, bool), *broken], 0)


def write_examples(examples: Examples, folder: str | Path) -> Path:
    """Writes ``examples.npz`` into a folder, in one step; returns its path."""
    path, attacks = Path(folder) / FILE, examples.attacks.values()
    shape = [len(attacks), len(examples.epsilons), len(examples.label)]
    arrays: dict[str, Any] = {
        "version": np.array(VERSION),
        "data": np.array(examples.data),
        "index": np.asarray(examples.index, np.int64),
        "label": np.asarray(examples.label, np.int32),
        "clean_prediction": np.asarray(examples.clean_prediction, np.int32),
        "epsilons": np.asarray(examples.epsilons, np.float64),
        "attack": np.array(list(examples.attacks), np.str_),
        **{name: np.array([getattr(a, name) for a in attacks], kind) for name, kind in ONE.items()},
        **{
            name: np.array([getattr(a, name) for a in attacks], kind).reshape(shape)
            for name, kind in EACH.items()
        },
    }
    with replacing(path) as written:
        np.savez(written, **arrays)
    return path


def read_examples(path: str | os.PathLike[str]) -> Examples:
    """Reads what happened to each example of an evaluation.

    Args:
        path: The folder of a report, or the file ``examples.npz`` itself.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is damaged, or is not what was written.
    """
    file = Path(path)
    file = file / FILE if file.is_dir() or file.suffix != ".npz" else file
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no {file}. It is written beside every report since version 0.2.0: evaluate "
            "again with the same command, which runs no finished attack twice."
        )
    advice = "Evaluate again to write it anew."
    arrays = read_arrays(file, advice)
    with as_written(file, advice):
        return _checked(arrays)


def _checked(arrays: Mapping[str, Any]) -> Examples:
    """Returns what the arrays of a file say, if they fit together."""
    if int(arrays["version"]) != VERSION:
        raise ValueError(f"version {arrays['version']} of the file, where {VERSION} is known")
    names, count, radii = arrays["attack"], len(arrays["label"]), len(arrays["epsilons"])
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "index": (np.int64, (count,)),
        "label": (np.int32, (count,)),
        "clean_prediction": (np.int32, (count,)),
        "epsilons": (np.float64, (radii,)),
        "attack": (np.str_, (len(names),)),
        "data": (np.str_, ()),
        **{name: (kind, (len(names),)) for name, kind in ONE.items()},
        **{name: (kind, (len(names), radii, count)) for name, kind in EACH.items()},
    }
    for name, (kind, shape) in expected.items():
        found = arrays[name]
        if found.shape != shape or not np.issubdtype(found.dtype, kind):
            raise ValueError(f"{name} is {found.dtype} {found.shape}, not {kind.__name__} {shape}")
    attacks = {}
    for number, name in enumerate(names.tolist()):
        one = {key: arrays[key][number].item() for key in ONE}
        attacks[name] = Outcomes(**one, **{key: arrays[key][number] for key in EACH})
    common = {key: arrays[key] for key in ("index", "label", "clean_prediction", "epsilons")}
    return Examples(**common, attacks=attacks, data=str(arrays["data"]))
