"""How many test examples an evaluation needs, before it is run."""

from __future__ import annotations

import math
from statistics import NormalDist

from rlfat_tf.evaluation.intervals import Z_95


def examples_for_interval(half_width: float, accuracy: float = 0.5) -> int:
    """Returns how many examples make the 95 % interval of an accuracy so narrow.

    The least n of which Wilson's interval is at most ``half_width`` to either side of its middle,
    about z^2 p (1 - p) / half_width^2.

    Args:
        half_width: In (0, 0.5): 0.01 for one point to either side.
        accuracy: p, the accuracy that is expected, in [0, 1]; 0.5 needs the most examples.

    Raises:
        ValueError: If a number is out of its range.
    """
    if not 0 < half_width < 0.5 or not 0 <= accuracy <= 1:
        raise ValueError(
            "Expected a half_width in (0, 0.5) and an accuracy in [0, 1]; received "
            f"{half_width} and {accuracy}."
        )
    # half_width^2 (n + z^2)^2 = z^2 (n p (1 - p) + z^2 / 4), solved for n.
    square, spread = half_width * half_width, accuracy * (1 - accuracy)
    linear = spread - 2 * square
    root = math.sqrt(linear * linear + square * (1 - 4 * square))
    return max(1, math.ceil(Z_95 * Z_95 * (linear + root) / (2 * square)))


def examples_for_difference(difference: float, disagreement: float, *, power: float = 0.8) -> int:
    """Returns how many examples show a difference between two classifiers, evaluated on the same.

    n = (z sqrt(psi) + z_power sqrt(psi - D^2))^2 / D^2: with so many McNemar's test at 5 % finds
    the difference with the probability ``power`` (Connor, "Sample size for testing differences in
    proportions for the paired-sample design", Biometrics 1987).

    Args:
        difference: D, of the two accuracies, in [-1, 1] and not 0: 0.01 for one point.
        disagreement: psi, the share of the examples that only one of the two classifies correctly;
            at least the difference, at most 1. A first evaluation of both on a few hundred examples
            shows it.
        power: In [0.5, 1).

    Raises:
        ValueError: If a number is out of its range.
    """
    if not 0 < abs(difference) <= disagreement <= 1 or not 0.5 <= power < 1:
        raise ValueError(
            "Expected 0 < |difference| <= disagreement <= 1 and a power in [0.5, 1); received "
            f"{difference}, {disagreement} and {power}."
        )
    chance = Z_95 * math.sqrt(disagreement)
    found = NormalDist().inv_cdf(power) * math.sqrt(disagreement - difference**2)
    return math.ceil(((chance + found) / difference) ** 2)
