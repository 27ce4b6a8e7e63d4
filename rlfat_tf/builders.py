"""From a configuration to the objects of a run: strategy, network, method, optimizer."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from rlfat_tf import compat, data, models, optimizers
from rlfat_tf.attacks import LinfPGD
from rlfat_tf.config import TrainConfig
from rlfat_tf.methods import METHODS, TRADES, AdversarialModel, Standard
from rlfat_tf.methods.rlfat import RLFATP, RLFATT, BlockShuffled


def make_strategy(name: str) -> Any:
    """Returns the ``tf.distribute`` strategy: all GPUs of this machine, or its (logical) CPUs."""
    if name == "none":
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return _mirrored(tuple(device.name for device in devices))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    # One for all runs of a process: two of them mix up their messages between CPUs.
    return tf.distribute.MirroredStrategy(list(devices))


def check_batch(config: TrainConfig, strategy: Any) -> None:
    """Refuses a global batch that the replicas cannot share equally.

    Raises:
        ValueError: If the batch size is no multiple of the number of replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise ValueError(
            f"Expected --batch_size (global) to be a multiple of the {replicas} replicas; "
            f"received {config.batch_size}. Use for instance "
            f"{-(-config.batch_size // replicas) * replicas}, or --distribution=none."
        )


def build_model(
    config: TrainConfig, data_set: data.DataSet, steps_per_epoch: int, total_steps: int
) -> AdversarialModel:
    """Builds and compiles the network of a run, wrapped in its method."""
    precision = "mixed_bfloat16" if config.mixed_precision == "bfloat16" else "float32"
    with compat.dtype_policy(precision):
        network = models.build(
            config.model, input_shape=data_set.image_shape, num_classes=data_set.num_classes
        )
    robust = METHODS[config.method](network, **method_arguments(config))
    optimizer = optimizers.build(config, steps_per_epoch, total_steps)
    robust.compile(optimizer=optimizer, metrics=["accuracy"])
    compat.build_optimizer(optimizer, network.trainable_variables)
    return robust


def method_arguments(config: TrainConfig) -> dict[str, Any]:
    """Returns what a run passes to the constructor of its method."""
    method = METHODS[config.method]
    attack = LinfPGD(
        epsilon=config.epsilon,
        steps=config.attack_steps,
        step_size=config.attack_step_size,
        random_start=config.attack_random_start,
    )
    arguments: dict[str, Any] = {
        "attack": attack,
        "attack_bn": config.attack_bn,
        "seed": config.seed,
        "weight_decay": 0 if optimizers.decouples_weight_decay(config) else config.weight_decay,
    }
    if method is Standard:
        start = attack.replace(random_start="uniform")
        arguments.update(attack=None, eval_attack=start)
    if issubclass(method, BlockShuffled):
        arguments.update(num_blocks=config.num_blocks, block_shuffle=config.block_shuffle)
    if issubclass(method, TRADES):
        arguments.update(trades_lambda=config.trades_lambda)
    if issubclass(method, (RLFATP, RLFATT)) and config.eta is not None:
        arguments.update(eta=config.eta)
    return arguments
