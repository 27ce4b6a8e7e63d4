"""From a configuration to the objects of a run: network, method, optimizer."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from rlfat_tf import data, models
from rlfat_tf.core import compat
from rlfat_tf.methods import METHODS, AdversarialModel, Standard
from rlfat_tf.methods.regularizers import LSP
from rlfat_tf.run import optimizers
from rlfat_tf.run.config import TrainConfig

# Flags of some methods, and the arguments of their constructors.
METHOD_FLAGS = {
    "num_blocks": "num_blocks",
    "block_shuffle": "block_shuffle",
    "trades_lambda": "trades_lambda",
    "eta": "eta",
    "label_smoothing": "label_smoothing",
    "divergence_weight": "divergence_weight",
    "atld_objective": "objective_form",
    "local_weight": "local_weight",
    "global_weight": "global_weight",
    "local_radius": "local_radius",
    "local_variant": "variant",
}
ATTACK_FLAGS = {
    "attack_steps": "steps",
    "attack_step_size": "step_size",
    "attack_random_start": "random_start",
}
LSP_FLAGS = ("lsp_weight", "lsp_neighbors", "lsp_reading", "lsp_layer")


def build_model(
    config: TrainConfig, data_set: data.DataSet, steps_per_epoch: int, total_steps: int
) -> AdversarialModel:
    """Builds and compiles the network of a run, wrapped in its method."""
    warn_of_ignored_flags(config)
    precision = "mixed_bfloat16" if config.mixed_precision == "bfloat16" else "float32"
    with compat.dtype_policy(precision):
        network = models.build(
            config.model, input_shape=data_set.image_shape, num_classes=data_set.num_classes
        )
    robust = METHODS[config.method](network, **method_arguments(config))
    optimizer = optimizers.build(config, steps_per_epoch, total_steps)
    robust.compile(optimizer=optimizer, metrics=["accuracy"], jit_compile=config.jit_compile)
    compat.build_optimizer(optimizer, network.trainable_variables)
    return robust


def method_arguments(config: TrainConfig) -> dict[str, Any]:
    """Returns what a run passes to the constructor of its method."""
    method = METHODS[config.method]
    attack = method.make_attack(
        epsilon=config.epsilon,
        **{argument: getattr(config, flag) for flag, argument in ATTACK_FLAGS.items()},
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
    accepted = _accepted(method)
    for flag, argument in METHOD_FLAGS.items():
        value = getattr(config, flag)
        if argument in accepted and value is not None:
            arguments[argument] = value
    if config.regularizer == "lsp":
        arguments["regularizer"] = LSP(
            weight=config.lsp_weight,
            neighbors=config.lsp_neighbors,
            reading=config.lsp_reading,
            layer=config.lsp_layer,
            epsilon=config.epsilon,
        )
    return arguments


def _accepted(method: type[AdversarialModel]) -> set[str]:
    """Returns the arguments that a method takes."""
    return {name for c in method.__mro__ for name in inspect.signature(c).parameters}


def warn_of_ignored_flags(config: TrainConfig) -> None:
    """Warns of flags that are not at their default, though nothing in the run reads them."""
    accepted = _accepted(METHODS[config.method])
    unused = [flag for flag, argument in METHOD_FLAGS.items() if argument not in accepted]
    attack = METHODS[config.method].make_attack(epsilon=config.epsilon).get_config()
    unused += [flag for flag, argument in ATTACK_FLAGS.items() if argument not in attack]
    if config.regularizer != "lsp":
        unused += LSP_FLAGS
    default = TrainConfig()
    given = [f"--{flag}" for flag in unused if getattr(config, flag) != getattr(default, flag)]
    if given:
        warnings.warn(
            f"This run makes no use of {', '.join(given)}, which are of other methods than "
            f"--method={config.method} or of --regularizer=lsp.",
            stacklevel=2,
        )
