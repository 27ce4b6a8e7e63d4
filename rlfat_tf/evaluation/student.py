"""Student's t distribution, which stands in for the normal where a spread is known from a few."""

from __future__ import annotations

import math
from statistics import NormalDist

import tensorflow as tf


def two_sided(value: float, freedom: float) -> float:
    """Returns the probability of a t at least as far from 0.

    P(|T| >= t) = I_x(freedom / 2, 1 / 2) with x = freedom / (freedom + t^2), the regularised
    incomplete beta function.

    Args:
        value: t, of any sign.
        freedom: Degrees of freedom above 0, not necessarily whole; infinity is the normal
            distribution.
    """
    if math.isinf(value):
        return 0.0
    if math.isinf(freedom):
        return math.erfc(abs(value) / math.sqrt(2))
    half, share = freedom / 2, freedom / (freedom + value * value)
    arguments = (tf.constant(number, tf.float64) for number in (half, 0.5, share))
    return float(tf.math.betainc(*arguments))


def quantile(freedom: float, outside: float = 0.05) -> float:
    """Returns the t beyond which, on both sides together, the share ``outside`` lies.

    Args:
        freedom: As in :func:`two_sided`.
        outside: In (0, 1); the default makes an interval of 95 %.
    """
    if math.isinf(freedom):
        return -NormalDist().inv_cdf(outside / 2)
    low, high = 0.0, 1.0
    while two_sided(high, freedom) > outside:
        low, high = high, 2 * high
    while True:
        middle = (low + high) / 2
        if middle in (low, high):  # neighbours among the floats
            return middle
        low, high = (middle, high) if two_sided(middle, freedom) > outside else (low, middle)
