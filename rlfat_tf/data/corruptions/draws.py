"""Random numbers of a corruption: for every example its own, whatever batch it is in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from rlfat_tf.core.types import Array


class Draws:
    """Generators for some examples.

    Attributes:
        rngs: One for each example, a function of (seed, corruption, severity, example) alone.

    Args:
        seed: At least 0.
        name: Of the corruption.
        severity: 1 to 5.
        examples: The numbers of the examples in their data set.
    """

    def __init__(self, seed: int, name: str, severity: int, examples: Iterable[int]):
        root = (seed, zlib.crc32(name.encode()), severity)
        self.rngs = [np.random.default_rng([*root, int(example)]) for example in examples]

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Array:
        """Returns uniform numbers [examples, *shape] in [low, high)."""
        return np.stack([rng.uniform(low, high, shape) for rng in self.rngs])

    def normal(self, shape: Sequence[int], mean: float, deviation: float) -> Array:
        """Returns normal numbers [examples, *shape]."""
        return np.stack([rng.normal(mean, deviation, shape) for rng in self.rngs])

    def integers(self, shape: Sequence[int], low: int, end: int) -> Array:
        """Returns integers [examples, *shape] from low to end - 1."""
        return np.stack([rng.integers(low, end, shape) for rng in self.rngs])
