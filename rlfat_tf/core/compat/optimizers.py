"""What optimizers of the two kinds of Keras keep, how they count, and how they scale a loss."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core.compat.stack import KERAS_3
from rlfat_tf.core.types import Optimizer, Strategy, Tensor


def optimizer_variables(optimizer: Optimizer) -> list[Any]:
    """Returns the variables of a built optimizer, the step counter included."""
    variables = optimizer.variables
    return list(variables() if callable(variables) else variables)


def build_optimizer(optimizer: Optimizer, variables: list[Any]) -> None:
    """Creates an optimizer's variables now, so that they can be restored before the first step."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:  # legacy Keras 2 optimizers, which TensorFlow Addons' are
        optimizer._create_all_weights(variables)


def batches_seen(optimizer: Optimizer) -> Any:
    """Returns the variable that counts the batches whose gradients an optimizer has been given.

    ``iterations`` of Keras 3 counts updates of the weights, of which one takes several batches
    where ``gradient_accumulation_steps`` is set.
    """
    return optimizer._iterations if KERAS_3 else optimizer.iterations


def updates_made(optimizer: Optimizer) -> Any:
    """Returns how often an optimizer has changed the weights; see :func:`batches_seen`."""
    return optimizer.iterations


def accumulates(optimizer: Optimizer) -> bool:
    """Tells whether an optimizer takes several batches for an update of the weights."""
    return bool(getattr(optimizer, "gradient_accumulation_steps", None))


def scaled_loss(optimizer: Optimizer, loss: Tensor) -> Tensor:
    """Returns the loss whose gradients an optimizer expects, for it divides them again.

    Keras 3 has a factor in every optimizer (``loss_scale_factor``), Keras 2 in none but those that
    :func:`is_loss_scaling` tells.
    """
    return optimizer.scale_loss(loss) if KERAS_3 else loss


def impossible_on_replicas(optimizer: Optimizer, strategy: Strategy) -> list[str]:
    """Returns the arguments of an optimizer that Keras 3 cannot heed under a strategy.

    They make it exchange gradients or averages under a condition, which TensorFlow forbids where
    replicas meet in ``merge_call``: on CPUs, and on GPUs without NCCL.
    """
    with strategy.scope():
        meet = tf.distribute.has_strategy() and not (
            tf.__internal__.distribute.strategy_supports_no_merge_call()
        )
    if not KERAS_3 or not meet:
        return []
    names = ["gradient_accumulation_steps"]
    names += ["ema_overwrite_frequency"] if getattr(optimizer, "use_ema", False) else []
    return [name for name in names if getattr(optimizer, name, None)]


def is_loss_scaling(optimizer: Optimizer) -> bool:
    """Tells whether an optimizer adapts a factor to its losses, which float16 needs."""
    return "LossScale" in type(optimizer).__name__
