"""What an evaluation is going to run: the attacks of every radius, made before any work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlfat_tf.attacks import Attack
from rlfat_tf.attacks.arguments import check_epsilon
from rlfat_tf.attacks.base import check_within_ball, norm_of
from rlfat_tf.attacks.targeted import check_has_target
from rlfat_tf.core import norms
from rlfat_tf.core.errors import unknown
from rlfat_tf.evaluation import suite

TAKEN = {"clean", "corruptions", "worst_case"}  # names of results that are no attack's

# Of every epsilon (None: the attacks bring it), the attacks by name.
Plan = list[tuple[Any, dict[str, Attack]]]


def make_plan(
    attacks: str | Mapping[str, Attack],
    epsilon: float | Sequence[float] | None,
    norm: str,
    settings: Mapping[str, Any],
) -> Plan:
    """Makes all attacks of an evaluation, before any work is done.

    Raises:
        TypeError: If attacks are neither names nor attack objects by name.
        ValueError: If a name or a setting is wrong.
    """
    _check_given(attacks, epsilon, settings)
    if not isinstance(attacks, str):
        shared = balls(attacks)
        return [(shared.pop()[1] if len(shared) == 1 else None, dict(attacks))]
    wanted: Any = [epsilon] if epsilon is None or np.ndim(epsilon) == 0 else epsilon
    wanted = [check_epsilon(radius, norm) for radius in wanted]
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"Expected one epsilon or several different ones; received {epsilon!r}.")
    plan: Plan = []
    for radius in wanted:
        common = suite.Settings(norm=norm, epsilon=radius, **settings)
        plan.append((radius, {name: suite.make(name, common) for name in suite.parse(attacks)}))
    return plan


def _check_given(attacks: Any, epsilon: Any, settings: Mapping[str, Any]) -> None:
    """Refuses attacks of a wrong kind, and settings that no attack would have."""
    known = {field.name for field in dataclasses.fields(suite.Settings)}
    for name in set(settings) - known:
        raise unknown("setting of an evaluation:", name, known | {"attacks"})
    if isinstance(attacks, str):
        return
    by_name: Mapping[Any, Any] = attacks if isinstance(attacks, Mapping) else {None: None}
    values = list(by_name.values())
    if not all(n and isinstance(n, str) and isinstance(a, Attack) for n, a in by_name.items()):
        raise TypeError(
            "Expected attacks as names joined by commas, 'pgd,autoattack', or as attack objects by "
            f"name, {{'mine': LinfPGD(...)}}; received {attacks!r}."
        )
    for name in TAKEN & set(attacks):
        raise ValueError(f"Expected another name for the attack {name!r}: reports have it already.")
    for attack in values:
        check_within_ball(attack)
        check_has_target(attack)
        norms.size(norm_of(attack))
    given = sorted(settings) if epsilon is None else ["epsilon", *sorted(settings)]
    if given:
        raise ValueError(
            f"Attack objects bring their own settings; received {', '.join(given)} beside them, "
            "which would change nothing. Give them to the attacks."
        )


def is_bounded(attack: Attack) -> bool:
    """Tells whether an attack stays within a radius, whatever its name is."""
    return hasattr(attack, "epsilon")


def balls(attacks: Mapping[str, Attack]) -> set[tuple[str, float]]:
    """Returns the norms and radii of the attacks that have one."""
    bounded: list[Any] = [attack for attack in attacks.values() if is_bounded(attack)]
    return {(norm_of(attack), attack.epsilon) for attack in bounded}
