"""How sure a figure is that is a mean over test examples *and* over seeds of training.

Each seed's network is evaluated on the same examples, so that the values make a table, seeds by
examples, both drawn at random: another seed would give another mean, and so would other examples.
A difference of two methods is of two tables, whose examples are the same and whose seeds have
nothing to do with each other. The parts of the variance of the mean, or of the difference of the
means, are

    V_examples   of the examples' means (of their differences), divided by the number of examples,
    V_seeds      of the seeds' means, divided by the number of seeds, for each table,
    V_rest       of what neither explains, which is in both of the others, for each table,

as the random-effects analysis of variance has it (for crossed draws see Owen, "The pigeonhole
bootstrap", 2007). Half the interval of 95 % is

    sqrt(z^2 max(V_examples - V_rest, 0) + t^2 V_seeds),  and at least  z sqrt(V_examples).

Here z = 1.96 is the normal distribution's, since examples are many, and t Student's, with
Satterthwaite's degrees of freedom over the seeds, since a few seeds tell little about seeds: a
bootstrap of three seeds knows no more than three of them and draws an interval of 95 % that covers
about 80 %. Where one table has one seed and another has several, the first is taken to vary with
its seed as much as the others. With one seed of each this is the paired difference with standard
error sqrt(b + c - (b - c)^2 / n) / n, b and c being how many examples only the one and only the
other classifies correctly; nothing is known of other seeds then.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rlfat_tf.evaluation import student
from rlfat_tf.evaluation.intervals import Z_95, wilson

Table = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean and its interval of 95 %."""

    mean: float
    low: float
    high: float


class Parts(NamedTuple):
    """The parts of the variance of a sum of means.

    Attributes:
        examples: V_examples.
        seeds: V_seeds, the sum over the tables; 0 if all have one seed.
        rest: V_rest, the sum over the tables.
        freedom: Degrees of freedom of ``seeds``.
    """

    examples: float
    seeds: float
    rest: float
    freedom: float

    def reach(self, outside: float = 0.05) -> float:
        """Returns half the interval outside of which, on both sides, this share lies."""
        z = student.quantile(math.inf, outside)
        squares = z**2 * max(self.examples - self.rest, 0.0)
        if self.seeds:
            squares += student.quantile(self.freedom, outside) ** 2 * self.seeds
        return max(math.sqrt(squares), z * math.sqrt(self.examples))


def parts(*tables: Table) -> Parts:
    """Returns the parts of the variance of the sum of the tables' means.

    Args:
        *tables: [seeds, examples], each of the same examples, at least two, and of seeds of its
            own.

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
    several = [table for table in tables if len(table) > 1]
    if not several:
        return Parts(of_examples, 0.0, 0.0, math.inf)
    freedoms = [len(table) - 1 for table in several]
    # What all of them together say of one seed, for each table that has but one.
    share = (len(tables) - len(several)) / sum(freedoms)
    weights = [1 / len(table) + share * freedom for table, freedom in zip(several, freedoms)]
    of_seeds = [w * float(t.mean(1).var(ddof=1)) for w, t in zip(weights, several)]
    left = [t - t.mean(0) - t.mean(1, keepdims=True) + t.mean() for t in several]
    rest = math.fsum(
        weight * float(np.square(values).sum()) / (freedom * (examples - 1) * examples)
        for weight, values, freedom in zip(weights, left, freedoms)
    )
    total = math.fsum(of_seeds)
    if not total:
        return Parts(of_examples, 0.0, rest, math.inf)
    freedom = total**2 / math.fsum(part**2 / each for part, each in zip(of_seeds, freedoms))
    return Parts(of_examples, total, rest, freedom)


def mean(*tables: Table) -> Estimate:
    """Returns the sum of the tables' means with its interval; of one table, its mean.

    Args:
        *tables: As in :func:`parts`.
    """
    middle = math.fsum(float(table.mean()) for table in tables)
    reach = parts(*tables).reach()
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
    found = parts(one.astype(np.float64), -other.astype(np.float64))
    if not gap or not found.reach():
        return 0.0 if gap else 1.0
    if not found.seeds:
        return student.two_sided(gap / math.sqrt(found.examples), math.inf)
    low, high = -100.0, 0.0  # the power of ten whose interval ends at 0
    while high - low > 1e-8:
        middle = (low + high) / 2
        low, high = (low, middle) if found.reach(10.0**middle) < gap else (middle, high)
    return float(10.0**high)


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
    reach = parts(values).reach() / Z_95
    # Without any spread, all seeds know no more than one of them does.
    worth = max(1.0, share * (1 - share) / reach**2) if reach else float(examples)
    return Estimate(share, *wilson(share * worth, worth))
