"""Runs the attacks of a plan over all examples, and counts what they left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlfat_tf.attacks import Attack
from rlfat_tf.attacks.base import norm_of
from rlfat_tf.core.types import Array
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.judged import weights_digest
from rlfat_tf.evaluation.plan import Plan, is_bounded
from rlfat_tf.evaluation.records import EACH, Examples, Outcomes
from rlfat_tf.evaluation.runner import AttackRunner


def attack_examples(
    runner: AttackRunner, plan: Plan, limits: Mapping[str, int], *, cascade: bool
) -> tuple[Examples, list[dict[str, Any]]]:
    """Runs the attacks of a plan, each on all examples that are correct when clean.

    In a cascade the bounded attacks are given only what those before them have left. Of an
    unbounded one the sizes count, and they are of all examples. The pictures of a report belong to
    the headline, as its table does.

    Returns:
        What happened to each example, and for every radius the records of its attacks by name.
    """
    clean, numbers = runner.clean(), np.arange(len(runner.labels))
    outcomes: dict[str, Outcomes] = {}
    records: list[dict[str, Any]] = [{} for _ in plan]
    shape = len(plan), len(numbers)
    for name, attack in plan[0][1].items():
        outcomes[name] = Outcomes(**blank(attack, shape, limits.get(name)))
    for row, (_, attacks) in enumerate(plan):
        left = clean
        for name, attack in attacks.items():
            given = left if cascade and outcomes[name].bounded else clean
            given = given & (numbers < outcomes[name].examples)
            found = runner.attack(name, attack, given, keep=row == 0)
            records[row][name] = found.record
            outcomes[name].given[row], outcomes[name].broken[row] = given, given & ~found.robust
            outcomes[name].prediction[row], outcomes[name].size[row] = found.prediction, found.size
            if outcomes[name].bounded:
                left = left & ~outcomes[name].broken[row]
    radii = [np.nan if radius is None else radius for radius, _ in plan]
    examples = Examples(
        index=numbers,
        label=runner.labels,
        clean_prediction=runner.clean_predictions(),
        epsilons=np.array(radii, np.float64),
        attacks=outcomes,
        data=runner.progress.identity.get("data", ""),
        classifier=weights_digest(runner.classifier),
    )
    return examples, records


def blank(attack: Attack, shape: tuple[int, int], limit: int | None) -> dict[str, Any]:
    """Returns the fields of what an attack did before it ran.

    Args:
        attack: The attack.
        shape: How many radii and examples there are.
        limit: On how many of the first examples it runs; None: on all.
    """
    return {
        "norm": norm_of(attack),
        "bounded": is_bounded(attack),
        "examples": shape[1] if limit is None else min(limit, shape[1]),
        **{field: np.zeros(shape, kind) for field, kind in EACH.items()},
    }


def under_attacks(
    examples: Examples, row: int, records: Mapping[str, Any], *, cascade: bool
) -> dict[str, Any]:
    """Returns what a report says of the attacks of one epsilon."""
    results = {}
    for name, outcomes in examples.attacks.items():
        robust = examples.robust(name)[row, : outcomes.examples]
        results[name] = {
            **records[name],
            **accuracy("robust_accuracy", "interval", robust),
            "examples": outcomes.examples,
            "bounded": outcomes.bounded,
            "cumulative": cascade and outcomes.bounded,
        }
    names = "worst_case_accuracy", "worst_case_interval"
    any_bounded = any(outcomes.bounded for outcomes in examples.attacks.values())
    worst = examples.worst_case()[row]
    found = accuracy(*names, worst) if any_bounded else dict.fromkeys(names)
    return {"attacks": results, **found}


def accuracy(name: str, interval: str, correct: Array) -> dict[str, Any]:
    """Returns a share and its interval under these names, of which examples are correct."""
    count, total = int(correct.sum()), len(correct)
    low, high = wilson(count, total)
    return {name: count / total, interval: [round(low, 6), round(high, 6)]}
