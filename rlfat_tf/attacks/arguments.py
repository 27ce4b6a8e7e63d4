"""What every attack refuses: radii, counts and sizes out of their range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rlfat_tf.core import norms


def check_epsilon(epsilon: float | None, norm: str) -> float:
    """Refuses a norm that does not exist and a radius that is not in units of [0, 1] pixels.

    Args:
        epsilon: The radius; None: the norm's usual one. A radius of one norm means something else
            in the other, so no number is the default of both.
        norm: ``"linf"`` or ``"l2"``.

    Returns:
        The radius.

    Raises:
        ValueError: If the norm is unknown, or if epsilon is negative or not finite, or above 1 in
            the maximum norm.
    """
    usual = norms.get(norm).usual_epsilon
    epsilon = float(usual if epsilon is None else epsilon)
    if not math.isfinite(epsilon) or epsilon < 0:
        raise ValueError(f"Expected a finite epsilon >= 0; received {epsilon}.")
    if norm == "linf" and epsilon > 1:
        raise ValueError(
            f"Expected epsilon in units of pixels in [0, 1]; received {epsilon}. "
            f"Did you mean {epsilon:g}/255?"
        )
    return epsilon


def check_counts(**counts: Any) -> None:
    """Refuses counts below 1.

    Raises:
        ValueError: If one is not an integer of at least 1.
    """
    for name, count in counts.items():
        if int(count) != count or count < 1:
            raise ValueError(f"Expected {name} to be an integer of at least 1; got {count}.")


def check_positive(counts: Mapping[str, float], sizes: Mapping[str, float]) -> None:
    """Refuses numbers of times that are no integers >= 1, and sizes that are not above 0.

    Raises:
        ValueError: If there is one.
    """
    check_counts(**counts)
    for name, size in sizes.items():
        if not math.isfinite(size) or size <= 0:
            raise ValueError(f"Expected {name} to be a finite number above 0; got {size}.")
