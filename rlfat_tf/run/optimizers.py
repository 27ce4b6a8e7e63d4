"""Optimizers by name."""

from __future__ import annotations

from typing import Any

from rlfat_tf.core import addons, compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Model, Optimizer
from rlfat_tf.methods.weight_decay import excluded_from_decay
from rlfat_tf.run import schedules
from rlfat_tf.run.config import TrainConfig

ADAM_EPSILON = 1e-8  # TensorFlow 1's default, with which RLFAT was trained; Keras has 1e-7


def _adam(config: TrainConfig, rate: Any) -> Optimizer:
    return keras.optimizers.Adam(rate, epsilon=ADAM_EPSILON)


def _adamw(config: TrainConfig, rate: Any) -> Optimizer:
    decay = config.weight_decay
    return keras.optimizers.AdamW(rate, weight_decay=decay, epsilon=ADAM_EPSILON)


def _sgd(config: TrainConfig, rate: Any) -> Optimizer:
    return keras.optimizers.SGD(rate, momentum=config.momentum, nesterov=config.nesterov)


AVERAGING = ("MovingAverage", "SWA")  # of TensorFlow Addons
OPTIMIZERS = {"adam": _adam, "adamw": _adamw, "sgd": _sgd}


def check_optimizer(config: TrainConfig) -> None:
    """Refuses an optimizer that this stack does not have, before any long work.

    Raises:
        ValueError: If the name is unknown or the optimizer cannot do what is asked.
        ImportError: If TensorFlow Addons is asked for where it cannot be imported.
    """
    if config.optimizer.startswith("tfa:"):
        name = config.optimizer[len("tfa:") :]
        library = addons.tfa(f"--optimizer={config.optimizer}").optimizers
        known = [n for n in dir(library) if isinstance(getattr(library, n), type)]
        if name not in known:
            raise unknown("TensorFlow Addons optimizer", name, known)
        if name in AVERAGING:
            raise ValueError(
                f"--optimizer={config.optimizer} keeps averages of the weights that nothing would "
                "use. For averages that are validated and kept give --ema=0.999 and any optimizer."
            )
        try:
            _tfa(getattr(library, name), config, config.learning_rate)
        except TypeError as error:
            raise ValueError(
                f"--optimizer={config.optimizer} cannot be made of a learning rate alone "
                f"({error}). Choose another, for instance tfa:LAMB."
            ) from error
        if config.decay_exclude != "none" and decouples_weight_decay(config):
            raise ValueError(
                f"--decay_exclude={config.decay_exclude} needs --optimizer=adamw, or one whose "
                f"weight decay is in the loss; {config.optimizer} decays all weights."
            )
    elif config.optimizer not in OPTIMIZERS:
        hint = "On the addons stack also tfa:<Name>."
        raise unknown("optimizer", config.optimizer, OPTIMIZERS, hint)


def build(config: TrainConfig, steps_per_epoch: int, total_steps: int) -> Optimizer:
    """Builds the optimizer of a run.

    Args:
        config: The run.
        steps_per_epoch: Steps of an epoch, for schedules given in epochs.
        total_steps: Where schedules end that depend on the length of the run.

    Returns:
        A Keras optimizer, or on the addons stack TensorFlow Addons' one of that name.
    """
    check_optimizer(config)
    schedule = schedules.parse(config.lr_schedule)
    rate = schedule.build(config.learning_rate, steps_per_epoch, total_steps)
    if config.optimizer.startswith("tfa:"):
        name = config.optimizer[len("tfa:") :]
        return _tfa(getattr(addons.tfa("").optimizers, name), config, rate)
    return OPTIMIZERS[config.optimizer](config, rate)


def begin(optimizer: Optimizer, model: Model, config: TrainConfig) -> None:
    """Creates the variables of an optimizer, which leaves out of its own decay what it shall."""
    excluded = excluded_from_decay(model, config.decay_exclude)
    if excluded and decouples_weight_decay(config):
        optimizer.exclude_from_weight_decay(var_list=excluded)
    compat.build_optimizer(optimizer, model.trainable_variables)


def _tfa(kind: Any, config: TrainConfig, rate: Any) -> Optimizer:
    """TensorFlow Addons' optimizers: some wrap another, some want a weight decay."""
    if kind.__name__ == "Lookahead":
        inner = keras.optimizers.legacy.Adam(rate, epsilon=ADAM_EPSILON)
        return kind(inner)
    if kind.__name__ in ("AdamW", "SGDW"):
        return kind(weight_decay=config.weight_decay, learning_rate=rate)
    return kind(learning_rate=rate)


def decouples_weight_decay(config: TrainConfig) -> bool:
    """Tells whether the optimizer itself applies the weight decay."""
    return config.optimizer in ("adamw", "tfa:AdamW", "tfa:SGDW")
