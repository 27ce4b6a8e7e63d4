"""How sure a figure is that is a mean over test examples *and* over seeds of training.

Each seed's network is evaluated on the same examples, so that the values make a table, seeds by
examples, both drawn at random: another seed would give another mean, and so would other examples.
The variance of the grand mean follows from the mean squares of the two-way table without
replication (the random-effects analysis of variance; for crossed draws see Owen, "The pigeonhole
bootstrap", 2007):

    Var = (MS_examples + MS_seeds - MS_rest) / (seeds * examples)

with Satterthwaite's degrees of freedom, since a few seeds tell little about seeds. Where noise
makes it less than one of the first two alone would give, the greater of these is taken.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from rlfat_tf.evaluation.intervals import wilson

Table = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean and its interval of 95 %."""

    mean: float
    low: float
    high: float


def variance(values: Table) -> tuple[float, float]:
    """Returns the variance of the grand mean and its degrees of freedom.

    Args:
        values: [seeds, examples], at least two examples. Of one seed the variance is that over
            examples alone: nothing is known of other seeds.

    Raises:
        ValueError: If the shape is another.
    """
    if values.ndim != 2 or values.shape[1] < 2 or not len(values):
        raise ValueError(f"Expected values [seeds, examples]; received shape {values.shape}.")
    seeds, examples = values.shape
    mean = values.mean()
    by_example, by_seed = values.mean(0), values.mean(1)
    of_examples = seeds * np.square(by_example - mean).sum() / (examples - 1)
    if seeds == 1:
        return float(of_examples) / examples, examples - 1
    of_seeds = examples * np.square(by_seed - mean).sum() / (seeds - 1)
    rest = values - by_example - by_seed[:, None] + mean
    freedom = (examples - 1, seeds - 1, (examples - 1) * (seeds - 1))
    of_rest = np.square(rest).sum() / freedom[2]
    squares = of_examples, of_seeds, of_rest
    total = of_examples + of_seeds - of_rest
    greater = int(of_seeds > of_examples)
    if total <= squares[greater]:
        return float(squares[greater]) / values.size, freedom[greater]
    spread = sum(square**2 / count for square, count in zip(squares, freedom))
    return float(total) / values.size, float(total**2 / spread)


def of_difference(one: Table, other: Table) -> Estimate:
    """Returns the mean of the first minus the second, paired by example and by seed.

    Args:
        one: [seeds, examples], 1 where an example is correctly classified, else 0.
        other: As the first, on the same examples, by the same seeds.
    """
    values = one.astype(np.float64) - other
    found, freedom = variance(values)
    mean, reach = float(values.mean()), _quantile(freedom) * math.sqrt(found)
    return Estimate(mean, max(-1.0, mean - reach), min(1.0, mean + reach))


def of_accuracy(correct: Table) -> Estimate:
    """Returns an accuracy with Wilson's interval, of as many examples as its variance is worth.

    Args:
        correct: [seeds, examples], 1 where an example is correctly classified, else 0.
    """
    values = correct.astype(np.float64)
    seeds, examples = values.shape
    share = float(values.mean())
    if seeds == 1:
        return Estimate(share, *wilson(int(values.sum()), examples))
    found, freedom = variance(values)
    # Without any spread, all seeds know no more than one of them does.
    worth = max(1.0, share * (1 - share) / found) if found else float(examples)
    low, high = wilson(share * worth, worth, _quantile(freedom))
    return Estimate(share, low, high)


def _quantile(freedom: float) -> float:
    """Returns the 97.5 % point of Student's t."""
    return float(stats.t.ppf(0.975, freedom))
