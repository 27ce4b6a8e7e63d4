"""Targeted attacks in an evaluation: what they reach, in a table of its own.

A targeted attack that fails leaves an example that may well be misclassified, so its failures are
no robustness: it counts neither for robust accuracy nor for the worst case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlfat_tf.attacks import Attack, Targeted
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.plan import Plan, is_bounded
from rlfat_tf.evaluation.runner import AttackRunner


def divided(plan: Plan) -> tuple[Plan, Plan]:
    """Returns the plan without its targeted attacks, and the targeted ones alone."""

    def only(targeted: bool) -> Plan:
        return [
            (radius, {n: a for n, a in attacks.items() if isinstance(a, Targeted) == targeted})
            for radius, attacks in plan
        ]

    return only(False), only(True)


def success_rates(
    runner: AttackRunner, attacks: Mapping[str, Attack], limits: Mapping[str, int]
) -> dict[str, Any]:
    """Runs the targeted attacks of one epsilon on all examples whose label is not the target.

    Those misclassified when clean are attacked as well; one that is taken for the target as it is
    counts as a success of length 0.

    Args:
        runner: Runs them.
        attacks: Of :class:`rlfat_tf.attacks.Targeted`, by name.
        limits: Of some attacks: on how many of the first examples they run.

    Returns:
        By name, what a report says of them, see ``docs/evaluation.md``.
    """
    results = {}
    numbers = np.arange(len(runner.labels))
    for name, attack in attacks.items():
        if not isinstance(attack, Targeted):
            raise TypeError(f"Expected targeted attacks; received {attack!r}.")
        targets = runner.targets(attack)
        first = numbers < limits.get(name, len(numbers))
        given = first & (targets != runner.labels)
        aimed = attack.replace(target=None)
        found = runner.attack(name, aimed, given, keep=False, targets=targets)
        count, total = int(given.sum() - found.robust.sum()), int(given.sum())
        interval = [round(end, 6) for end in wilson(count, total)] if total else None
        results[name] = {
            "attack": repr(attack),
            "target": attack.target,
            "success_rate": count / total if total else None,
            "interval": interval,
            "examples": total,
            "reached": count,
            "left_out": int(first.sum()) - total,
            "bounded": is_bounded(attack),
            "median_l2": found.record["median_l2"],
            "seconds": found.record["seconds"],
        }
    return results
