"""A training run from beginning to end: :func:`run` does what ``train.py`` promises.

    summary = rlfat_tf.run.train.run(rlfat_tf.TrainConfig(dataset="digits", method="rlfat_p"))

The folder of a run holds ``config.json``, ``flags.cfg`` (the same, to run again), ``metrics.csv``,
``tensorboard/``, ``checkpoints/`` (``best.keras``, ``last.keras`` and the backup ``state.npz``),
``summary.json`` and ``export/``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from rlfat_tf import data
from rlfat_tf.attacks import Attack
from rlfat_tf.attacks.pgd import PGD_IN_NORM
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import warn
from rlfat_tf.core.types import Strategy
from rlfat_tf.data.files import UNREADABLE
from rlfat_tf.data.reading import unreadable
from rlfat_tf.data.serving import image_of_bytes
from rlfat_tf.data.view import View
from rlfat_tf.evaluation.accuracy import clean_and_adversarial_accuracy
from rlfat_tf.evaluation.suite import step_size
from rlfat_tf.methods import AdversarialModel
from rlfat_tf.methods.finite import NO_GRADIENTS, NON_FINITE
from rlfat_tf.run import builders, callbacks, dataset, helper, initial_weights, optimizers
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.console import EpochLines, show_header
from rlfat_tf.run.data_checks import check_mixing
from rlfat_tf.run.distribution import (
    WorkerLost,
    check_agreement,
    check_batch,
    is_chief,
    make_strategy,
    report_lost_workers,
)
from rlfat_tf.run.example_pictures import ExamplePictures
from rlfat_tf.run.guard import OverfittingGuard
from rlfat_tf.run.model_card import model_card
from rlfat_tf.run.signals import Signals, StopTesting
from rlfat_tf.run.summary import show, summarise
from rlfat_tf.run.workdir import (
    GOOD_STATE,
    check_shared,
    copy_good_state,
    fingerprint,
    has_backup,
    has_trained,
    lock_workdir,
    read_summary,
    restore_progress,
    write_config,
)
from rlfat_tf.storage import checkpoint
from rlfat_tf.storage.files import write_text
from rlfat_tf.storage.saved_model import export_saved_model, write_card

USER_ERRORS = (
    ValueError,
    OSError,
    ImportError,
    tf.errors.InvalidArgumentError,
    tf.errors.ResourceExhaustedError,
    WorkerLost,
)


@report_lost_workers()
def run(config: TrainConfig) -> dict[str, Any]:
    """Trains, or goes on training, and evaluates the best checkpoint on the test set.

    Args:
        config: The run. If its folder holds the beginning of the same run, the run goes on from its
            backup; if it is finished there, nothing is trained again.

    Returns:
        What ``summary.json`` holds: ``test_accuracy``, ``test_adv_accuracy`` (PGD-20 at the run's
        epsilon), ``seconds`` (of training), ``images_per_second``, ``steps``, versions and paths.

    Raises:
        ValueError: If the configuration is wrong, its folder belongs to another run, or the loss is
            not finite.
        signals.Interrupted: If a signal stopped the run, after a backup.
        distribution.WorkerLost: If another worker of the run is gone.
    """
    workdir = Path(config.run_dir)
    strategy = make_strategy(config.distribution)  # several machines must meet before all else
    check_agreement(strategy, flags=fingerprint(config))
    check_batch(config.batch_size, strategy)
    optimizers.check_optimizer(config)
    builders.check_model(config)
    check_mixing(
        config.method, config.augment, config.extra_label_smoothing if config.extra_data else 0.0
    )
    builders.guard_action(config)
    if is_chief(strategy):
        with lock_workdir(workdir, config):
            return _run(config, workdir, strategy)
    # Every worker saves when the chief does, since reading a variable may need them all; what the
    # others write is thrown away.
    with tempfile.TemporaryDirectory() as scratch:
        return _run(dataclasses.replace(config, workdir=scratch), workdir, strategy)


def _run(config: TrainConfig, shared: Path, strategy: Strategy) -> dict[str, Any]:
    """Trains in the folder of the configuration, from the backup in the shared one."""
    signals = Signals()
    try:
        return _run_until_told(config, shared, strategy, signals)
    finally:
        signals.restore()


def _run_until_told(
    config: TrainConfig, shared: Path, strategy: Strategy, signals: Signals
) -> dict[str, Any]:
    workdir = Path(config.run_dir)
    helping = helper.load(config)
    initial = None if has_backup(shared) else initial_weights.load(config)
    keras.utils.set_random_seed(config.seed)
    data_set, train, validation = dataset.load_for_training(config)
    which = helping.fingerprint if helping else 0
    check_agreement(strategy, data=dataset.fingerprint(data_set), helper_model=which)
    if is_chief(strategy) and has_trained(workdir):
        dataset.check_same_data(workdir, data_set)
        helper.check_same(workdir, helping)
    steps_per_epoch = data.steps_per_epoch(train, config.batch_size)
    total_steps = config.train_steps or (config.epochs or 0) * steps_per_epoch
    with strategy.scope():
        robust = builders.build_model(
            config, data_set, steps_per_epoch, total_steps, helping, initial
        )
    progress = restore_progress(shared, robust)
    if progress["step"] > total_steps:
        raise ValueError(
            f"The run in {shared} has {progress['step']} steps already, more than the "
            f"{total_steps} asked for: its length may only grow."
        )
    dataset.write_record(workdir, data_set)
    helper.write_record(workdir, helping)
    write_config(workdir, config)
    check_agreement(strategy, step=progress["step"], length=total_steps)
    if not is_chief(strategy):
        check_shared(shared)
        copy_good_state(shared, workdir)
    summary = read_summary(shared)
    # A summary of fewer steps is that of a run which has grown since.
    over = progress["stopped"] or progress["step"] == total_steps
    trained = over and progress["step"] == summary.get("steps")
    if not trained:
        if progress["step"]:
            print(
                f"Resuming at step {progress['step']} of {total_steps} from {shared}.", flush=True
            )
        if is_chief(strategy):
            held_out = 0 if validation is None else len(validation)
            of_all = dataclasses.replace(config, workdir=str(shared))
            sizes = {"examples": (len(train), held_out), "steps": (steps_per_epoch, total_steps)}
            show_header(of_all, data_set, robust, **sizes)
        train_model(config, robust, (train, validation), progress, signals, total_steps)
        if is_chief(strategy):  # not before: an epoch whose validation was stopped writes its own
            checkpoint.repair_best(workdir)
        check_agreement(strategy, step=progress["step"])  # until the chief has written its files
    export = workdir / "export"
    card = functools.partial(model_card, config, perturbation=robust.perturbation)
    # Before the test, which takes long: whoever stops there has a model to use.
    if is_chief(strategy) and config.export and (not trained or export_is_due(workdir)):
        print("Export: the best checkpoint as a SavedModel.", flush=True)
        export_saved_model(
            checkpoint.load(workdir, "best").model,
            export,
            class_names=data_set.class_names,
            from_bytes=_from_bytes(config, data_set),
            card=card(summary if trained else summarise(config, robust, progress)),
        )
    if not trained or summary["test_examples"] != len(data_set.test):
        of_all = dataclasses.replace(config, workdir=str(shared))
        accuracy = evaluate_on_test(of_all, robust, data_set.test, strategy, signals)
        tested = {"test_examples": len(data_set.test), **accuracy}
        summary = {**summarise(config, robust, progress), **tested}
        write_text(workdir / "summary.json", json.dumps(summary, indent=2) + "\n")
        if is_chief(strategy) and not export_is_due(workdir):
            write_card(export, card(summary))
    if is_chief(strategy):
        show(config, summary, None if export_is_due(workdir) else export)
    return summary


def _from_bytes(config: TrainConfig, data_set: data.DataSet) -> Any:
    """Returns what a served model does with image files; None of data that are no photos."""
    if config.image_size is None and not config.dataset.startswith("folder:"):
        return None
    return image_of_bytes(View(config.image_size, config.view), data_set.image_shape)


def export_is_due(workdir: Path) -> bool:
    """Tells whether the best checkpoint is newer than the SavedModel, or there is none."""
    served = workdir / "export" / "saved_model.pb"
    best = workdir / "checkpoints" / "best.keras"
    if not served.is_file():
        return True
    return best.is_file() and served.stat().st_mtime_ns < best.stat().st_mtime_ns


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
    signals: Signals,
    total_steps: int,
) -> None:
    """Calls ``fit`` from where the run stands to its end."""
    signals.listen()
    workdir = Path(config.run_dir)
    train, validation = arrays
    steps_per_epoch = data.steps_per_epoch(train, config.batch_size)
    first_step = progress["step"]
    guard = make_guard(config, train, progress)
    checkpoints = callbacks.Checkpoints(
        workdir,
        progress,
        signals,
        batch_size=config.batch_size,
        every=config.checkpoint_every,
        guard=guard,
    )
    lines = [EpochLines(progress, steps_per_epoch=steps_per_epoch, total_steps=total_steps)]
    checkpoints.set_model(robust)  # fit does it too, but there may be nothing left to fit
    watchers = [
        *([guard] if guard else []),
        callbacks.MetricsCSV(workdir / "metrics.csv", first_step // steps_per_epoch),
        callbacks.TensorBoard(workdir / "tensorboard", write_graph=False),
        *(lines if is_chief(robust.distribute_strategy) else ()),
        checkpoints,
    ]
    if config.picture_every and validation is None:
        warn(
            f"This run makes no use of --picture_every={config.picture_every}: the pictures are of "
            "validation images, and it has none. Give --validation_fraction or "
            "--validation_examples, or leave the flag out."
        )
    elif config.picture_every:
        folder, every = workdir / "tensorboard", config.picture_every
        watchers.insert(-1, ExamplePictures(folder, validation, every=every, seed=config.seed))

    def batches_from(step: int, strategy: Strategy = None) -> Any:
        return data.training_batches(
            train,
            batch_size=config.batch_size,
            seed=config.seed,
            augment=config.augment,
            start_step=step,
            num_classes=robust.num_classes,
            strategy=strategy,
        )

    if config.ema and config.ema_statistics == "refresh":
        robust.refresh_on(batches_from(0))
    held_out = None
    if validation is not None:
        held_out = data.evaluation_batches(validation, batch_size=config.batch_size)
    if progress["unvalidated"] is not None:
        stopped = (first_step - 1) // steps_per_epoch
        due = held_out if (stopped + 1) % config.validation_every == 0 else None
        callbacks.finish_epoch(robust, due, watchers, stopped, progress["unvalidated"])
    while progress["step"] < total_steps and not progress["stopped"]:
        # The guard may have wound the run back, so that the next epochs are not those planned.
        first, last, steps = segments(progress["step"], total_steps, steps_per_epoch)[0]
        robust.fit(
            batches_from(progress["step"], robust.distribute_strategy),
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=steps,
            shuffle=False,  # the stream is shuffled already, by (seed, epoch)
            validation_data=held_out,
            validation_freq=config.validation_every,
            callbacks=watchers,
            verbose=0,
        )
    checkpoints.stop_if_asked()  # of a signal since the last backup


def test_attack(config: TrainConfig) -> Attack:
    """Returns the attack of the test: PGD-20 in the ball of the run."""
    kind = PGD_IN_NORM[config.attack_norm]
    length = step_size(config.attack_norm, config.epsilon, 20)
    return kind(epsilon=config.epsilon, steps=20, step_size=length)


def make_guard(
    config: TrainConfig, train: data.Source | data.Mixture, progress: dict[str, Any]
) -> OverfittingGuard | None:
    """Returns what watches the run for overfitting of its attack; None if nothing shall."""
    action = builders.guard_action(config)
    if action == "off":
        return None
    return OverfittingGuard(
        train.real if isinstance(train, data.Mixture) else train,
        action=action,
        batch_size=config.batch_size,
        backup=Path(config.run_dir) / "checkpoints" / GOOD_STATE,
        progress=progress,
    )


def evaluate_on_test(
    config: TrainConfig,
    robust: AdversarialModel,
    test: data.Source,
    strategy: Strategy,
    signals: Signals,
) -> dict[str, float]:
    """Returns the best checkpoint's accuracy on the test set, clean and under PGD-20."""
    signals.listen()
    batches = data.evaluation_batches(test, batch_size=config.batch_size)
    # Keras 2 cannot load a model in the scope of a strategy: its weights move instead.
    best = checkpoint.load(config.run_dir, "best").model
    compat.set_weights(robust.model, best.get_weights())
    watchers: list[Any] = [StopTesting(signals)]
    if is_chief(strategy):
        watchers.append(
            callbacks.ProgressLines(
                "Test, clean and PGD-20", examples=len(test), batch_size=config.batch_size
            )
        )
    with strategy.scope():
        clean, adversarial = clean_and_adversarial_accuracy(
            robust.model, batches, test_attack(config), seed=config.seed, callbacks=watchers
        )
    return {"test_accuracy": clean, "test_adv_accuracy": adversarial}


def explain(error: Exception, config: TrainConfig) -> str:
    """Puts into words what stopped a run; other errors speak for themselves."""
    text = str(error)
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return (
            "There is not enough memory. Use smaller images (--image_size), a smaller --batch_size "
            f"or a smaller --model. TensorFlow says: {error.message}"
        )
    unread = unreadable(error)
    if unread is not None:
        without = ""
        if UNREADABLE in unread:
            without = " If it was damaged then already, do without it: --skip_unreadable."
        return (
            f"{unread} Bring back what was there when the run began, and give the same command "
            f"again: it goes on from the last backup in {config.run_dir}.{without}"
        )
    if isinstance(error, tf.errors.InvalidArgumentError):
        raise error
    before = f"The backup and the checkpoints in {config.run_dir} are from before."
    if NON_FINITE in text:
        return (
            f"{NON_FINITE} training stopped before the weights were changed by it. {before} Lower "
            "--learning_rate, or look at the last lines of metrics.csv."
        )
    if re.search(NO_GRADIENTS, text):
        return f"{text} {before} How training went is told by the last lines of metrics.csv."
    return text
