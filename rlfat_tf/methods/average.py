"""A moving average of the weights along the training, which is evaluated instead of them.

After update number t = 0, 1, ... of the weights w the average is

    a <- d(t) a + (1 - d(t)) w,    d(t) = min(decay, (1 + s) / (10 + s)),  s = t - warmup

and in the first ``warmup`` updates a copy of w (Gowal et al., "Uncovering the Limits of Adversarial
Training", 2020; Rebuffi et al., "Data Augmentation Can Improve Robustness", NeurIPS 2021). The ramp
lets it follow the fast changes of the beginning; without it d(t) is ``decay`` from the first copy
on. It is the same on both kinds of Keras, whose own averages begin at different weights.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Model, Tensor

STATISTICS = ("raw", "average", "refresh")


@keras.saving.register_keras_serializable("rlfat_tf")
@dataclasses.dataclass(frozen=True)
class Average:
    """How the weights are averaged: ``PGDAT(model, average=rlfat_tf.Average(0.999))``.

    Weights that are loaded into a trained model replace the averages, which it shows, and the next
    ``fit`` goes on with those it trained before. To train the loaded ones set ``average`` anew.

    Args:
        decay: What is kept of the average in an update, in [0, 1). It looks back over about
            1 / (1 - decay) updates; 4 to 5 epochs are usual, an eighth of a short training.
        ramp: Whether the decay grows to its value, see :mod:`rlfat_tf.methods.average`.
        warmup: Updates of the weights in which the average only follows.
        statistics: The moving statistics of batch normalisation that belong to the average.
            ``"average"``: averaged as the weights are. ``"raw"``: those of the trained weights.
            ``"refresh"``: measured anew with the averaged weights on clean training images, the
            first 100 batches, before each validation and at the end of each epoch of ``fit``;
            averaged until then.

    Raises:
        ValueError: If an argument is out of its range.
    """

    decay: float = 0.999
    ramp: bool = True
    warmup: int = 0
    statistics: str = "average"

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"Expected the decay of an average in [0, 1); received {self.decay}.")
        if self.warmup < 0 or self.warmup != int(self.warmup):
            raise ValueError(
                f"Expected warmup to be a number of updates, 0 or more; received {self.warmup}."
            )
        if self.statistics not in STATISTICS:
            raise unknown("statistics", self.statistics, STATISTICS)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Average:
        """Makes an average of :meth:`get_config`'s result."""
        return cls(**config)

    def decay_at(self, step: Tensor) -> Tensor:
        """Returns d(t), float64, for the number of updates before this one."""
        since = tf.cast(step, tf.float64) - self.warmup
        decay = tf.constant(self.decay, tf.float64)
        if self.ramp:
            return tf.where(
                since < 0, tf.zeros_like(decay), tf.minimum(decay, (1 + since) / (10 + since))
            )
        first = max(self.warmup, 1) - self.warmup
        return tf.where(since < first, tf.zeros_like(decay), decay)


class RunningAverage:
    """The variables of an :class:`Average` of a classifier; Keras neither sees nor saves them.

    Args:
        average: How to average.
        model: A built classifier, in the scope of the strategy that trains it.
        before: The averages until now, which are not in place; they go on.
    """

    def __init__(self, average: Average, model: Model, before: RunningAverage | None = None):
        self.average = average
        self.in_place = False
        self.begun: bool = (
            before is not None and before.begun
        )  # else the values have no meaning yet
        self._model = model
        self._weights, self._statistics = model.trainable_variables, _statistics(model)
        if before is not None:
            self._weights = _united(before._weights, self._weights)
            self._statistics = _united(before._statistics, self._statistics)
        kept = [] if average.statistics == "raw" else self._statistics
        self._averaged = [*self._weights, *kept]
        # Replicas whose batch normalisation is not synchronised have statistics of their own.
        of_replicas = [tf.VariableAggregation.NONE] * len(self._weights)
        of_replicas += [tf.VariableAggregation.MEAN] * len(kept)
        known = {} if before is None else dict(zip(map(id, before._averaged), before.values))
        self.values: list[Any] = [
            known[id(variable)]
            if id(variable) in known
            else tf.Variable(_wide(variable), trainable=False, aggregation=aggregation)
            for variable, aggregation in zip(self._averaged, of_replicas)
        ]

    def covers(self, model: Model) -> bool:
        """Tells whether all that is trained now is averaged; layers may have been thawed since."""
        own = {id(variable) for variable in (*self._weights, *self._statistics)}
        return own >= {id(v) for v in (*model.trainable_variables, *_statistics(model))}

    def begin(self) -> None:
        """Begins at the weights as they are now, which may have been loaded; only once."""
        if not self.begun:
            for value, variable in zip(self.values, self._averaged):
                value.assign(_wide(variable))
        self.begun = True

    def update(self, step: Tensor, made: Tensor | None = None) -> None:
        """Takes the new weights into the average, once a step.

        Args:
            step: How many updates there were before.
            made: Whether this step has made one; None: it has.
        """
        decay = self.average.decay_at(step)
        if made is not None:
            decay = tf.where(made, decay, tf.ones_like(decay))
        for value, variable in zip(self.values, self._averaged):
            new = _wide(variable)
            keep, take = tf.cast(decay, new.dtype), tf.cast(1 - decay, new.dtype)
            value.assign(keep * value + take * new)

    def put(self, in_place: bool) -> None:
        """Exchanges weights and averages, if they are not yet as they shall be."""
        if in_place == self.in_place or not self.begun:
            return
        for variable, value in zip(self._averaged, self.values):
            now = variable.numpy()
            variable.assign(value.numpy())
            value.assign(now)
        self.in_place = in_place

    def refresh(self, batches: Any, count: int = 100) -> None:
        """Measures the statistics of batch normalisation of the averages, which are in place.

        They are the means over the batches, each counted by its size (as in the code of Li &
        Spratling, "Data Augmentation Alone Can Improve Adversarial Training", ICLR 2023).

        Args:
            batches: A tf.data.Dataset of batches (images, ...).
            count: How many batches to use.
        """
        total, means = 0, [tf.zeros_like(_wide(variable)) for variable in self._statistics]
        for images, *_ in batches.take(count):
            self._see(images)
            total += len(images)
            share = len(images) / total
            means = [
                mean + (_wide(seen) - mean) * share for mean, seen in zip(means, self._statistics)
            ]
        for variable, mean in zip(self._statistics, means):
            variable.assign(mean)

    @tf.function(reduce_retracing=True)
    def _see(self, images: Any) -> None:
        """Lets the statistics be those of one batch alone."""
        layers = compat.batch_norm_layers(self._model)
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.momentum = 0.0  # read while this is traced, so what is kept is what is seen
        try:
            # All replicas see the whole batch: their statistics are then the same.
            tf.distribute.get_strategy().run(
                lambda batch: self._model(batch, training=True), args=(images,)
            )
        finally:
            for layer, momentum in zip(layers, momenta):
                layer.momentum = momentum


def _statistics(model: Model) -> list[Any]:
    """The moving statistics of the layers that are trained; frozen ones stay what they are."""
    return [
        variable
        for layer in compat.batch_norm_layers(model)
        if layer.trainable
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def _united(some: list[Any], others: list[Any]) -> list[Any]:
    known = set(map(id, some))
    return [*some, *(variable for variable in others if id(variable) not in known)]


def _wide(variable: Any) -> Tensor:
    """The value of a variable, at least in float32."""
    value = tf.convert_to_tensor(variable)
    return value if value.dtype == tf.float64 else tf.cast(value, tf.float32)
