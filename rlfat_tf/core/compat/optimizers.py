"""What optimizers of the two kinds of Keras keep, how they count, and how they scale a loss."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core.compat.stack import KERAS_3
from rlfat_tf.core.types import Optimizer, Strategy, Tensor

UNDER_A_CONDITION = "it would update the replicas under a condition, and TensorFlow forbids that"
CLIPS_PARTS = "it would clip each replica's part of the gradient, and not the gradient of the batch"


def optimizer_variables(optimizer: Optimizer) -> list[Any]:
    """Returns the variables of a built optimizer, the step counter included."""
    if _is_legacy(optimizer):  # variables() leaves out those of an optimizer inside of another one
        return list(optimizer.weights)
    return list(optimizer.variables)


def build_optimizer(optimizer: Optimizer, variables: list[Any]) -> None:
    """Creates an optimizer's variables now, so that they can be restored before the first step."""
    if _is_legacy(optimizer):
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)


def _is_legacy(optimizer: Optimizer) -> bool:
    """Tells the optimizers of Keras before 2.11, which TensorFlow Addons' are."""
    return not hasattr(optimizer, "build")


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


def impossible_on_replicas(optimizer: Optimizer, strategy: Strategy) -> dict[str, str]:
    """Returns the arguments of an optimizer that Keras 3 cannot heed under a strategy, and why.

    Some make it exchange gradients or averages under a condition, which TensorFlow forbids where
    replicas meet in ``merge_call``: on CPUs, and on GPUs without NCCL. Others clip the gradient of
    each replica before these are added up.
    """
    if not KERAS_3:
        return {}
    names: dict[str, str] = {}
    if strategy.num_replicas_in_sync > 1:
        names = dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm"), CLIPS_PARTS)
    with strategy.scope():
        meet = tf.distribute.has_strategy() and not (
            tf.__internal__.distribute.strategy_supports_no_merge_call()
        )
    if meet:
        names["gradient_accumulation_steps"] = UNDER_A_CONDITION
        if getattr(optimizer, "use_ema", False):
            names["ema_overwrite_frequency"] = UNDER_A_CONDITION
    return {name: why for name, why in names.items() if getattr(optimizer, name, None)}


def is_loss_scaling(optimizer: Optimizer) -> bool:
    """Tells whether an optimizer adapts a factor to its losses, which float16 needs."""
    return "LossScale" in type(optimizer).__name__
