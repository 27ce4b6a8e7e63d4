"""``--epsilon_warmup``: over how many steps the radius of the training attack grows."""

from __future__ import annotations

import math

from rlfat_tf.core.errors import warn

FULL = "full"


def parse(text: str) -> float:
    """Returns the epochs of the warm-up; infinity for ``full``, the whole run.

    Raises:
        ValueError: If it is neither ``full`` nor a number of at least 0.
    """
    try:
        epochs = math.inf if text == FULL else float(text)
    except ValueError:
        epochs = math.nan
    if not epochs >= 0 or (epochs == math.inf and text != FULL):
        raise ValueError(
            "Expected --epsilon_warmup to be a number of epochs of at least 0, or full for the "
            f"whole run; received {text!r}."
        )
    return epochs


def steps_of(text: str, steps_per_epoch: int, total_steps: int) -> int:
    """Returns the steps of the warm-up; warns if the run is shorter than it.

    Args:
        text: Of the flag.
        steps_per_epoch: Steps of an epoch.
        total_steps: Of the whole run.
    """
    epochs = parse(text)
    if epochs == math.inf:
        return total_steps
    steps = round(epochs * steps_per_epoch)
    if steps > total_steps:
        warn(
            f"--epsilon_warmup={text} takes {steps} steps, more than the {total_steps} of the run: "
            "the attack never reaches the whole epsilon."
        )
    return steps
