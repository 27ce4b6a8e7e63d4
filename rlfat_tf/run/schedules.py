"""Learning-rate schedules by name, as functions of the step alone, so that a run can be resumed.

    constant
    cosine, cosine:warmup=10    half a cosine to 0, after ten epochs of a linear warm-up
    step:75,90                  times 0.1 at the beginning of these epochs
    onecycle:0.3                up to the rate in 30 % of the run, then down to almost 0
    onecycle:0.3,by=epoch       the same, the rate fixed within an epoch
    cyclic:0.5                  up from 0 in half of the run and down to 0, in straight lines

``onecycle`` is PyTorch's ``OneCycleLR`` with its defaults (cosine pieces, from rate / 25 to rate /
250,000), with which one-step and weight-averaged adversarial training were published; ``cyclic`` is
the triangle of Wong et al. ("Fast is better than free", ICLR 2020). The momentum of SGD stays
constant, where PyTorch's two classes move it too unless told not to.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tensorflow as tf

from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Tensor

LIMIT = 2**31  # of step numbers, which TensorFlow holds in 32 bits
NAMES = ("constant", "cosine", "step", "onecycle", "cyclic")
INITIAL_DIVISOR, FINAL_DIVISOR = 25.0, 1e4  # of OneCycleLR


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A schedule as the command line names it.

    Attributes:
        name: One of :data:`NAMES`.
        epochs: Of ``step``: where the rate falls.
        warmup: Of ``cosine``: epochs of the linear warm-up.
        peak: Of ``onecycle`` and ``cyclic``: the part of the run after which the rate is greatest.
        by_epoch: Of ``onecycle``: whether the rate is fixed within an epoch.
    """

    name: str
    epochs: tuple[float, ...] = ()
    warmup: float = 0.0
    peak: float = 0.0
    by_epoch: bool = False

    @property
    def depends_on_the_end(self) -> bool:
        """Whether a longer run is another run from its first step on."""
        return self.name in ("cosine", "onecycle", "cyclic")

    def build(self, rate: float, steps_per_epoch: int, total_steps: int) -> Any:
        """Returns the rate, or a Keras schedule of it by step.

        Args:
            rate: The greatest learning rate.
            steps_per_epoch: Steps of an epoch.
            total_steps: Of the whole run.

        Raises:
            ValueError: If the run is too short for its warm-up.
        """
        if self.name == "constant":
            return rate
        if self.name == "step":
            # Keras's bounds are the last steps of a rate, where these are the first of the next.
            bounds = [round(epoch * steps_per_epoch) - 1 for epoch in self.epochs]
            values = [rate * 0.1**i for i in range(len(bounds) + 1)]
            return keras.optimizers.schedules.PiecewiseConstantDecay(bounds, values)
        if self.name == "cosine":
            warmup = round(self.warmup * steps_per_epoch)
            if warmup >= total_steps:
                raise ValueError(
                    f"Expected a warm-up shorter than the run of {total_steps} steps; received "
                    f"--lr_schedule=cosine:warmup={self.warmup:g}, which is {warmup} steps."
                )
            return Cosine(rate, warmup, total_steps)
        if self.name == "cyclic":
            return Cyclic(rate, self.peak, total_steps)
        steps = steps_per_epoch if self.by_epoch else 1
        return OneCycle(rate, self.peak, -(-total_steps // steps), steps)


def parse(text: str) -> Schedule:
    """Reads a schedule from the command line.

    Raises:
        ValueError: If there is no such schedule, or its numbers are out of their range.
    """
    name, _, rest = text.partition(":")
    if name not in NAMES:
        raise unknown("value of --lr_schedule:", name, NAMES)
    words = rest.split(",") if rest else []
    try:
        if name == "step":
            return Schedule(name, epochs=_rising(words))
        if name == "cosine" and words:
            (word,) = words
            warmup = _within(_after("warmup=", word), 0.0, LIMIT)
            return Schedule(name, warmup=warmup)
        if name == "onecycle":
            by_epoch = words[1:] == ["by=epoch"]
            (word,) = words[:1] if by_epoch else words
            return Schedule(name, peak=_within(float(word), 0.0, 1.0), by_epoch=by_epoch)
        if name == "cyclic":
            (word,) = words
            return Schedule(name, peak=_within(float(word), 0.0, 1.0))
        if words:
            raise ValueError
    except ValueError:
        raise ValueError(
            "Expected --lr_schedule to be constant, cosine, cosine:warmup=<epochs>, "
            "step:<epoch>,<epoch>,... with rising epochs above 0 and below 2**31, "
            "onecycle:<part of the run up to the peak>, the same with ,by=epoch, or "
            f"cyclic:<part>, for instance step:75,90 or cyclic:0.5; received {text!r}."
        ) from None
    return Schedule(name)


def _rising(words: list[str]) -> tuple[float, ...]:
    epochs = tuple(float(word) for word in words)
    if not epochs or list(epochs) != sorted(set(epochs)) or not 0 < epochs[0] <= epochs[-1] < LIMIT:
        raise ValueError
    return epochs


def _within(value: float, low: float, high: float) -> float:
    if not low < value < high:
        raise ValueError
    return value


def _after(prefix: str, word: str) -> float:
    if not word.startswith(prefix):
        raise ValueError
    return float(word[len(prefix) :])


class _Rate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose constructor's arguments are its attributes."""

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return dict(vars(self))


@keras.saving.register_keras_serializable("rlfat_tf")
class Cosine(_Rate):
    """A linear warm-up from 0, then half a cosine to 0.

    Args:
        rate: At the end of the warm-up.
        warmup_steps: Its length.
        total_steps: Of the whole run.
    """

    def __init__(self, rate: float, warmup_steps: int, total_steps: int):
        self.rate, self.warmup_steps, self.total_steps = rate, warmup_steps, total_steps

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the learning rate of a step, float32."""
        step = tf.cast(step, tf.float32)
        up = self.rate * step / max(self.warmup_steps, 1)
        part = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        down = _cosine(self.rate, 0.0, part)
        return tf.where(step < self.warmup_steps, up, down)


@keras.saving.register_keras_serializable("rlfat_tf")
class Cyclic(_Rate):
    """A straight line from 0 to the rate and one back to 0.

    Args:
        rate: At the peak.
        peak: Part of the run before it.
        total_steps: Of the whole run.
    """

    def __init__(self, rate: float, peak: float, total_steps: int):
        self.rate, self.peak, self.total_steps = rate, peak, total_steps

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the learning rate of a step, float32."""
        part = tf.cast(step, tf.float32) / max(self.total_steps, 1)
        slope = tf.minimum(part / self.peak, (1.0 - part) / (1.0 - self.peak))
        return self.rate * tf.maximum(slope, 0.0)


@keras.saving.register_keras_serializable("rlfat_tf")
class OneCycle(_Rate):
    """PyTorch's ``OneCycleLR`` with its default shape.

    Args:
        rate: At the peak.
        peak: Part of the run before it.
        updates: How often the rate changes in the run.
        steps: How many steps each of these lasts.
    """

    def __init__(self, rate: float, peak: float, updates: int, steps: int = 1):
        self.rate, self.peak, self.updates, self.steps = rate, peak, updates, steps

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the learning rate of a step, float32."""
        number = tf.cast(tf.cast(step, tf.int64) // self.steps, tf.float32)
        end_up, end = self.peak * self.updates - 1.0, self.updates - 1.0
        low = self.rate / INITIAL_DIVISOR
        up = _cosine(low, self.rate, number / max(end_up, 1e-9))
        part = (number - end_up) / max(end - end_up, 1e-9)
        return tf.where(number <= end_up, up, _cosine(self.rate, low / FINAL_DIVISOR, part))


def _cosine(first: float, last: float, part: Tensor) -> Tensor:
    """Half a cosine from one value to another; at the ends it stays."""
    part = tf.clip_by_value(part, 0.0, 1.0)
    return last + 0.5 * (first - last) * (1.0 + tf.cos(math.pi * part))
