"""Which numbers the flags of a training run may have."""

from __future__ import annotations

import math
from typing import Callable, NamedTuple

LIMIT = 2**31  # of integers, which TensorFlow holds in 32 bits


class Range(NamedTuple):
    """Numbers that a flag may have.

    Attributes:
        text: What they are, for a message.
        holds: Whether a number is one of them.
    """

    text: str
    holds: Callable[[float], bool]


AT_LEAST_ONE = Range("an integer of at least 1", lambda v: v >= 1)
IN_31_BITS = Range("an integer that fits 31 bits", lambda v: 0 <= v < LIMIT)
POSITIVE = Range("a finite number above 0", lambda v: 0 < v < math.inf)
NOT_NEGATIVE = Range("a finite number of at least 0", lambda v: 0 <= v < math.inf)
FRACTION = Range("a number in [0, 1)", lambda v: 0 <= v < 1)

COUNTS = (
    "epochs",
    "train_steps",
    "image_size",
    "train_examples",
    "test_examples",
    "validation_every",
    "batch_size",
    "attack_steps",
    "num_blocks",
    "lsp_neighbors",
)
RANGES: tuple[tuple[Range, tuple[str, ...]], ...] = (
    (AT_LEAST_ONE, COUNTS),
    (IN_31_BITS, (*COUNTS, "validation_examples", "seed")),
    (POSITIVE, ("attack_step_size", "learning_rate")),
    (
        NOT_NEGATIVE,
        ("weight_decay", "checkpoint_every", "picture_every", "ema_warmup", "awp", "awp_warmup"),
    ),
    (
        FRACTION,
        ("momentum", "ema", "validation_fraction", "extra_share", "extra_label_smoothing"),
    ),
)


def check_ranges(config: object) -> None:
    """Refuses numbers out of their ranges; None is left to each flag's type.

    Args:
        config: A :class:`rlfat_tf.run.config.TrainConfig`.

    Raises:
        ValueError: If a number is out of its range.
    """
    for allowed, names in RANGES:
        for name in names:
            value = getattr(config, name)
            if value is not None and not allowed.holds(value):
                raise ValueError(f"Expected --{name} to be {allowed.text}; received {value}.")
