"""Targeted attacks in an evaluation: what they reach, in a table of its own.

A targeted attack that fails leaves an example that may well be misclassified, so its failures are
no robustness: it counts neither for robust accuracy nor for the worst case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlfat_tf.attacks import Targeted
from rlfat_tf.evaluation.attacking import blank
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.plan import Plan
from rlfat_tf.evaluation.records import TargetedOutcomes
from rlfat_tf.evaluation.runner import AttackRunner


def divided(plan: Plan) -> tuple[Plan, Plan]:
    """Returns the plan without its targeted attacks, and the targeted ones alone."""

    def only(targeted: bool) -> Plan:
        return [
            (radius, {n: a for n, a in attacks.items() if isinstance(a, Targeted) == targeted})
            for radius, attacks in plan
        ]

    return only(False), only(True)


def attack_towards(
    runner: AttackRunner, plan: Plan, limits: Mapping[str, int]
) -> tuple[dict[str, TargetedOutcomes], list[dict[str, Any]]]:
    """Runs the targeted attacks of a plan on all examples whose label is not the target.

    Those misclassified when clean are attacked as well; one that is taken for the target as it is
    counts as a success of length 0.

    Args:
        runner: Runs them.
        plan: Of attacks of :class:`rlfat_tf.attacks.Targeted` alone.
        limits: Of some attacks: on how many of the first examples they run.

    Returns:
        What happened to each example, and for every radius by name what a report says, see
        ``docs/evaluation.md``.
    """
    outcomes: dict[str, TargetedOutcomes] = {}
    results: list[dict[str, Any]] = [{} for _ in plan]
    numbers = np.arange(len(runner.labels))
    for row, (_, attacks) in enumerate(plan):
        for name, attack in attacks.items():
            if not isinstance(attack, Targeted):
                raise TypeError(f"Expected targeted attacks; received {attack!r}.")
            targets = runner.targets(attack)
            if name not in outcomes:
                fields = blank(attack, (len(plan), len(numbers)), limits.get(name))
                outcomes[name] = TargetedOutcomes(**fields, target=targets)
            kept = outcomes[name]
            given = (numbers < kept.examples) & (targets != runner.labels)
            aimed = attack.replace(target=None)
            found = runner.attack(name, aimed, given, keep=False, targets=targets)
            kept.given[row], kept.broken[row] = given, given & ~found.robust
            kept.prediction[row], kept.size[row] = found.prediction, found.size
            results[row][name] = _result(attack, kept, row, found.record)
    return outcomes, results


def _result(
    attack: Targeted, outcomes: TargetedOutcomes, row: int, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what a report says of one targeted attack at one radius."""
    count, total = int(outcomes.broken[row].sum()), int(outcomes.given[row].sum())
    interval = [round(end, 6) for end in wilson(count, total)] if total else None
    return {
        "attack": repr(attack),
        "target": attack.target,
        "success_rate": count / total if total else None,
        "interval": interval,
        "examples": total,
        "reached": count,
        "left_out": outcomes.examples - total,
        "bounded": outcomes.bounded,
        "median_l2": record["median_l2"],
        "seconds": record["seconds"],
    }
