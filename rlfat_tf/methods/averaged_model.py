"""A model that trains its weights and shows their average.

The classifier holds the averages in validation, in callbacks at the end of an epoch, after ``fit``
and in whatever is saved. The weights that are trained come back for the next epoch, and with
:meth:`AveragedModel.weights_of_training`.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Logs, Tensor
from rlfat_tf.methods.average import Average, RunningAverage
from rlfat_tf.methods.checks import (
    check_backups,
    check_checkpoints,
    check_one_average,
    check_path,
)
from rlfat_tf.methods.wrapped_classifier import WrappedClassifier


class AveragedModel(WrappedClassifier):
    """What a method has of the average of its weights, if it keeps one."""

    _average: Average | None = None
    _running: RunningAverage | None = None
    # What the statistics are measured on where fit is not given the training data from their start.
    _refreshing_batches: Any = None

    @property
    def average(self) -> Any:
        """The :class:`rlfat_tf.Average` of the weights, or None."""
        return self._average

    @average.setter
    def average(self, average: Average | None) -> None:
        if average is not None and not isinstance(average, Average):
            raise TypeError(f"Expected average to be an rlfat_tf.Average; received {average!r}.")
        if self._running is not None:
            self._running.put(in_place=False)
        self._average, self._running = average, None
        self._begin_average()

    def build(self, input_shape: Any = None) -> None:
        """Builds the classifier, and begins the average of its weights."""
        super().build(input_shape)
        self._begin_average()

    def _begin_average(self) -> None:
        """Averages what is trained now: for the first time, or with layers that were thawed."""
        before = self._running
        if self._average is None or not self.model.built:
            return
        if before is not None and before.covers(self.model):
            return
        with self.distribute_strategy.scope():
            if before is not None:
                before.put(in_place=False)
            self._running = RunningAverage(self._average, self.model, before)

    def begin_average(self) -> None:
        """Begins the average at the weights as they are now, unless it has begun."""
        self._begin_average()
        if self._running is not None:
            with self.distribute_strategy.scope():
                self._running.begin()

    def update_average(self, step: Tensor, made: Tensor | None = None) -> None:
        """Takes the weights after update number ``step`` into their average, if it was made."""
        if self._running is not None:
            self._running.update(step, made)
        elif self._average is not None:
            raise ValueError(
                f"The classifier {self.model.name!r} is not built, so its weights have no average. "
                "Build it first, with model.build(shape), or call it once."
            )

    @contextlib.contextmanager
    def weights_of_training(self) -> Iterator[None]:
        """Puts the weights that are trained in the place of their averages for a while."""
        with self._showing(averages=False):
            yield

    @contextlib.contextmanager
    def _showing(self, averages: bool) -> Iterator[None]:
        before = self._running is not None and self._running.in_place
        self._show(averages)
        try:
            yield
        finally:
            self._show(before)

    def _show(self, averages: bool) -> None:
        if self._running is not None:
            with self.distribute_strategy.scope():
                self._running.put(in_place=averages)

    def refresh_on(self, batches: Any) -> None:
        """Says what ``"refresh"`` measures statistics on, wherever in its data ``fit`` begins."""
        self._refreshing_batches = batches

    def show_averages(self, batches: Any = None) -> None:
        """Puts the averages in place and, if that is asked for, measures their statistics.

        Args:
            batches: On which, if not on those of :meth:`refresh_on`.
        """
        if self._running is None or self._running.in_place:
            return
        self._show(averages=True)
        if self._running.average.statistics == "refresh":
            with self.distribute_strategy.scope():
                self._running.refresh(self._refreshing_batches if batches is None else batches)

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as ``keras.Model.fit`` does; what it validates and leaves are the averages.

        Raises:
            ValueError: If what it is given cannot be trained on, or if a callback or an optimizer
                with an average of its own (``use_ema``) would undo what is kept here.
        """
        given = inspect.signature(keras.Model.fit).bind(self, x, y, *args, **kwargs).arguments
        check_backups(self, given.get("callbacks"))
        check_checkpoints(given.get("callbacks"))
        check_one_average(self)
        self._means.decide_modes(given.get("callbacks"))
        if self._average is None:
            return super().fit(x, y, *args, **kwargs)
        given_to_validate = given.get("validation_data") is not None
        split = 0.0 if given_to_validate else given.get("validation_split") or 0.0
        batches = self._batches_to_refresh(x, given.get("batch_size"), split)
        own = _ShowAverages(batches)
        callbacks = given.get("callbacks")
        if isinstance(callbacks, keras.callbacks.CallbackList):
            own.set_model(self)
            callbacks.callbacks.insert(0, own)  # before those that save
        else:
            others = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
            callbacks = [own, *(each for each in others if each is not None)]
        del given["self"]
        try:
            return super().fit(**{**given, "callbacks": callbacks})
        finally:
            self._show(averages=True)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains on one batch as ``keras.Model.train_on_batch`` does; it leaves the averages."""
        self.begin_average()
        with self.weights_of_training():
            logs = super().train_on_batch(x, y, *args, **kwargs)
        self._show(averages=True)
        return logs

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Saves as ``keras.Model.save`` does, within an epoch too: the averages.

        Raises:
            ValueError: If the file is not to be called ``.keras``: no other kind is loaded again.
        """
        check_path(filepath)
        with self._showing(averages=True):
            return super().save(os.path.expanduser(filepath), *args, **kwargs)

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Saves as ``keras.Model.save_weights`` does, within an epoch too: the averages."""
        with self._showing(averages=True):
            return super().save_weights(os.path.expanduser(filepath), *args, **kwargs)

    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Loads as ``keras.Model.load_weights`` does what :meth:`save_weights` has saved."""
        return super().load_weights(os.path.expanduser(filepath), *args, **kwargs)

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Writes a SavedModel, within an epoch too of the averages; see the base class."""
        with self._showing(averages=True):
            return super().export(*args, **kwargs)

    def _batches_to_refresh(self, x: Any, batch_size: int | None, split: float) -> Any:
        if self._average is None or self._average.statistics != "refresh":
            return None
        if self._refreshing_batches is not None:
            return self._refreshing_batches
        if isinstance(x, tf.data.Dataset):
            return x
        if hasattr(x, "shape"):
            trained = x[: int(len(x) * (1.0 - split))]  # the rest is validation's, as Keras cuts
            return tf.data.Dataset.from_tensor_slices((trained,)).batch(batch_size or 32)
        raise ValueError(
            "Expected arrays or a tf.data.Dataset of (images, labels) for "
            f"Average(statistics='refresh'), which reads them anew; received {type(x).__name__}. "
            "Use statistics='average'."
        )


class _ShowAverages(keras.callbacks.Callback):
    """Exchanges weights and averages at the borders of the training part of an epoch."""

    def __init__(self, batches: Any):
        super().__init__()
        self._batches = batches

    def on_train_begin(self, logs: Logs = None) -> None:
        """When a classifier that was not built has been."""
        self.model._begin_average()
        self.model._show(averages=False)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Before the first step, and after callbacks that restore weights."""
        self.model._show(averages=False)
        self.model.begin_average()

    def on_test_begin(self, logs: Logs = None) -> None:
        """Before the validation, after the last step."""
        self.model.show_averages(self._batches)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Before other callbacks save the model, without a validation too."""
        self.model.show_averages(self._batches)
