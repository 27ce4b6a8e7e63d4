"""How sure a figure is that is a mean over test examples *and* over seeds of training.

Each seed's network is evaluated on the same examples, so that the values make a table, seeds by
examples, both drawn at random: another seed would give another mean, and so would other examples.
A difference of two methods is of two tables, whose examples are the same and whose seeds have
nothing to do with each other. The variance of the mean, or of the difference of the means, is

    Var = V_examples + V_seeds - V_rest

    V_examples   of the examples' means (of their differences), divided by the number of examples,
    V_seeds      of the seeds' means, divided by the number of seeds, for each table,
    V_rest       of what neither explains, which is in both of the others, for each table,

as the random-effects analysis of variance has it (for crossed draws see Owen, "The pigeonhole
bootstrap", 2007), with Satterthwaite's degrees of freedom, since a few seeds tell little about
seeds: a bootstrap of three seeds knows no more than three of them and draws an interval of 95 %
that covers about 80 %. Where noise makes the variance less than one of the first two alone would
give, the greater of these is taken. With one seed of each this is the paired difference with
standard error sqrt(b + c - (b - c)^2 / n) / n, b and c being how many examples only the one and
only the other classifies correctly; nothing is known of other seeds then.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rlfat_tf.evaluation import student
from rlfat_tf.evaluation.intervals import wilson

Table = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean and its interval of 95 %."""

    mean: float
    low: float
    high: float


def variance(*tables: Table) -> tuple[float, float]:
    """Returns the variance of the sum of the tables' means, and its degrees of freedom.

    Args:
        *tables: [seeds, examples], each of the same examples, at least two, and of seeds of its
            own. Of one seed nothing is known of other seeds.

    Returns:
        The variance, and infinity where examples alone make it: they are many.

    Raises:
        ValueError: If the shapes are others.
    """
    shapes = [table.shape for table in tables]
    if any(len(s) != 2 or s[0] < 1 or s[1] < 2 or s[1] != shapes[0][1] for s in shapes):
        raise ValueError(
            "Expected values [seeds, examples], all of the same examples, at least two; received "
            f"shapes {', '.join(map(str, shapes))}."
        )
    examples = shapes[0][1]
    of_examples = float(np.sum([table.mean(0) for table in tables], 0).var()) / examples
    of_seeds, rest = [], 0.0
    for table in tables:
        seeds = len(table)
        if seeds < 2:
            continue
        of_seeds.append((float(table.mean(1).var(ddof=1)) / seeds, seeds - 1))
        left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        rest += float(np.square(left).mean()) / ((seeds - 1) * (examples - 1))
    seeds_alone = math.fsum(part for part, _ in of_seeds)
    total = max(of_examples + seeds_alone - rest, of_examples, seeds_alone)
    if not seeds_alone or total == of_examples:
        return of_examples, math.inf
    return total, total**2 / math.fsum(part**2 / count for part, count in of_seeds)


def mean(*tables: Table) -> Estimate:
    """Returns the sum of the tables' means with its interval; of one table, its mean.

    Args:
        *tables: As in :func:`variance`.
    """
    found, freedom = variance(*tables)
    middle = math.fsum(float(table.mean()) for table in tables)
    reach = student.quantile(freedom) * math.sqrt(found)
    return Estimate(middle, middle - reach, middle + reach)


def difference(one: Table, other: Table) -> Estimate:
    """Returns the accuracy of the first method minus that of the second, paired by example.

    Args:
        one: [seeds, examples], 1 where an example is correctly classified, else 0.
        other: As the first, on the same examples, by as many seeds or by another number of them.
    """
    found = mean(one.astype(np.float64), -other.astype(np.float64))
    return Estimate(found.mean, max(-1.0, found.low), min(1.0, found.high))


def p_value(one: Table, other: Table) -> float:
    """Returns how likely a difference at least as great is, if the methods do not differ.

    Args:
        one: As in :func:`difference`.
        other: As in :func:`difference`.
    """
    gap = abs(float(one.mean()) - float(other.mean()))
    found, freedom = variance(one.astype(np.float64), -other.astype(np.float64))
    if not gap or not found:
        return 0.0 if gap else 1.0
    return student.two_sided(gap / math.sqrt(found), freedom)


def accuracy(correct: Table) -> Estimate:
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
    return Estimate(share, *wilson(share * worth, worth, student.quantile(freedom)))
