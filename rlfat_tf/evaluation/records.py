"""What happened to each example of an evaluation: the file ``examples.npz`` beside a report.

    examples = rlfat_tf.evaluation.read_examples("runs/a/evaluation")
    examples.robust("pgd")[0].mean(), examples.worst_case()[0].mean()

It holds plain arrays and no objects, so reading it runs nothing, and whatever reads NumPy's format
can read it: the fields of :class:`Examples`, with those of :class:`Outcomes` stacked by attack.
Targeted attacks have arrays of their own, whose names begin with ``targeted_``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.storage.files import replacing
from rlfat_tf.storage.reading import as_written, read_arrays

FILE = "examples.npz"
VERSION = 1  # of what that file holds
WRITTEN = "is written beside every report since version 0.2.0"
# Of an attack, one value; one for each example of each epsilon.
ONE = {"norm": np.str_, "bounded": np.bool_, "examples": np.int64}
EACH = {"given": np.bool_, "broken": np.bool_, "prediction": np.int32, "size": np.float32}
TARGETED = "targeted_"
Expected = tuple[Any, tuple[int, ...]]  # kind and shape of an array


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
class TargetedOutcomes(Outcomes):
    """What a targeted attack did to each example.

    ``given`` leaves out the examples whose label is the target and no others, and ``broken`` are
    those that are taken for their target, be it without any perturbation.

    Attributes:
        target: The class to which each example was to be taken, int32 [n].
    """

    target: Any


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
        targeted: By name, in the order of the report, what each targeted attack did.
        classifier: SHA-256 of its weights, hexadecimal; "" where they are not known.
    """

    index: Any
    label: Any
    clean_prediction: Any
    epsilons: Any
    attacks: Mapping[str, Outcomes]
    data: str = ""
    targeted: Mapping[str, TargetedOutcomes] = dataclasses.field(default_factory=dict)
    classifier: str = ""

    @property
    def clean(self) -> Any:
        """Which examples are correctly classified as they are, bool [n]."""
        return self.clean_prediction == self.label

    def robust(self, attack: str) -> Any:
        """Returns which examples an attack of that name was given and left, [epsilons, n]."""
        outcomes = self.attacks[attack]
        return outcomes.given & ~outcomes.broken

    @property
    def judged(self) -> int:
        """On how many examples, from the first on, there is a worst case: a bounded attack ran."""
        counts = [outcomes.examples for outcomes in self.attacks.values() if outcomes.bounded]
        return max(counts, default=len(self.label))

    def worst_case(self) -> Any:
        """Returns which examples are right when clean and no bounded attack broke.

        Without a bounded attack these are all that are right when clean.

        Returns:
            Bool [epsilons, judged].
        """
        broken = [outcomes.broken for outcomes in self.attacks.values() if outcomes.bounded]
        shape = [len(self.epsilons), len(self.label)]
        right = np.broadcast_to(self.clean, shape) & ~np.any([np.zeros(shape, bool), *broken], 0)
        return right[:, : self.judged]


def write_examples(examples: Examples, folder: str | Path) -> Path:
    """Writes ``examples.npz`` into a folder, in one step; returns its path."""
    path = Path(folder) / FILE
    shape = len(examples.epsilons), len(examples.label)
    arrays: dict[str, Any] = {
        "version": np.array(VERSION),
        "data": np.array(examples.data),
        "classifier": np.array(examples.classifier),
        "index": np.asarray(examples.index, np.int64),
        "label": np.asarray(examples.label, np.int32),
        "clean_prediction": np.asarray(examples.clean_prediction, np.int32),
        "epsilons": np.asarray(examples.epsilons, np.float64),
        **_stacked(examples.attacks, shape),
    }
    if examples.targeted:
        aimed = _stacked(examples.targeted, shape)
        targets = [outcomes.target for outcomes in examples.targeted.values()]
        arrays.update({f"{TARGETED}{name}": value for name, value in aimed.items()})
        arrays[f"{TARGETED}target"] = np.array(targets, np.int32)
    with replacing(path) as written:
        np.savez(written, **arrays)
    return path


def _stacked(attacks: Mapping[str, Outcomes], shape: tuple[int, int]) -> dict[str, Any]:
    """Returns what attacks did as arrays, stacked in the order of their names in ``attack``."""
    found = attacks.values()
    return {
        "attack": np.array(list(attacks), np.str_),
        **{name: np.array([getattr(a, name) for a in found], kind) for name, kind in ONE.items()},
        **{
            name: np.array([getattr(a, name) for a in found], kind).reshape(-1, *shape)
            for name, kind in EACH.items()
        },
    }


def read_examples(path: str | os.PathLike[str]) -> Examples:
    """Reads what happened to each example of an evaluation.

    Args:
        path: The folder of a report, or the file ``examples.npz`` itself.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is damaged, or is not what was written.
    """
    with opened_records(path, FILE, VERSION, WRITTEN) as arrays:
        return _checked(arrays)


@contextmanager
def opened_records(
    path: str | os.PathLike[str], name: str, version: int, written: str
) -> Iterator[Mapping[str, Any]]:
    """Yields the arrays of a file of an evaluation; what goes wrong with them meanwhile is named.

    Args:
        path: The folder of a report, or the file itself.
        name: Of the file in the folder.
        version: Of what it holds, which is known here.
        written: When it is written, for a message: "is written ...".

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is damaged, or is not what was written.
    """
    file = Path(path)
    file = file / name if file.is_dir() or file.suffix != ".npz" else file
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no {file}. It {written}: evaluate again with the same command, which "
            "evaluates nothing twice."
        )
    advice = "Evaluate again to write it anew."
    arrays = read_arrays(file, advice)
    with as_written(file, advice):
        if int(arrays["version"]) != version:
            raise ValueError(f"version {arrays['version']} of the file, where {version} is known")
        yield arrays


def _checked(arrays: Mapping[str, Any]) -> Examples:
    """Returns what the arrays of a file say, if they fit together."""
    count, radii = len(arrays["label"]), len(arrays["epsilons"])
    expected: dict[str, Expected] = {
        "index": (np.int64, (count,)),
        "label": (np.int32, (count,)),
        "clean_prediction": (np.int32, (count,)),
        "epsilons": (np.float64, (radii,)),
        "data": (np.str_, ()),
    }
    check_arrays(arrays, expected)
    aimed = {
        name[len(TARGETED) :]: value for name, value in arrays.items() if name.startswith(TARGETED)
    }
    targeted: dict[str, TargetedOutcomes] = {}
    if aimed:
        check_arrays(aimed, {"target": (np.int32, (len(aimed["attack"]), count))})
        targeted = {
            name: TargetedOutcomes(**fields, target=aimed["target"][number])
            for number, (name, fields) in enumerate(_unstacked(aimed, radii, count).items())
        }
    common = {key: arrays[key] for key in ("index", "label", "clean_prediction", "epsilons")}
    found = _unstacked(arrays, radii, count)
    attacks = {name: Outcomes(**fields) for name, fields in found.items()}
    data, classifier = str(arrays["data"]), str(arrays.get("classifier", ""))
    return Examples(**common, attacks=attacks, data=data, targeted=targeted, classifier=classifier)


def _unstacked(arrays: Mapping[str, Any], radii: int, count: int) -> dict[str, dict[str, Any]]:
    """Returns the fields of the outcomes by name of the attack, if the arrays fit together."""
    names = arrays["attack"]
    expected: dict[str, Expected] = {
        "attack": (np.str_, (len(names),)),
        **{name: (kind, (len(names),)) for name, kind in ONE.items()},
        **{name: (kind, (len(names), radii, count)) for name, kind in EACH.items()},
    }
    check_arrays(arrays, expected)
    return {
        name: {
            **{key: arrays[key][number].item() for key in ONE},
            **{key: arrays[key][number] for key in EACH},
        }
        for number, name in enumerate(names.tolist())
    }


def check_arrays(arrays: Mapping[str, Any], expected: Mapping[str, Expected]) -> None:
    """Raises ValueError unless these arrays are there, of that kind and shape."""
    for name, (kind, shape) in expected.items():
        found = arrays[name]
        if found.shape != shape or not np.issubdtype(found.dtype, kind):
            raise ValueError(f"{name} is {found.dtype} {found.shape}, not {kind.__name__} {shape}")
