"""Notices the catastrophic overfitting of one-step training, and puts good weights back.

A network that is trained on the examples of one-step attacks may learn, within an epoch, to
withstand that one step and nothing else: its accuracy under FGSM stays high, that under PGD falls
to 0, on training images too (Wong, Rice & Kolter, "Fast is better than free", ICLR 2020;
Andriushchenko & Flammarion, "Understanding and Improving Fast Adversarial Training", NeurIPS 2020).

    guard = rlfat_tf.OverfittingGuard(rlfat_tf.data.Arrays(images, labels))
    robust.fit(batches, epochs=30, callbacks=[guard])
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.attacks import FGSM, PGD, Attack
from rlfat_tf.attacks.wrapping import innermost
from rlfat_tf.core import compat, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown, warn
from rlfat_tf.core.types import Logs, Model
from rlfat_tf.data import Source, evaluation_batches
from rlfat_tf.evaluation.accuracy import evaluator
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.methods import AdversarialModel
from rlfat_tf.methods.attack_defaults import around
from rlfat_tf.run import distribution
from rlfat_tf.storage import checkpoint
from rlfat_tf.storage.reading import Damaged, as_written

ACTIONS = ("stop", "rollback")
# What a guard remembers between two epochs; a run keeps it in its backup.
NOTHING_SEEN: dict[str, Any] = {
    "best_probe": None,  # the greatest accuracy under PGD of an epoch
    "overfitted": [],  # a sentence about each epoch that was taken back
    "careful": False,  # whether the running epoch trains on two steps
    "stopped": False,
}


def is_one_step(attack: Attack | None) -> bool:
    """Tells whether an attack ascends the loss in one step, as those do that can be overfitted."""
    return attack is not None and getattr(innermost(attack), "steps", None) == 1


class OverfittingGuard(keras.callbacks.Callback):
    """Looks after every epoch whether the network withstands more than one step; a Keras callback.

    It measures accuracy on a fixed part of the training images, at the radius and in the norm of
    the training attack, batch normalisation by its moving statistics: under PGD-10, logged as
    ``probe_adv_accuracy``, and under FGSM, logged as ``probe_fgsm_accuracy``. The epoch counts as
    overfitted if the first is more than ``drop`` below that of the best epoch, or more than ``gap``
    below the second. It is then taken back: weights, optimizer and all other state are those of the
    end of the last good epoch, to the last bit. With ``"stop"`` training ends with them. With
    ``"rollback"`` it goes on: since every draw of a step is a function of the seed and the step,
    going on alike would end alike, so the model gets another ``seed`` and, for one epoch, PGD with
    two steps of half the radius as its attack. After ``attempts`` epochs that were taken back,
    ``"rollback"`` stops like ``"stop"``.

    As long as no epoch was good there is no fall to see. Such an epoch counts as overfitted if it
    is at most at ``drop`` under PGD, and more than ``gap`` below FGSM. ``"rollback"`` then begins
    again from the weights of the beginning. ``"stop"``, and ``"rollback"`` after ``attempts``, warn
    and let training go on: nobody wants the weights of the beginning as a result.

    Of fewer than ``enough`` images the differences must be greater than chance makes them: not they
    but the lower ends of their intervals of 95 % are compared with ``drop`` and ``gap``.

    While the radius of training still grows (``epsilon_warmup``) nothing is taken back: the network
    has not been trained for the radius of the probe.

    The weights are probed, not their average: they overfit, and the average follows late. The
    average is part of the state, and goes back with it.

    Give it before callbacks that write ``logs`` or save the model. A learning rate that Keras sets
    from outside is no state of the model: it stays.

    Args:
        examples: The training images and labels; float32 images in [0, 1], or uint8.
        action: ``"stop"``, or ``"rollback"`` for training attacks of one step.
        probe: How many of the images are looked at; which ones is decided by the model's seed.
        batch_size: Global batch size of the probe.
        backup: File of the last good state, ``.npz``; default: one that goes with the guard.
        progress: What a run has seen so far, kept up to date; ``fit`` then ends at a rollback too,
            so that the data can be wound back to ``progress["step"]``.

    Attributes:
        drop: 0.2.
        gap: 0.3.
        enough: 100.
        attempts: 5.
        fired: Whether the last epoch was taken back.

    Raises:
        ValueError: If the action is unknown, or there is nothing to look at.
    """

    drop = 0.2
    gap = 0.3
    enough = 100
    attempts = 5

    def __init__(
        self,
        examples: Source,
        *,
        action: str = "stop",
        probe: int = 512,
        batch_size: int = 128,
        backup: Path | None = None,
        progress: dict[str, Any] | None = None,
    ):
        super().__init__()
        if action not in ACTIONS:
            raise unknown("action of OverfittingGuard:", action, ACTIONS)
        if probe < 1 or not len(examples):
            raise ValueError(
                f"Expected at least one image to probe; received probe={probe} and "
                f"{len(examples)} training images."
            )
        self.action = action
        self.fired = False
        self.progress = {"step": 0, **NOTHING_SEEN} if progress is None else progress
        self.during_probe: list[Any] = []  # callbacks of the evaluation
        self._winds_back = progress is not None
        self._examples, self._size, self._batch_size = examples, probe, batch_size
        self._folder = None if backup else tempfile.TemporaryDirectory(prefix="rlfat-guard-")
        self._backup = backup or Path(self._folder.name) / "state.good.npz"  # type: ignore[union-attr]
        self._kept = False
        self._probed: Model = None
        self._evaluators: list[Any] = []
        self._attack: Attack | None = None  # of training, while another one takes its place
        self._seeds = 0  # how often the model's seed has been changed
        self._warned = False

    def set_model(self, model: Model) -> None:
        """Makes the two probes of a model; Keras calls it.

        Raises:
            TypeError: If it is no :class:`rlfat_tf.AdversarialModel`.
            ValueError: If it is not trained on adversarial examples, or not on those of one step
                and the action is ``"rollback"``, or the guard has watched another model.
        """
        super().set_model(model)
        if model is self._probed:
            return
        if self._probed is not None:
            raise ValueError(
                f"This OverfittingGuard holds good weights of {self._probed.name!r}; make another "
                f"for {model.name!r}."
            )
        if not isinstance(model, AdversarialModel):
            raise TypeError(
                f"OverfittingGuard watches methods such as rlfat_tf.PGDAT; received {model!r}."
            )
        if model.perturbation is None:
            raise ValueError(
                f"OverfittingGuard watches adversarial training; {type(model).__name__} trains on "
                "clean images. Leave the guard out."
            )
        if self.action == "rollback":
            check_rollback(model.attack)
        chosen = np.random.default_rng(model.seed).permutation(len(self._examples))[: self._size]
        self._batches = evaluation_batches(
            self._examples.take(np.sort(chosen)), batch_size=self._batch_size
        )
        ball = _ball(model)
        with model.distribute_strategy.scope(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the model has been warned of already
            self._evaluators = [
                evaluator(model.model, probe, seed=model.seed)
                for probe in (PGD(steps=10, **ball), FGSM(**ball))
            ]
        self._probed = model

    def on_train_begin(self, logs: Logs = None) -> None:
        """Keeps the state as it is, if none has been kept; goes on with what a backup says.

        Raises:
            ValueError: If the model has no weights yet.
        """
        if not self.model.built:
            raise ValueError(
                f"OverfittingGuard keeps the weights of {self.model.model.name!r} before training, "
                "and it has none yet. Call build((None, height, width, channels)) first."
            )
        with self.model.distribute_strategy.scope():
            compat.build_optimizer(self.model.optimizer, self.model.trainable_variables)
        if not self._kept and not self._has_good_state():
            self._keep()
        self._kept = True
        self._set_attack_and_seed()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Probes the model, and keeps its state or takes the epoch back."""
        adversarial, one_step = self.measure()
        if logs is not None:
            logs.update(probe_adv_accuracy=adversarial, probe_fgsm_accuracy=one_step)
        best = self.progress["best_probe"]
        overfitted = self.has_overfitted(adversarial, one_step) and not self._radius_grows()
        self.fired = overfitted and (best is not None or self._may_try_again)
        found = (
            f"Epoch {epoch + 1} has overfitted its attack: of {self._number_probed} training "
            f"images {one_step:.1%} withstand one step (FGSM), {adversarial:.1%} PGD-10"
        )
        if self.fired:
            self._take_back(found if best is None else f"{found}, {best:.1%} in the best epoch")
        elif overfitted:
            self.progress["careful"] = False
            self._warn_that_none_was_good(found)
        else:
            self.progress["best_probe"] = max(adversarial, best or 0.0)
            self.progress["careful"] = False
            self._keep()
        self._set_attack_and_seed()

    @property
    def _number_probed(self) -> int:
        return min(self._size, len(self._examples))

    @property
    def _may_try_again(self) -> bool:
        return self.action == "rollback" and len(self.progress["overfitted"]) < self.attempts

    def has_overfitted(self, adversarial: float, one_step: float) -> bool:
        """Tells by the accuracies of an epoch on the probe, see :meth:`measure`, if it has."""
        best = self.progress["best_probe"]
        parted = self._is_more(one_step - adversarial, self.gap)
        if best is None:  # more accuracy than this is one that can still fall
            return bool(parted and adversarial <= self.drop)
        return bool(parted or self._is_more(best - adversarial, self.drop))

    def _is_more(self, difference: float, limit: float) -> bool:
        """Tells whether a difference of two accuracies on the probe is above a limit.

        Nearly all images in which the two differ are lost by the same one of them, so that the
        difference is the share of these images.
        """
        number = self._number_probed
        if difference > 0 and number < self.enough:
            difference, _ = wilson(min(difference, 1.0) * number, number)
        return difference > limit

    def _warn_that_none_was_good(self, found: str) -> None:
        """Says, once, that training goes on though it has overfitted."""
        if not self._warned:
            warn(
                f"{found}. No earlier epoch was good, so that there are no weights to go back to: "
                "training goes on, and the guard acts once an epoch was good. If accuracy under "
                "PGD does not rise, begin again with more steps of the attack (or N-FGSM), a "
                "smaller learning rate or a smaller epsilon."
            )
        self._warned = True

    def _radius_grows(self) -> bool:
        """Tells whether training has not come to the radius at which the probe is attacked."""
        scale = self.model.epsilon_scale()
        return scale is not None and float(scale) < 1

    def measure(self) -> tuple[float, float]:
        """Returns accuracy on the probe under PGD-10 and under FGSM, the same on all workers."""
        with self.model.weights_of_training():  # not their average
            mine = [
                evaluator.evaluate(
                    self._batches, verbose=0, return_dict=True, callbacks=list(self.during_probe)
                )["adv_accuracy"]
                for evaluator in self._evaluators
            ]
        everywhere = distribution.gather_from_workers(
            self.model.distribute_strategy, [float(accuracy) for accuracy in mine]
        )
        adversarial, one_step = everywhere[0].tolist()  # those of the chief
        return adversarial, one_step

    def _keep(self) -> None:
        checkpoint.save_state(self._backup, self.model, self.progress, keep_previous=False)

    def _has_good_state(self) -> bool:
        """Tells whether a good state has been kept that the model has passed through."""
        try:
            _, then = checkpoint.read_state(self._backup)
            with as_written(self._backup):
                return bool(then["step"] <= self.progress["step"])
        except FileNotFoundError:
            return False
        except Damaged as error:
            warn(f"{error} The run goes on with its present state instead.")
            return False

    def _take_back(self, found: str) -> None:
        """Restores the last good state, and says what follows."""
        then = checkpoint.restore_state(self._backup, self.model)
        self.progress["step"] = then["step"]
        before = self.progress["overfitted"]
        again = self._may_try_again
        if again:
            follows = "and training goes on with two steps and other draws for one epoch"
        else:
            follows = "and training ends with them"
            if self.action == "rollback":
                follows += f", after {self.attempts} epochs that were taken back"
        sentence = f"{found}. The weights of before are back, {follows}."
        self.progress.update(overfitted=[*before, sentence], careful=again, stopped=not again)
        if distribution.is_chief(self.model.distribute_strategy):
            print(sentence, flush=True)
        if self._winds_back or not again:
            self.model.stop_training = True

    def _set_attack_and_seed(self) -> None:
        """Gives the model what the progress says that it trains with; traces anew if it changes."""
        while self._seeds < len(self.progress["overfitted"]) and not self.progress["stopped"]:
            self.model.seed = random.number(f"{self.model.seed}")
            self._seeds += 1
        if self.progress["careful"] and self._attack is None:
            self._attack = self.model.attack
            self.model.attack = careful(self._attack)
        elif not self.progress["careful"] and self._attack is not None:
            self.model.attack, self._attack = self._attack, None


def _ball(model: AdversarialModel) -> dict[str, Any]:
    """Returns the norm and the radius in which a model is trained."""
    for attack in (model.attack, model.eval_attack):  # ATLD's examples are made by no attack
        if hasattr(attack, "norm") and hasattr(attack, "epsilon"):
            return {"norm": attack.norm, "epsilon": attack.epsilon}
    raise ValueError(
        "OverfittingGuard probes in the ball of the training attack; expected one with a norm and "
        f"an epsilon, received {model.attack!r}."
    )


def check_rollback(attack: Attack | None) -> None:
    """Refuses to take epochs back and go on where two steps would not be more than there are.

    Raises:
        ValueError: If the attack of training has not one step.
    """
    if not is_one_step(attack):
        raise ValueError(
            "Expected an attack of training with one step for the guard's rollback, which takes "
            f"two of half the radius for an epoch; received {attack!r}. Use stop instead."
        )


def careful(attack: Any) -> Attack:
    """Returns the attack of the epoch after a rollback: two steps of half the radius.

    What runs the attack of training, such as ``EightBit``, runs this one too.
    """
    two_steps = PGD(
        norm=attack.norm,
        epsilon=attack.epsilon,
        steps=2,
        step_size=attack.epsilon / 2,
        loss=innermost(attack).get_config().get("loss"),
    )
    return around(attack, two_steps)
