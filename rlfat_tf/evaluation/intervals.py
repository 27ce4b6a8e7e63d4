"""How sure a measured accuracy is."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson(successes: float, trials: float, z: float = Z_95) -> tuple[float, float]:
    """Returns Wilson's score interval of a proportion.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), p = successes / trials
    (Wilson, "Probable inference, the law of succession, and statistical inference", 1927). It holds
    at proportions of 0 and 1 too, where robust accuracies often lie.

    Args:
        successes: How many examples were correctly classified.
        trials: Of how many. A fraction where examples are not independent of each other and are
            worth fewer than they are.
        z: Quantile of the normal distribution; the default makes an interval of 95 %.

    Returns:
        Lower and upper end, in [0, 1].

    Raises:
        ValueError: If the numbers do not fit each other.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"Expected 0 <= successes <= trials; received {successes} of {trials}.")
    share, square = successes / trials, z * z
    middle = share + square / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials))
    scale = 1 + square / trials
    low = (middle - spread) / scale if successes else 0.0  # the ends hold without rounding
    high = (middle + spread) / scale if successes < trials else 1.0
    return max(0.0, low), min(1.0, high)
