"""Evaluations that were kept, and whether two of them were made under the same conditions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Union

from rlfat_tf.core.types import Array, Report
from rlfat_tf.evaluation.records import Examples, read_examples
from rlfat_tf.storage.reading import read_json

CLEAN, WORST_CASE = "clean", "worst_case"
PathLike = Union[str, os.PathLike[str]]


class Evaluated(NamedTuple):
    """An evaluation, of a folder or just finished.

    Attributes:
        name: Of the classifier, or the folder.
        report: What ``report.json`` holds.
        examples: What ``examples.npz`` holds.
    """

    name: str
    report: Report
    examples: Examples

    def correct(self, under: str) -> Array:
        """Returns which examples are correctly classified, bool [n]; of several epsilons the first.

        Args:
            under: ``"clean"``, ``"worst_case"`` or the name of an attack.
        """
        if under == CLEAN:
            return self.examples.clean
        if under == WORST_CASE:
            return self.examples.worst_case()[0]
        return self.examples.robust(under)[0][: self.examples.attacks[under].examples]


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
            "rlfat_tf.evaluation.report.write_report(report, folder)."
        )
    return Evaluated(os.fspath(folder), read_json(path), read_examples(folder))


class Conditions(NamedTuple):
    """What two evaluations must have in common to be compared.

    Attributes:
        data: The checksum of the examples.
        norm: Of the ball; None if the attacks are of several.
        epsilon: Its radius, of several the first; None if the attacks bring theirs.
        attacks: By name, the full configuration and whether it counts for the worst case.
    """

    data: str
    norm: str | None
    epsilon: float | None
    attacks: Mapping[str, tuple[str, bool]]

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
        }


def conditions_of(evaluated: Evaluated, names: Sequence[str] | None = None) -> Conditions:
    """Returns the conditions of an evaluation, with those attacks only if names are given."""
    attacks = {
        name: (
            configured(evaluated.report["attacks"][name]["attack"], outcomes.examples),
            outcomes.bounded,
        )
        for name, outcomes in evaluated.examples.attacks.items()
        if names is None or name in names
    }
    report = evaluated.report
    return Conditions(evaluated.examples.data, report["norm"], report["epsilon"], attacks)


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
