"""From a configuration to the objects of a run: network, method, optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlfat_tf import data, models
from rlfat_tf.core import compat
from rlfat_tf.core.errors import warn
from rlfat_tf.core.types import Model
from rlfat_tf.methods import METHODS, AdversarialModel, Standard, regularizers
from rlfat_tf.methods.average import Average
from rlfat_tf.methods.options import flags_of, options_of
from rlfat_tf.methods.weight_perturbation import AWP
from rlfat_tf.models.adapted import applications
from rlfat_tf.run import epsilon_warmup, initial_weights, optimizers
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.guard import check_rollback, is_one_step
from rlfat_tf.run.helper import Helper, in_this_scope
from rlfat_tf.run.training_attack import (
    SETTINGS,
    read_by,
    training_attack,
    warn_of_short_steps,
)
from rlfat_tf.storage import weights


def build_model(
    config: TrainConfig,
    data_set: data.DataSet,
    steps_per_epoch: int,
    total_steps: int,
    helping: Helper | None = None,
    initial: Model | None = None,
) -> AdversarialModel:
    """Builds and compiles the network of a run, wrapped in its method, in the scope of this call.

    Args:
        config: The run.
        data_set: Of which the network is to tell the classes.
        steps_per_epoch: Steps of an epoch.
        total_steps: Steps of the run.
        helping: The classifier that helps to train it, if the method takes one.
        initial: The network whose weights it begins with, in place of random ones.
    """
    warn_of_ignored_flags(config)
    check_blocks(config, data_set.image_shape)
    precision = "mixed_bfloat16" if config.mixed_precision == "bfloat16" else "float32"
    with compat.dtype_policy(precision):
        network = models.build(
            config.model,
            input_shape=data_set.image_shape,
            num_classes=data_set.num_classes,
            normalize=config.normalize,
            **_of_pretrained(config),
        )
    if initial is not None:
        initial_weights.put(network, initial, str(config.weights))
    arguments = method_arguments(config, steps_per_epoch, total_steps)
    if helping is not None:
        arguments["helper_model"] = in_this_scope(helping)
    robust = METHODS[config.method](network, **arguments)
    optimizer = optimizers.build(config, steps_per_epoch, total_steps)
    optimizers.begin(optimizer, network, config)
    robust.compile(optimizer=optimizer, metrics=["accuracy"], jit_compile=config.jit_compile)
    return robust


def check_model(config: TrainConfig) -> None:
    """Refuses a network that cannot be built, before any long work; fetches ImageNet's weights.

    Raises:
        ValueError: If its name is unknown, or a file of weights is not what it should be.
        OSError: If weights cannot be read or fetched.
    """
    models.find(config.model)
    pretrained = _of_pretrained(config)
    if pretrained:
        applications.check(config.model[len(applications.PREFIX) :], pretrained["weights"])
        if pretrained["weights"] not in initial_weights.NAMES:
            with open(pretrained["weights"], "rb") as file:
                weights.check(file)


def check_blocks(config: TrainConfig, image_shape: Sequence[Any]) -> None:
    """Refuses to cut images into more blocks than they have rows or columns.

    Raises:
        ValueError: If the method shuffles blocks, and there are more of them.
    """
    height, width = image_shape[:2]
    if "num_blocks" not in flags_of(METHODS[config.method]) or None in (height, width):
        return
    most = min(height, width)
    if config.num_blocks > most:
        raise ValueError(
            f"Expected --num_blocks to be at most {most}, since the images have {height} x {width} "
            f"pixels and no block is thinner than one; received {config.num_blocks}."
        )


def _of_pretrained(config: TrainConfig) -> dict[str, str]:
    """Returns what a network of keras.applications takes beside what all take."""
    if not config.model.startswith(applications.PREFIX):
        return {}
    trainable = applications.trainable_of(config.freeze)
    return {"weights": initial_weights.of_backbone(config), "trainable": trainable}


def method_arguments(config: TrainConfig, steps_per_epoch: int, total_steps: int) -> dict[str, Any]:
    """Returns what a run of that many steps passes to the constructor of its method."""
    method = METHODS[config.method]
    arguments: dict[str, Any] = {
        "attack_bn": config.attack_bn,
        "seed": config.seed,
        "weight_decay": 0 if optimizers.decouples_weight_decay(config) else config.weight_decay,
        "epsilon_warmup": epsilon_warmup.steps_of(
            config.epsilon_warmup, steps_per_epoch, total_steps
        ),
        **method.attacks_of_flags(training_attack(config)),
    }
    for flag, option in flags_of(method).items():
        if getattr(config, flag) is not None:  # else the method's own default
            arguments[option] = getattr(config, flag)
    if "epoch_steps" in options_of(method):
        arguments["epoch_steps"] = steps_per_epoch
    if config.ema:
        arguments["average"] = Average(
            config.ema,
            ramp=config.ema_ramp,
            warmup=round(config.ema_warmup * steps_per_epoch),
            statistics=config.ema_statistics,
        )
    if config.awp:
        warmup = round(config.awp_warmup * steps_per_epoch)
        arguments["weight_perturbation"] = AWP(config.awp, warmup=warmup)
    arguments["regularizer"] = [
        regularizers.REGULARIZERS[name](
            norm=config.attack_norm,
            epsilon=config.epsilon,
            **{f.name: getattr(config, flag) for flag, f in regularizers.flags_of(name).items()},
        )
        for name in regularizers.names_in(config.regularizer)
    ]
    return arguments


def guard_action(config: TrainConfig) -> str:
    """Returns what the guard does when a run overfits its attack: off, stop or rollback.

    Raises:
        ValueError: If it is to roll back, and the attack of training has more than one step.
    """
    attack = METHODS[config.method].attacks_of_flags(training_attack(config)).get("attack")
    if config.guard is None:
        return "stop" if is_one_step(attack) else "off"
    if issubclass(METHODS[config.method], Standard):
        return "off"
    if config.guard == "rollback":
        check_rollback(attack)
    return config.guard


def warn_of_ignored_flags(config: TrainConfig) -> None:
    """Warns of flags that are not at their default, though nothing in the run reads them."""
    method = METHODS[config.method]
    flags = dict.fromkeys(flag for other in METHODS.values() for flag in flags_of(other))
    unused = [flag for flag in flags if flag not in (*flags_of(method), "epsilon")]
    attacks = method.attacks_of_flags(training_attack(config)).values()
    read = {flag for attack in attacks for flag in read_by(attack)}
    unused += [flag for flag in SETTINGS if flag not in read]
    for attack in attacks:
        warn_of_short_steps(attack)
    if not config.ema:
        unused += ["ema_ramp", "ema_warmup", "ema_statistics"]
    if config.extra_data is None:
        unused += ["extra_share", "extra_label_smoothing"]
    if not config.awp:
        unused += ["awp_warmup"]
    for name in regularizers.REGULARIZERS:
        if name not in regularizers.names_in(config.regularizer):
            unused += regularizers.flags_of(name)
    if not _of_pretrained(config):
        unused.append("freeze")
    if "helper_model" not in options_of(method):
        unused.append("helper_model")
    if issubclass(method, Standard) and config.guard != "off":
        unused.append("guard")
    if config.optimizer != "sgd":
        unused += ["momentum", "nesterov"]
    default = TrainConfig()
    given = [f"--{flag}" for flag in unused if getattr(config, flag) != getattr(default, flag)]
    if given:
        warn(
            f"This run makes no use of {', '.join(given)}: --method={config.method}, "
            f"--attack={config.attack}, --optimizer={config.optimizer} or --model={config.model} "
            "does not take them, or what they belong to is off (--ema, --awp, --regularizer, "
            "--extra_data)."
        )
    others = config.batch_size - 1
    if "lsp" in regularizers.names_in(config.regularizer) and config.lsp_neighbors > others:
        warn(
            f"--lsp_neighbors={config.lsp_neighbors} is more than the {others} other images of a "
            f"batch (--batch_size={config.batch_size}): {others} neighbours are taken."
        )
