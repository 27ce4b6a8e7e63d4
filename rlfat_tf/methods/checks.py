"""What a classifier and a call of compile must be for training, and the messages when they are not.

What examples and logits must be is in :mod:`rlfat_tf.core.checks`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.errors import warn
from rlfat_tf.core.model_checks import check_ending, check_model
from rlfat_tf.core.types import Model, Optimizer

BATCH_NORM_PAGE = "docs/batch_normalization.md"
RANDOM_LAYERS_PAGE = "docs/methods.md"


def check_classifier(model: Model) -> None:
    """Refuses models that cannot be trained here, and warns of those that train badly.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If it has several outputs or one logit, ends in a softmax or sigmoid, or
            computes in float16.
    """
    check_model(model)
    check_ending(model)
    if "float16" in compat.compute_dtypes(model):
        raise ValueError(
            f"The model {model.name!r} computes in float16, where the gradients of an attack "
            "underflow to zero. Build it under the policy 'mixed_bfloat16' or 'float32'."
        )
    norms = [layer for layer in compat.batch_norm_layers(model) if layer.trainable]
    if compat.synchronized_batch_norm() and not all(
        getattr(layer, "synchronized", False) for layer in norms
    ):
        warn(
            f"{model.name!r} has batch normalisation that is not synchronised, on several "
            "replicas: each uses the statistics of its own part of the batch, and what is saved "
            "may be those of one replica. Use BatchNormalization(synchronized=True). Without it a "
            "replica that gets no example makes its statistics and gradients NaN: give whole "
            f"batches, dataset.batch(size, drop_remainder=True). See {BATCH_NORM_PAGE}."
        )


def warn_of_lagging_statistics(model: Model) -> None:
    """Warns of moving statistics that follow slowly, where the attack of training uses them.

    Those of frozen layers stay as they are.
    """
    norms = compat.batch_norm_layers(model)
    if any(layer.trainable and layer.momentum > 0.9 for layer in norms):
        warn(
            f"{model.name!r} has batch normalisation with momentum above 0.9: its moving "
            "statistics, which the attack uses, lag behind the weights and weaken the attack. Use "
            f"BatchNormalization(momentum=0.9) or attack_bn='batch'. See {BATCH_NORM_PAGE}."
        )


def warn_of_random_layers(model: Model) -> None:
    """Warns of augmentation inside of the model: its passes see different images."""
    kinds = sorted({type(layer).__name__ for layer in compat.layers_of(model)})
    found = [kind for kind in kinds if kind.startswith("Rand")]
    if found:
        warn(
            f"{model.name!r} contains random augmentation ({', '.join(found)}). Every forward pass "
            "then sees another image, so the terms of an objective compare different images, and "
            "the attack is made for none of them. Augment the data instead: --augment, "
            f"data.training_batches(augment=...) or a map over tf.data. See {RANDOM_LAYERS_PAGE}."
        )


def check_backups(model: Model, callbacks: Any) -> None:
    """Refuses Keras's backups of a model that has state which Keras does not see.

    Raises:
        ValueError: If what such a backup restores would not go on as it was.
    """
    kind = compat.keras.callbacks.BackupAndRestore
    if not any(isinstance(each, kind) for each in _listed(callbacks)):
        return
    if model.optimizer is None:
        return
    own = (each for each in vars(model).values() if hasattr(each, "apply_gradients"))
    optimizers = {id(each): each for each in (model.optimizer, *own)}.values()
    seen = {id(v) for each in optimizers for v in compat.optimizer_variables(each)}
    seen |= {id(v) for v in model.variables}
    if model.average is None and all(id(v) in seen for v in model.state):
        return
    raise ValueError(
        f"keras.callbacks.BackupAndRestore keeps the weights and the optimizer of "
        f"{type(model).__name__}, but not the rest of its state (the average of the weights, or "
        "what the method keeps of its classes): training would go on from another state without a "
        "word. Train by the command, whose backups hold everything, or without that."
    )


def check_checkpoints(callbacks: Any) -> None:
    """Refuses Keras's checkpoints of whole models in files that would be refused after an epoch.

    Raises:
        ValueError: If that is so.
    """
    for each in _listed(callbacks):
        if isinstance(each, compat.keras.callbacks.ModelCheckpoint) and not each.save_weights_only:
            check_path(each.filepath)


def check_path(path: str | os.PathLike[str]) -> None:
    """Refuses to save a method in another file than ``.keras``: no other kind is loaded again.

    Raises:
        ValueError: If it ends otherwise.
    """
    if Path(path).suffix != ".keras":
        raise ValueError(
            f"Expected a path that ends in .keras, which rlfat_tf.load reads; received "
            f"{str(path)!r}. For serving there is export(folder), and the classifier alone is "
            ".model."
        )


def check_one_average(model: Model) -> None:
    """Refuses an optimizer that puts an average of its own in the place of the weights.

    Raises:
        ValueError: If it does, and the model keeps an average too.
    """
    inside = getattr(model.optimizer, "inner_optimizer", None)
    own = any(getattr(each, "use_ema", False) for each in (model.optimizer, inside))
    if own and model.average is not None:
        raise ValueError(
            f"Expected one average of the weights; received average={model.average!r} and an "
            "optimizer with use_ema=True, which puts its own in its place when fit ends. Leave "
            "out one of the two; Keras's SwapEMAWeights shows that of the optimizer."
        )


def _listed(callbacks: Any) -> Any:
    """Returns the callbacks that fit is given, one, several or Keras's own list of them."""
    listed = getattr(callbacks, "callbacks", callbacks)
    return listed if isinstance(listed, (list, tuple)) else [listed]


def check_trainable(model: Model) -> None:
    """Refuses to train a model of which every weight is frozen.

    Raises:
        ValueError: If it has weights, and none to train.
    """
    if model.built and model.weights and not model.trainable_weights:
        raise ValueError(
            f"Expected weights to train, but all of {model.name!r} are frozen. Thaw the model, or "
            "its last layers at least, and compile again: model.trainable = True. To measure a "
            "frozen model use evaluate() or rlfat_tf.evaluation.evaluate."
        )


def check_compile(model: Model, optimizer: Optimizer, **others: Any) -> None:
    """Refuses what ``compile`` would take and the step does not heed.

    Raises:
        ValueError: If there is a loss or a weight of it (the method has its own), a metric with the
            name of what the method logs itself, or an optimizer that adapts a scale of the loss.
    """
    for name in ("loss", "loss_weights"):
        if others.get(name) is not None:
            raise ValueError(
                f"compile() received {name}={others[name]!r}, but {type(model).__name__} defines "
                f"its own objective. Leave the {name.replace('_', ' ')} out: "
                "compile(optimizer=..., metrics=['accuracy'])."
            )
    for metric in tf.nest.flatten([others.get("metrics"), others.get("weighted_metrics")]):
        name = getattr(metric, "name", getattr(metric, "__name__", metric))
        if name in model.trackers:
            raise ValueError(
                f"compile() received a metric called {name!r}, but {type(model).__name__} logs a "
                "value of its own under that name. Give the metric another name."
            )
    if compat.is_loss_scaling(optimizer):
        raise ValueError(
            "compile() received an optimizer that scales the loss. That is for float16, in which "
            "attacks underflow; bfloat16 and float32 need none. Pass the inner optimizer."
        )


def check_on_replicas(model: Model, optimizer: Optimizer) -> None:
    """Refuses an optimizer that cannot work under the model's strategy.

    Raises:
        ValueError: If that is so.
    """
    strategy = model.distribute_strategy
    for name, why in compat.impossible_on_replicas(optimizer, strategy).items():
        raise ValueError(
            f"The optimizer of {model.name!r} has {name}={getattr(optimizer, name)}, which Keras 3 "
            f"cannot heed under this {type(strategy).__name__}: {why}. Compile with one that has "
            "none, or train on one device."
        )
