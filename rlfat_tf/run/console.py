"""What a run shows on the terminal: what is trained, one line an epoch, how long it will take."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

import tensorflow as tf

from rlfat_tf import data
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Logs
from rlfat_tf.methods import AdversarialModel
from rlfat_tf.run import initial_weights
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.eval_config import EvalConfig

LIVE_SECONDS = 0.2  # least time between two looks at a running epoch


def number_text(value: float) -> str:
    """Returns a number as people write it: 8/255 for a whole number of grey levels, else 0.03."""
    levels = round(value * 255)
    exact = 0 < levels < 255 and value == levels / 255
    return f"{levels}/255" if exact and len(repr(value)) > len("0.0625") else str(value)


def duration(seconds: float) -> str:
    """Returns a time in the unit that suits it, such as 45 s, 12 min or 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def renewed(text: str, *, last: bool = False) -> str:
    """Returns what writes a text over the line that a terminal shows.

    Args:
        text: The line. A line that will be renewed is cut to the width of the terminal: of one that
            wraps only the last part would be written over.
        last: Whether the line stays, whole.
    """
    if last:
        return f"\r\033[K{text}\n"
    return f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}"


def describe_attack(attack: Any) -> str:
    """Returns an attack of training in a few words; every attack tells its other settings too."""
    if attack is None:
        return "none"
    numbers = {"epsilon": "epsilon {}", "steps": "{} steps", "step_size": "of {}"}
    parts = [
        text.format(number_text(getattr(attack, name)))
        for name, text in numbers.items()
        if isinstance(getattr(attack, name, None), (int, float))
    ]
    return ", ".join([type(attack).__name__, *parts]).replace("steps, of ", "steps of length ")


def show_header(
    config: TrainConfig,
    data_set: data.DataSet,
    robust: AdversarialModel,
    *,
    examples: tuple[int, int],
    steps: tuple[int, int],
) -> None:
    """Says what is about to be trained, on what, and where it will lie.

    Args:
        config: The run.
        data_set: Its data.
        robust: The model.
        examples: How many are trained on and how many validate.
        steps: Of an epoch, and of the whole run.
    """
    shape = "x".join(map(str, data_set.image_shape))
    kinds = {
        "GPU": tf.config.list_logical_devices("GPU"),
        "CPU": tf.config.list_logical_devices("CPU"),
    }
    device = next(f"{len(found)} {kind}" for kind, found in kinds.items() if found)
    used = robust.distribute_strategy.num_replicas_in_sync
    begun = initial_weights.source(config)
    weights = "" if begun == "none" else f", initial weights {begun}"
    lines = {
        "data": f"{examples[0]} training, {examples[1]} validation and {len(data_set.test)} test "
        f"images of {shape}, {data_set.num_classes} classes",
        "network": f"{config.model}, {robust.model.count_params():,} parameters{weights}",
        "attack": describe_attack(robust.attack),
        "device": f"{device}, {used} replica{'s' * (used > 1)}, {config.mixed_precision}",
        "length": f"{-(-steps[1] // steps[0])} epochs of {steps[0]} steps with "
        f"{config.batch_size} images each",
        "run": config.run_dir,
        "accuracy": "clean / under attack, on training batches (train) and validation images (val)",
    }
    print(f"{config.method} on {config.dataset}")
    print("\n".join(f"  {name:<8} {text}" for name, text in lines.items()), flush=True)


def show_evaluation_header(config: EvalConfig, examples: int) -> None:
    """Says what is about to be evaluated, by what, and where the report will lie.

    Args:
        config: The evaluation, completed.
        examples: How many test images there are.
    """
    which = f", {config.checkpoint} checkpoint" if config.workdir else ""
    lines = {
        "data": f"{config.dataset}, {examples} test images",
        "model": f"{config.path}{which}",
        "attacks": f"{config.attacks}, epsilon {', '.join(map(number_text, config.epsilon or ()))} "
        f"in the norm {config.norm}",
        "report": str(config.folder),
    }
    print("Evaluation")
    print("\n".join(f"  {name:<8} {text}" for name, text in lines.items()), flush=True)


class EpochLines(keras.callbacks.Callback):
    """Prints one line an epoch, with the time that the run will still take.

    On a terminal the running epoch has a line that renews itself.

    Args:
        progress: That of the run; its ``step`` is kept up to date by others.
        steps_per_epoch: Steps of an epoch.
        total_steps: Steps of the run.
    """

    def __init__(self, progress: dict[str, Any], *, steps_per_epoch: int, total_steps: int):
        super().__init__()
        self._progress, self._total, self._per_epoch = progress, total_steps, steps_per_epoch
        self._epochs = -(-total_steps // steps_per_epoch)
        self._begun = self._epoch_begun = self._shown = time.monotonic()
        self._done = 0
        self._epoch = 0
        self._live = sys.stdout.isatty()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Starts the clock of the epoch."""
        self._epoch, self._epoch_begun = epoch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Counts the step; on a terminal, shows it."""
        self._done += 1
        now = time.monotonic()
        if self._live and now - self._shown > LIVE_SECONDS:
            self._shown = now
            text = f"{self._name()}  step {batch + 1}/{self.params['steps']}  {self._left()}"
            print(renewed(text), end="", flush=True)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Prints the line of the epoch."""
        self._epoch = epoch
        took = duration(time.monotonic() - self._epoch_begun)
        parts = [self._name(), *epoch_figures(logs or {}), took, self._left()]
        text = "  ".join(filter(None, parts))
        print(renewed(text, last=True) if self._live else f"{text}\n", end="", flush=True)

    def _name(self) -> str:
        return f"epoch {self._epoch + 1:>{len(str(self._epochs))}}/{self._epochs}"

    def _left(self) -> str:
        left = self._total - self._progress["step"]
        if left <= 0 or not self._done:
            return ""
        return f"ETA {duration((time.monotonic() - self._begun) / self._done * left)}"


def epoch_figures(logs: dict[str, Any]) -> list[str]:
    """Returns loss and accuracies of an epoch as short texts; what it lacks is left out.

    Accuracies stand as clean / under attack; a method that computes no clean logits in training
    has a dash there. All metrics are in ``metrics.csv``.
    """
    texts = [f"loss {float(logs['loss']):.4g}"] if "loss" in logs else []
    for name, prefix in (("train", ""), ("val", "val_")):
        pair = [logs.get(f"{prefix}{key}") for key in ("accuracy", "adv_accuracy")]
        if any(value is not None for value in pair):
            shown = ["-" if value is None else f"{float(value):.1%}" for value in pair]
            texts.append(f"{name} {' / '.join(shown)}")
    return texts
