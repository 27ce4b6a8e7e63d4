"""Compares two classifiers, or two methods of several seeds, by what was evaluated of them.

    found = rlfat_tf.evaluation.compare("runs/a/evaluation", "runs/b/evaluation")
    found["difference"], found["interval"], found["p_value"]

Both reports are of the same examples, so that examples are compared one by one: a difference of one
point shows with a fifth to a tenth of the examples that two separate samples would need.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlfat_tf.core.errors import unknown
from rlfat_tf.evaluation import over_seeds
from rlfat_tf.evaluation.evaluated import (
    CLEAN,
    CORRUPTED,
    WORST_CASE,
    Conditions,
    Evaluated,
    PathLike,
    conditions_of,
    conditions_of_corruptions,
    read_evaluated,
    refuse_unlike,
)
from rlfat_tf.evaluation.paired import mcnemar
from rlfat_tf.evaluation.sample_size import examples_for_difference

FEW = 25  # disagreements, below which the interval is rough
LEAST = 2  # examples, of which something can be said


def compare(
    a: PathLike | Sequence[PathLike], b: PathLike | Sequence[PathLike], *, under: str = WORST_CASE
) -> dict[str, Any]:
    """Compares two classifiers that were evaluated on the same examples.

    Of one report each the interval is that of a paired difference and the p-value that of McNemar's
    exact test. Of several reports, of networks of one method that differ in their seed of training,
    interval and p-value are over seeds and examples, see :mod:`rlfat_tf.evaluation.over_seeds`.

    Args:
        a: The folder of a report, or several of one method.
        b: The same of what it is compared with.
        under: What is compared: ``"worst_case"``, ``"clean"``, an attack by its name (of several
            epsilons the first), or ``"corruptions"``, the mean corruption accuracy. Of a targeted
            attack, the share that is not taken for its target, of the examples whose label is the
            target for none of the classifiers.

    Returns:
        ``difference`` (the accuracy of ``a`` minus that of ``b``), ``interval`` of 95 %,
        ``only_a`` and ``only_b`` (how many examples only one of them classifies correctly, of
        several seeds the mean over pairs of networks; None of corruptions, where an example may be
        right in part), ``p_value`` (of corruptions that of the mean), ``examples``; further
        ``accuracy_a``, ``accuracy_b``, ``seeds`` (how many reports each), ``under``,
        ``examples_for_one_point`` (how many examples would show a difference of one point where two
        networks disagree as often as these, with a probability of 80 %; None of corruptions) and
        ``caveats``, sentences.

    Raises:
        FileNotFoundError: If a report is not there.
        ValueError: If the evaluations are of different data, norm, epsilon or attacks, or a report
            is there twice.
    """
    folders = [_several(a), _several(b)]
    for side in folders:
        if len({os.path.realpath(folder) for folder in side}) < len(side) or not side:
            raise ValueError(
                "Expected one report, or reports of several networks, each once; received "
                f"{[os.fspath(folder) for folder in side]}."
            )
    one, other = ([read_evaluated(folder) for folder in side] for side in folders)
    return compare_evaluated(one, other, under=under)


def _several(given: PathLike | Sequence[PathLike]) -> list[PathLike]:
    return [given] if isinstance(given, (str, os.PathLike)) else list(given)


def compare_evaluated(
    a: Sequence[Evaluated], b: Sequence[Evaluated], *, under: str = WORST_CASE
) -> dict[str, Any]:
    """Compares evaluations that are in memory, see :func:`compare`."""
    first = _counted(a[0], under)
    for evaluated in [*a[1:], *b]:
        refuse_unlike(first, _counted(evaluated, under), (a[0].name, evaluated.name))
    counted = np.logical_and.reduce([evaluated.counted(under) for evaluated in [*a, *b]])
    one, other = (
        np.stack([evaluated.correct(under)[counted] for evaluated in side]).astype(float)
        for side in (a, b)
    )
    found = over_seeds.difference(one, other)
    single, examples = len(a) == len(b) == 1, one.shape[1]
    whole = under != CORRUPTED  # an example is right or wrong
    shares = one.mean(0), other.mean(0)
    only_a, only_b = float(shares[0] @ (1 - shares[1])), float(shares[1] @ (1 - shares[0]))
    exact = single and whole
    disagreement = min(1.0, max(0.01, (only_a + only_b) / examples))
    return {
        "under": under,
        "difference": found.mean,
        "interval": [found.low, found.high],
        "only_a": (round(only_a) if single else only_a) if whole else None,
        "only_b": (round(only_b) if single else only_b) if whole else None,
        "p_value": mcnemar(round(only_a), round(only_b))
        if exact
        else over_seeds.p_value(one, other),
        "examples": examples,
        "accuracy_a": float(one.mean()),
        "accuracy_b": float(other.mean()),
        "seeds": [len(a), len(b)],
        "examples_for_one_point": examples_for_difference(0.01, disagreement) if whole else None,
        "caveats": _caveats([len(a), len(b)], only_a + only_b if whole else None, under),
    }


def _counted(evaluated: Evaluated, under: str) -> Conditions:
    """Returns the conditions that count for what is compared."""
    attacks = evaluated.examples.attacks
    if under == CLEAN:
        return Conditions(evaluated.examples.data, None, None, {})
    if under == CORRUPTED:
        return conditions_of_corruptions(evaluated)
    if under in evaluated.examples.targeted:
        return conditions_of(evaluated, [under])
    if under == WORST_CASE and any(outcomes.bounded for outcomes in attacks.values()):
        return conditions_of(evaluated, [n for n, outcomes in attacks.items() if outcomes.bounded])
    if under in attacks and not _cumulative(evaluated, under):
        return conditions_of(evaluated, [under])
    if under in attacks:
        raise ValueError(
            f"{under} of {evaluated.name} was given only what the attacks before it had left, so "
            "that it says nothing by itself. Compare the worst case, or evaluate without --cascade."
        )
    known = [CLEAN, CORRUPTED, WORST_CASE, *attacks, *evaluated.examples.targeted]
    raise unknown(f"result of {evaluated.name}:", under, known)


def _cumulative(evaluated: Evaluated, attack: str) -> bool:
    """Tells whether an attack was part of a cascade."""
    return bool(evaluated.report["attacks"][attack].get("cumulative"))


def _caveats(seeds: Sequence[int], disagreements: float | None, under: str) -> list[str]:
    """Says what a comparison does not tell."""
    found = []
    if max(seeds) == 1:
        found.append(
            "This compares two networks, not two methods: another seed of training changes "
            "robust accuracy by some tenths of a point up to several points. To compare methods, "
            "train several seeds of each."
        )
    elif min(seeds) == 1:
        found.append(
            "One side is a single network. The interval assumes that another seed of training "
            "would change it as much as the seeds of the other side differ."
        )
    else:
        found.append(f"The interval accounts for {seeds[0]} and {seeds[1]} seeds of the training.")
    if under not in (CLEAN, CORRUPTED):
        found.append(
            "The difference depends on the attacks: if they are too weak for one of the two, a "
            "stronger attack changes it. Compare under AutoAttack, and read the warnings of both "
            "reports."
        )
    if disagreements is not None and disagreements < FEW:
        found.append(
            f"Fewer than {FEW} examples tell the two apart, so the interval is rough. Trust the "
            "p-value, and use more examples."
        )
    return found


def against(this: Evaluated, other: Evaluated) -> dict[str, Any]:
    """Returns the comparison that a report holds: with another report, by what was measured.

    Args:
        this: The evaluation of the report.
        other: What it is compared with.

    Raises:
        ValueError: If the two are of different data, norm, epsilon or attacks.
    """
    shared = [
        name
        for name in this.report["attacks"]
        if name in other.examples.attacks
        and not (_cumulative(this, name) or _cumulative(other, name))
    ]
    aimed = [
        name
        for name in this.examples.targeted
        if name in other.examples.targeted
        and np.sum(this.counted(name) & other.counted(name)) >= LEAST
    ]
    corrupted, unlike = _corrupted_alike(this, other)
    bounded = any(outcomes.bounded for outcomes in this.examples.attacks.values())
    names = [CLEAN, *corrupted, *aimed, *shared, *([WORST_CASE] if bounded else [])]
    found = {name: compare_evaluated([this], [other], under=name) for name in names}
    caveats = [*found[names[-1]]["caveats"], *unlike]
    for comparison in found.values():
        del comparison["caveats"]
    for name in aimed:
        found[name]["targeted"] = True
    return {"report": other.name, "model": other.report["model"], "by": found, "caveats": caveats}


def _corrupted_alike(this: Evaluated, other: Evaluated) -> tuple[list[str], list[str]]:
    """Returns what can be compared of corruptions, and a sentence on what cannot."""
    try:
        conditions = [conditions_of_corruptions(evaluated) for evaluated in (this, other)]
    except ValueError:
        return [], []
    if conditions[0] == conditions[1]:
        return [CORRUPTED], []
    unlike = [n for n, text in conditions[0].said(()).items() if conditions[1].said(())[n] != text]
    return [], [f"Corruptions are not compared: {' and '.join(unlike)} differ."]
