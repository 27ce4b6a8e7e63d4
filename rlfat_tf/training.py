"""A training run from beginning to end: :func:`run` does what ``train.py`` promises.

    summary = rlfat_tf.training.run(rlfat_tf.TrainConfig(dataset="digits", method="rlfat_p"))

The folder of a run holds ``config.json``, ``flags.cfg`` (the same, to run again), ``metrics.csv``,
``tensorboard/``, ``checkpoints/`` (``best.keras``, ``last.keras`` and the backup ``state.npz``),
``summary.json`` and ``export/``.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from rlfat_tf import callbacks, checkpoint, compat, data, models, optimizers
from rlfat_tf.attacks import LinfPGD
from rlfat_tf.compat import keras
from rlfat_tf.config import TrainConfig
from rlfat_tf.evaluation.accuracy import clean_and_adversarial_accuracy
from rlfat_tf.export import export_saved_model
from rlfat_tf.methods import METHODS, AdversarialModel, Standard
from rlfat_tf.methods.checks import NON_FINITE
from rlfat_tf.methods.rlfat import RLFATP, RLFATT, BlockShuffled
from rlfat_tf.methods.trades import TRADES
from rlfat_tf.versions import versions


def run(config: TrainConfig) -> dict[str, Any]:
    """Trains, or goes on training, and evaluates the best checkpoint on the test set.

    Args:
        config: The run. If its folder holds the beginning of the same run, the run goes on from its
            backup; if it is finished there, nothing is trained again.

    Returns:
        What ``summary.json`` holds: ``test_accuracy``, ``test_adv_accuracy`` (PGD-20 at the run's
        epsilon), ``seconds`` (of training), ``images_per_second``, ``steps``, versions and paths.

    Raises:
        ValueError: If the configuration is wrong or its folder belongs to another run.
        callbacks.Interrupted: If a signal stopped the run, after a backup.
        tf.errors.InvalidArgumentError: If the loss is not finite.
    """
    workdir = Path(config.run_dir)
    optimizers.check_optimizer(config)
    data.augment.parse(config.augment)
    check_workdir(workdir, config)
    keras.utils.set_random_seed(config.seed)
    data_set = data.load(
        config.dataset,
        data_dir=config.data_dir,
        download=config.download,
        train_examples=config.train_examples,
        test_examples=config.test_examples,
        image_size=config.image_size,
    )
    train, validation = data_set.train, None
    if config.validation_fraction:
        train, validation = data.split(train, config.validation_fraction, config.seed)
    steps_per_epoch = data.steps_per_epoch(train, config.batch_size)
    total_steps = config.train_steps or (config.epochs or 0) * steps_per_epoch
    strategy = make_strategy(config.distribution)
    check_batch(config, strategy)
    with strategy.scope():
        robust = build_model(config, data_set, steps_per_epoch, total_steps)
    progress = restore_progress(workdir, robust)
    if progress["step"] > total_steps:
        raise ValueError(
            f"The run in {workdir} has {progress['step']} steps already, more than the "
            f"{total_steps} asked for: its length may only grow."
        )
    write_config(workdir, config)
    export = workdir / "export"
    if progress["step"] < total_steps:
        train_model(config, robust, (train, validation), progress, total_steps)
    elif (workdir / "summary.json").is_file():
        stale = config.export and not (export / "saved_model.pb").is_file()
        return finish(config, json.loads((workdir / "summary.json").read_text()), stale)
    with strategy.scope():
        best = checkpoint.load(workdir, "best").model
        accuracy = clean_and_adversarial_accuracy(
            best,
            data.evaluation_batches(data_set.test, batch_size=config.batch_size),
            LinfPGD(epsilon=config.epsilon, steps=20, step_size=pgd20_step(config.epsilon)),
            seed=config.seed,
        )
    summary = summarise(config, progress, accuracy, data_set)
    checkpoint.write_text(workdir / "summary.json", json.dumps(summary, indent=2) + "\n")
    return finish(config, summary, config.export)


def pgd20_step(epsilon: float) -> float | None:
    """The step of the PGD-20 that judges: epsilon / 10."""
    return epsilon / 10 or None


def check_workdir(workdir: Path, config: TrainConfig) -> None:
    """Refuses a folder that belongs to another run; its length may grow.

    Raises:
        ValueError: If the run in that folder computes something else.
    """
    path = workdir / "config.json"
    if not path.is_file():
        if workdir.exists() and not workdir.is_dir():
            raise ValueError(f"Expected --workdir to be a folder; {workdir} is a file.")
        return
    there = TrainConfig.from_json(path.read_text(encoding="utf-8")).identity
    here = json.loads(json.dumps(config.identity))
    different = [name for name in here if here[name] != there.get(name)]
    if different:
        changes = ", ".join(f"--{n}={there.get(n)} there, {here[n]} now" for n in different)
        raise ValueError(
            f"The folder {workdir} holds another run ({changes}). Choose another --workdir; a "
            "run is never overwritten."
        )


def write_config(workdir: Path, config: TrainConfig) -> None:
    """Writes ``config.json`` and ``flags.cfg``."""
    checkpoint.write_text(workdir / "config.json", config.to_json() + "\n")
    checkpoint.write_text(workdir / "flags.cfg", config.to_flags())


def make_strategy(name: str) -> Any:
    """Returns the ``tf.distribute`` strategy: all GPUs of this machine, or its (logical) CPUs."""
    if name == "none":
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


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


def restore_progress(workdir: Path, robust: AdversarialModel) -> dict[str, Any]:
    """Restores the backup, if there is one, and returns how far the run has come."""
    backup = workdir / "checkpoints" / "state.npz"
    if not backup.is_file():
        return {"step": 0, "seconds": 0.0, "trained": 0, "best": None, "best_epoch": None}
    return checkpoint.restore_state(backup, robust)


def segments(first_step: int, total_steps: int, steps_per_epoch: int) -> list[tuple[int, int, int]]:
    """Cuts what is left of a run into calls of ``fit``: (first epoch, last epoch, steps of each).

    An epoch that is resumed in the middle, and one that ``train_steps`` ends early, are shorter.
    """
    cuts = []
    step = first_step
    while step < total_steps:
        epoch, done = divmod(step, steps_per_epoch)
        whole = 0 if done else (total_steps - step) // steps_per_epoch
        if whole:
            cuts.append((epoch, epoch + whole, steps_per_epoch))
            step += whole * steps_per_epoch
        else:
            steps = min(steps_per_epoch - done, total_steps - step)
            cuts.append((epoch, epoch + 1, steps))
            step += steps
    return cuts


def train_model(
    config: TrainConfig,
    robust: AdversarialModel,
    arrays: tuple[Any, Any],
    progress: dict[str, Any],
    total_steps: int,
) -> None:
    """Calls ``fit`` from where the run stands to its end."""
    workdir = Path(config.run_dir)
    train, validation = arrays
    steps_per_epoch = data.steps_per_epoch(train, config.batch_size)
    first_step = progress["step"]
    if first_step:
        print(f"Resuming at step {first_step} of {total_steps} from {workdir}.", flush=True)
    checkpoints = callbacks.Checkpoints(
        workdir, progress, batch_size=config.batch_size, every=config.checkpoint_every
    )
    watchers = [
        callbacks.MetricsCSV(workdir / "metrics.csv", first_step // steps_per_epoch),
        keras.callbacks.TensorBoard(workdir / "tensorboard", write_graph=False),
        checkpoints,
    ]
    if config.ema:
        watchers.insert(0, callbacks.AveragedValidation())
    held_out = None
    if validation is not None:
        held_out = data.evaluation_batches(validation, batch_size=config.batch_size)
    try:
        for first, last, steps in segments(first_step, total_steps, steps_per_epoch):
            batches = data.training_batches(
                train,
                batch_size=config.batch_size,
                seed=config.seed,
                augment=config.augment,
                start_step=progress["step"],
            )
            robust.fit(
                batches,
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=steps,
                shuffle=False,  # the stream is shuffled already, by (seed, epoch)
                validation_data=held_out,
                callbacks=watchers,
                verbose=1 if sys.stdout.isatty() else 2,
            )
            if config.ema:  # at its end fit replaces the weights by their averages
                checkpoint.restore_state(checkpoints.backup, robust)
    finally:
        checkpoints.ignore_signals()


def summarise(
    config: TrainConfig, progress: dict[str, Any], accuracy: tuple[float, float], data_set: Any
) -> dict[str, Any]:
    """Puts together what ``summary.json`` says."""
    workdir = Path(config.run_dir)
    clean, adversarial = accuracy
    best = progress["best_epoch"]
    return {
        "dataset": config.dataset,
        "method": config.method,
        "model": config.model,
        "test_accuracy": clean,
        "test_adv_accuracy": adversarial,
        "test_attack": f"PGD-20, L-inf, epsilon {config.epsilon:g}, step {config.epsilon / 10:g}",
        "test_examples": len(data_set.test.labels),
        "checkpoint": "last (no validation split)" if best is None else f"best, epoch {best + 1}",
        "val_adv_accuracy": progress["best"],
        "steps": progress["step"],
        "seconds": round(progress["seconds"], 3),
        "images_per_second": round(progress["trained"] / max(progress["seconds"], 1e-9), 3),
        "seed": config.seed,
        "workdir": str(workdir),
        "versions": versions(),
        "machine": f"{platform.machine()}, {len(tf.config.list_physical_devices('GPU'))} GPUs",
    }


def finish(config: TrainConfig, summary: dict[str, Any], export: bool) -> dict[str, Any]:
    """Exports the best checkpoint, if that is due, and prints the summary."""
    workdir = Path(config.run_dir)
    served = workdir / "export"
    if export:
        export_saved_model(checkpoint.load(workdir, "best").model, served)
    print(
        f"\n{summary['method']} on {summary['dataset']} ({summary['model']}), "
        f"{summary['steps']} steps, {summary['images_per_second']:.0f} images/s\n"
        f"  checkpoint       {summary['checkpoint']}\n"
        f"  clean accuracy   {summary['test_accuracy']:.2%} "
        f"of {summary['test_examples']} test images\n"
        f"  PGD-20 accuracy  {summary['test_adv_accuracy']:.2%} ({summary['test_attack']})\n"
        f"  everything in    {workdir}"
        + (f"\n  SavedModel in    {served}" if served.is_dir() else ""),
        flush=True,
    )
    return summary


USER_ERRORS = (ValueError, OSError, ImportError, tf.errors.InvalidArgumentError)


def explain(error: Exception, config: TrainConfig) -> str:
    """Puts into words what stopped a run; other errors speak for themselves."""
    text = str(error)
    if isinstance(error, tf.errors.InvalidArgumentError):
        if NON_FINITE not in text:
            raise error
        return (
            f"{NON_FINITE} training stopped before the weights were changed by it. The backup and "
            f"the checkpoints in {config.run_dir} are from before. Lower --learning_rate, or look "
            "at the last lines of metrics.csv."
        )
    return text
