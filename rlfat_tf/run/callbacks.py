"""Keras callbacks of a run: metrics as CSV, checkpoints, a clean stop."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Logs, Model
from rlfat_tf.run.console import duration
from rlfat_tf.run.guard import OverfittingGuard
from rlfat_tf.run.signals import Interrupted, Signals
from rlfat_tf.run.workdir import as_list
from rlfat_tf.storage import checkpoint
from rlfat_tf.storage.files import write_text


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's callback for the metrics of epochs, which has nothing to do after a batch.

    Keras 3 hands every metric of every batch to ``tf.summary`` all the same. That drops them, but
    TensorFlow keeps each Python number that becomes a tensor for good: some 3 kB a step.
    """

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Writes nothing."""

    def on_test_end(self, logs: Logs = None) -> None:
        """Writes nothing: the end of the epoch has the same metrics, under the tags of training."""
        super().on_test_end({})


class MetricsCSV(keras.callbacks.Callback):
    """Writes one line per epoch; a resumed run goes on where its backup stands.

    Args:
        path: The CSV file.
        first_epoch: Lines of this epoch and later ones are dropped: they are trained again.
    """

    def __init__(self, path: Path, first_epoch: int):
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            try:
                with open(path, newline="", encoding="utf-8") as file:
                    self.rows = [r for r in csv.DictReader(file) if int(r["epoch"]) < first_epoch]
            except (KeyError, TypeError, ValueError, csv.Error) as error:
                raise ValueError(
                    f"{path} is not what this run has written ({error!r}). Put it right, or move "
                    "it away to begin a new one."
                ) from error

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Adds a line; a metric that this epoch lacks stays empty."""
        values = {name: float(value) for name, value in sorted((logs or {}).items())}
        self.rows = [r for r in self.rows if int(r["epoch"]) < epoch]
        self.rows.append({"epoch": epoch, **values})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


class ProgressLines(keras.callbacks.Callback):
    """Says from time to time how far an evaluation has come.

    Args:
        what: What is evaluated, for the line.
        examples: How many there are.
        batch_size: How many a batch has.
        seconds: Least time between two lines.
    """

    def __init__(self, what: str, *, examples: int, batch_size: int, seconds: float = 5.0):
        super().__init__()
        self._what, self._examples, self._batch_size = what, examples, batch_size
        self._seconds = seconds
        self._first = self._said = time.monotonic()

    def on_test_begin(self, logs: Logs = None) -> None:
        """Starts the clock."""
        self._first = self._said = time.monotonic()
        print(f"{self._what}: {self._examples} images.", flush=True)

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Prints a line if it is time for one; the first batch, which is traced, tells no speed."""
        now = time.monotonic()
        if not batch:
            self._first = now
        if now - self._said < self._seconds:
            return
        self._said = now
        done = min((batch + 1) * self._batch_size, self._examples)
        text = f"{self._what}: {done} of {self._examples} images"
        if batch:
            left = (now - self._first) * (self._examples - done) / (done - self._batch_size)
            text += f", {duration(left)} left"
        print(f"{text}.", flush=True)


class Checkpoints(keras.callbacks.Callback):
    """Keeps the backup, the last and the best checkpoint of a run, and stops cleanly on a signal.

    The best checkpoint is the one with the greatest ``val_adv_accuracy``, or ``val_accuracy`` where
    the method trains without an attack (:attr:`AdversarialModel.selected_by`); of equal ones the
    other accuracy decides, then the later epoch wins. An epoch that is not validated, or whose
    validation loss is not finite, does not compete; without any validation the best is the last.
    Where the weights are averaged, the averages are validated and kept.

    On SIGINT or SIGTERM a backup is written after the running batch, of training or of validation,
    and :class:`Interrupted` is raised. A validation that was stopped is made anew before the run
    goes on, see :func:`finish_epoch`.

    Args:
        workdir: The folder of the run.
        progress: See :data:`rlfat_tf.run.workdir.BEGINNING`; kept up to date.
        signals: Those of the run.
        batch_size: Global batch size.
        every: Backup every so many steps, 0 for after epochs only.
        guard: That of the run, if any, before this one among the callbacks. An epoch that it has
            taken back is not selected.
    """

    def __init__(
        self,
        workdir: Path,
        progress: dict[str, Any],
        signals: Signals,
        *,
        batch_size: int,
        every: int,
        guard: OverfittingGuard | None = None,
    ):
        super().__init__()
        self.folder = workdir / "checkpoints"
        self.backup = self.folder / "state.npz"
        self.progress = progress
        self.batch_size = batch_size
        self.every = every
        self.signals = signals
        self._since: float | None = None
        self._logs: dict[str, Any] = progress["unvalidated"] or {}
        self._guard = guard
        if guard is not None:
            guard.during_probe = [_StopProbing(self)]

    def stop_if_asked(self) -> None:
        """Raises :class:`Interrupted` if a signal has come; what there is has been backed up."""
        self.signals.stop_if_asked(self.model.distribute_strategy)

    def _asked_to_stop(self) -> bool:
        return self.signals.asked_to_stop(self.model.distribute_strategy)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Starts the clock of training."""
        self._since = time.monotonic()

    def on_test_begin(self, logs: Logs = None) -> None:
        """Stops the clock of training, and the run if asked to."""
        self._stop_clock()
        self.stop_validation_if_asked()

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stops if asked to."""
        self.stop_validation_if_asked()

    def stop_validation_if_asked(self) -> None:
        """Raises :class:`Interrupted` if a signal has come, after a backup of the trained epoch."""
        if self._asked_to_stop():
            self.progress["unvalidated"] = {k: float(v) for k, v in self._logs.items()}
            self._back_up()
            raise Interrupted(self.signals.received or 0)

    def _stop_clock(self) -> None:
        if self._since is not None:
            self.progress["seconds"] += time.monotonic() - self._since
            self._since = None

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Counts the step, backs up when it is time, and stops if asked to."""
        self.progress["step"] += 1
        self.progress["trained"] += self.batch_size
        if batch == self.params["steps"] - 1:
            self._logs = logs or {}
            return  # validation or the end of the epoch backs up and stops
        due = self.every and self.progress["step"] % self.every == 0
        asked = self._asked_to_stop()
        if due or asked:
            self._stop_clock()
            self._back_up()
            self._since = time.monotonic()
        if asked:
            raise Interrupted(self.signals.received or 0)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes the checkpoints, the backup last: what it says is then on disk."""
        self._stop_clock()
        logs = logs or {}
        scores = [float(logs.get(name, 0.0)) for name in self.model.selected_by]
        taken_back = self._guard is not None and self._guard.fired
        measured = self.model.selected_by[0] in logs and math.isfinite(logs.get("val_loss", 0.0))
        validated = measured and not taken_back
        best = self.progress["best"]
        improved = best is None or (validated and scores >= as_list(best))
        checkpoint.save_model(self.folder / "last.keras", self.model)
        if improved:
            checkpoint.save_model(self.folder / "best.keras", self.model)
        if improved and validated:
            digest = checkpoint.digest(self.folder / "best.keras")
            self.progress.update(best=scores, best_epoch=epoch, best_digest=digest)
        self.progress["unvalidated"] = None
        self._back_up()
        self.stop_if_asked()

    def _back_up(self) -> None:
        checkpoint.save_state(self.backup, self.model, self.progress)


class _StopProbing(keras.callbacks.Callback):
    """Stops the guard's evaluation as :class:`Checkpoints` stops that on the validation images."""

    def __init__(self, checkpoints: Checkpoints):
        super().__init__()
        self._checkpoints = checkpoints

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stops if asked to."""
        self._checkpoints.stop_validation_if_asked()


def finish_epoch(
    model: Model, validation: Any, watchers: list[Any], epoch: int, logs: dict[str, float]
) -> None:
    """Validates an epoch whose validation was stopped, and ends it as ``fit`` would have.

    Args:
        model: The compiled model.
        validation: Its batches, if any.
        watchers: The callbacks of the run.
        epoch: The epoch's number.
        logs: The metrics of its training.
    """
    together = keras.callbacks.CallbackList(watchers, model=model)
    together.on_train_begin()
    model.show_averages()
    result = {}
    if validation is not None:  # else it was the guard's evaluation that was stopped
        result = model.evaluate(validation, callbacks=together, verbose=0, return_dict=True)
    together.on_epoch_end(epoch, {**logs, **{f"val_{k}": v for k, v in result.items()}})
    together.on_train_end()
