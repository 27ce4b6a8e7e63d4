"""Whether two classifiers differ, by the examples that only one of them classifies correctly.

On the same examples the ones that both get right, or both get wrong, say nothing of a difference.
What is left are ``only_a`` and ``only_b``; without a difference each of these would fall on either
side as a coin does (McNemar, "Note on the sampling error of the difference between correlated
proportions or percentages", Psychometrika 1947).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def mcnemar(only_a: int, only_b: int) -> float:
    """Returns the p-value of McNemar's exact test, two-sided.

    min(1, 2 P(X <= min(only_a, only_b))), X binomial of ``only_a + only_b`` trials at 1/2; 1 if
    there are none. It holds at any number of examples.

    Args:
        only_a: How many examples only the first classifies correctly.
        only_b: How many only the second does.

    Raises:
        ValueError: If one is negative.
    """
    _check_counts(only_a, only_b)
    trials, ways, term = only_a + only_b, 0, 1
    for successes in range(min(only_a, only_b) + 1):
        ways += term
        term = term * (trials - successes) // (successes + 1)
    return min(1.0, 2 * ways / 2**trials)  # whole numbers of any size: nothing is rounded before


def mcnemar_chi_squared(only_a: int, only_b: int, *, corrected: bool = True) -> tuple[float, float]:
    """Returns the statistic of McNemar's approximate test, as papers state it, and its p-value.

    (only_a - only_b)^2 / (only_a + only_b), chi squared with one degree of freedom; with Edwards'
    correction of continuity (|only_a - only_b| - 1)^2 in the numerator. The approximation is one
    from 25 disagreements on; :func:`mcnemar` needs none.

    Args:
        only_a: As in :func:`mcnemar`.
        only_b: As in :func:`mcnemar`.
        corrected: Whether with the correction.

    Raises:
        ValueError: If one is negative.
    """
    _check_counts(only_a, only_b)
    if only_a == only_b:
        return 0.0, 1.0
    gap = abs(only_a - only_b) - (1 if corrected else 0)
    statistic = gap * gap / (only_a + only_b)
    return statistic, math.erfc(math.sqrt(statistic / 2))


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Returns p-values that are adjusted for how many comparisons were made.

    Of m comparisons the k-th smallest p-value is multiplied by m - k + 1, never falls below the one
    before it and is at most 1. Whichever comparisons are then below 0.05, the probability that a
    chance is among them is at most 5 % (Holm, "A simple sequentially rejective multiple test
    procedure", Scandinavian Journal of Statistics 1979).

    Args:
        p_values: By name of the comparison, each in [0, 1].

    Returns:
        By name, in the order given.

    Raises:
        ValueError: If one is out of range.
    """
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"Expected p-values in [0, 1]; received {value} of {name!r}.")
    adjusted, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


def _check_counts(only_a: int, only_b: int) -> None:
    if only_a < 0 or only_b < 0:
        raise ValueError(f"Expected numbers of examples; received {only_a} and {only_b}.")
