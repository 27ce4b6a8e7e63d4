"""Evaluations that were kept, and whether two of them were made under the same conditions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np

from rlfat_tf.core.types import Array, Report
from rlfat_tf.data.corruptions import BENCHMARK
from rlfat_tf.evaluation import corrupted_records
from rlfat_tf.evaluation.corrupted_records import Corrupted
from rlfat_tf.evaluation.records import Examples, read_examples
from rlfat_tf.storage.reading import read_json

CLEAN, WORST_CASE, CORRUPTED = "clean", "worst_case", "corruptions"
PathLike = Union[str, os.PathLike[str]]


class Evaluated(NamedTuple):
    """An evaluation, of a folder or just finished.

    Attributes:
        name: Of the classifier, or the folder.
        report: What ``report.json`` holds.
        examples: What ``examples.npz`` holds.
        corrupted: What ``corrupted.npz`` holds; None without corruptions.
    """

    name: str
    report: Report
    examples: Examples
    corrupted: Corrupted | None = None

    def correct(self, under: str) -> Array:
        """Returns which examples are correctly classified, [n]; of several epsilons the first.

        Where :meth:`counted` says that it is not known, it is False.

        Args:
            under: ``"clean"``, ``"worst_case"`` or the name of an attack: bool; of a targeted one,
                which examples are not taken for their target. ``"corruptions"``: under which share
                of the benchmark's corruptions and severities an example is right.
        """
        if under == CLEAN:
            return self.examples.clean
        if under == WORST_CASE:
            known = self.examples.worst_case()[0]
            return np.pad(known, (0, len(self.examples.label) - len(known)))
        if under == CORRUPTED and self.corrupted is not None:
            return self.corrupted.shares()
        if under in self.examples.targeted:
            return ~self.examples.targeted[under].broken[0]
        return self.examples.robust(under)[0]

    def counted(self, under: str) -> Array:
        """Returns of which examples that is known, bool [n]: an attack may leave out some."""
        if under in self.examples.targeted:
            return self.examples.targeted[under].given[0]
        count = tried = len(self.correct(under))
        if under == WORST_CASE:
            tried = self.examples.judged
        elif under in self.examples.attacks:
            tried = self.examples.attacks[under].examples
        return np.arange(count) < tried


def read_evaluated(folder: PathLike) -> Evaluated:
    """Reads the evaluation in the folder of a report.

    Raises:
        FileNotFoundError: If ``report.json`` or ``examples.npz`` is not there.
        ValueError: If one of them is damaged.
    """
    path = Path(folder) / "report.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}. Give the folder of a report: eval.py writes one, and so does "
            "rlfat_tf.evaluation.evaluate(..., report_dir=<folder>)."
        )
    corrupted, examples = None, read_examples(folder)
    if (path.parent / corrupted_records.FILE).is_file():
        corrupted = corrupted_records.read_corrupted(folder)
        known = {one for one in (corrupted.classifier, examples.classifier) if one}
        corrupted = corrupted if len(known) < 2 else None  # another classifier's, from before
    return Evaluated(os.fspath(folder), read_json(path), examples, corrupted)


class Conditions(NamedTuple):
    """What two evaluations must have in common to be compared.

    Attributes:
        data: The checksum of the examples.
        norm: Of the ball; None if the attacks are of several.
        epsilon: Its radius, of several the first; None if the attacks bring theirs.
        attacks: By name, the full configuration and whether it counts for the worst case.
        corruptions: What is known of corrupted images, in words.
    """

    data: str
    norm: str | None
    epsilon: float | None
    attacks: Mapping[str, tuple[str, bool]]
    corruptions: Mapping[str, str] = {}

    def said(self, shared: Sequence[str]) -> dict[str, str]:
        """Returns the conditions in words, of those attacks that are bounded or shared."""
        return {
            "the checksum of the examples": self.data[:16],
            "norm": str(self.norm),
            "epsilon": "that of each attack" if self.epsilon is None else f"{self.epsilon:.6g}",
            **{
                f"the attack {name}": text
                for name, (text, bounded) in self.attacks.items()
                if bounded or name in shared
            },
            **self.corruptions,
        }


def conditions_of(evaluated: Evaluated, names: Sequence[str] | None = None) -> Conditions:
    """Returns the conditions of an evaluation, with those attacks only if names are given."""
    attacks = {
        name: (
            configured(evaluated.report[kind][name]["attack"], outcomes.examples),
            kind == "attacks" and outcomes.bounded,
        )
        for kind, found in (
            ("attacks", evaluated.examples.attacks),
            ("targeted", evaluated.examples.targeted),
        )
        for name, outcomes in found.items()
        if names is None or name in names
    }
    report = evaluated.report
    return Conditions(evaluated.examples.data, report["norm"], report["epsilon"], attacks)


def conditions_of_corruptions(evaluated: Evaluated) -> Conditions:
    """Returns the conditions of the mean corruption accuracy of an evaluation.

    Raises:
        ValueError: If there is none.
    """
    found = evaluated.corrupted
    if found is None or not found.severities:
        raise ValueError(
            f"{evaluated.name} has no mean corruption accuracy, which is over all 15 corruptions "
            "of the benchmark at the same severities: evaluate with --corruptions=benchmark."
        )
    images = [found.data[name, severity] for name in BENCHMARK for severity in found.severities]
    said = {
        "the severities of corruptions": ", ".join(map(str, found.severities)),
        "the checksum of the corrupted images": sha256("".join(images).encode()).hexdigest()[:16],
    }
    return Conditions("", None, None, {}, said)


def configured(attack: object, examples: int) -> str:
    """Returns the configuration of an attack and on how many examples it runs."""
    return f"{attack} on {examples} examples"


def refuse_unlike(one: Conditions, other: Conditions, names: Sequence[str]) -> None:
    """Refuses to compare what was evaluated differently.

    Args:
        one: Of the first evaluation.
        other: Of the second.
        names: What the two are called.

    Raises:
        ValueError: If they differ; the message says in what.
    """
    shared = [name for name in one.attacks if name in other.attacks]
    texts = one.said(shared), other.said(shared)
    unlike = [
        f"{what} is {texts[0].get(what, 'not there')} in {names[0]} and "
        f"{texts[1].get(what, 'not there')} in {names[1]}"
        for what in dict.fromkeys([*texts[0], *texts[1]])
        if texts[0].get(what) != texts[1].get(what)
    ]
    if unlike:
        raise ValueError(
            f"Expected evaluations on the same examples by the same attacks; {'; '.join(unlike)}. "
            "Evaluate both with the same --dataset, --test_examples, --test_subset, --norm, "
            "--epsilon and --attacks, and with the same settings of the attacks."
        )
