"""`AdversarialModel`: wraps a Keras classifier and makes ``fit`` adversarial.

What training methods have in common lives here, once: their arguments, the attack, saving. A method
overrides :meth:`AdversarialModel.objective` and says nothing but its equation.

    robust = rlfat_tf.RLFATP(model, attack=rlfat_tf.attacks.LinfPGD(epsilon=8 / 255, steps=10))
    robust.compile(optimizer="adam", metrics=["accuracy"])
    robust.fit(train, validation_data=validation)

What a step does with it is in :mod:`rlfat_tf.methods.steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from rlfat_tf.attacks import Attack, LinfPGD
from rlfat_tf.attacks.arguments import choice
from rlfat_tf.core import compat, losses, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, Logits, LogitsFn, Model, Tensor
from rlfat_tf.methods import arguments, attack_defaults, checks
from rlfat_tf.methods.average import Average
from rlfat_tf.methods.batch_norm import attack_forward
from rlfat_tf.methods.epoch_means import EpochMeans
from rlfat_tf.methods.objective import Batch, Objective
from rlfat_tf.methods.options import (
    checked_option,
    checked_options,
    docstring_with_options,
    epsilon_warmup,
    label_smoothing,
    options_of,
    signature_with_options,
)
from rlfat_tf.methods.steps import AdversarialSteps
from rlfat_tf.methods.weight_decay import DECAY_EXCLUDE
from rlfat_tf.methods.weight_perturbation import AWP


class AdversarialModel(AdversarialSteps):
    """Base of the training methods: a Keras model around a classifier.

    ``call`` returns the classifier's logits, so that ``predict`` and ``evaluate`` work as with any
    Keras model. ``.model`` is the classifier. ``fit`` logs ``loss``, each named term and
    ``adv_accuracy``, and ``accuracy`` where the method computes clean logits; ``evaluate`` gives
    ``accuracy`` (clean) and ``adv_accuracy`` (under ``eval_attack``).

    Setting an argument later, ``robust.eval_attack = robust.eval_attack.replace(epsilon=0.5)``, has
    an effect from the next batch on; see :class:`rlfat_tf.core.model.Model`.

    Args:
        model: A Keras model from float images in [0, 1] to logits [batch, classes].
        attack: The attack of training. Its loss and random start, where it leaves them open,
            are those of the method's paper. Default: ``LinfPGD(epsilon=8/255, steps=10)``.
        eval_attack: The attack of ``evaluate`` and of validation. Default: the training attack
            with cross entropy and a uniform start, so that methods can be compared; where that has
            one step, PGD with 10. It does not change when another ``attack`` is set later.
        attack_bn: How batch normalisation behaves in the attack of training. ``"eval"``: by its
            moving statistics. ``"batch"``: by the statistics of the attacked batch, moving
            statistics untouched. ``"train"``: as the code of RLFAT does, where every pass of the
            attack also updates the moving statistics.
        seed: Every random draw is a function of it, of the step and of an example's position in
            the global batch.
        weight_decay: Factor of an L2 penalty, factor / 2 * ||w||^2 over all trainable weights:
            the coupled weight decay of the papers' optimizers.
        regularizer: A further per-example term or a list of them, each logged under its name:
            :mod:`rlfat_tf.methods.regularizers`.
        weight_perturbation: An :class:`rlfat_tf.AWP`, or None.
        average: An :class:`rlfat_tf.Average` of the weights, or None. Where there is one, the
            model holds it whenever it is not training.
        name: Of the Keras model.
        parts: For subclasses: further models that become attributes, are saved with this one and
            must be there before it is built.
        **options: What a method adds, declared in its class: :mod:`rlfat_tf.methods.options`.

    Raises:
        TypeError: If an option is given that the method does not have.
        ValueError: If the model has several inputs, outputs or one logit, ends in a softmax or
            computes in float16, or if an option is out of its range.
    """

    # What a method says of itself. The attack of its paper ascends this loss from this start:
    attack_loss = "ce"
    attack_start = "uniform"
    # A method without an attack of training says here what it does instead.
    instead_of_an_attack: str | None = None
    # A method that works in the maximum norm alone says here why.
    knows_linf_only: str | None = None
    # Whether its objective compares forward passes, so that they must see the same image.
    compares_passes = True
    terms: tuple[str, ...] = ()
    # Where label_smoothing is None: what the code of the paper gives the wrong classes together.
    mass_of_wrong_classes = 0.0
    # Which accuracies select the best epoch of a run: the second decides between equal first ones.
    selected_by = ("val_adv_accuracy", "val_accuracy")

    label_smoothing: float | None = label_smoothing()
    decay_exclude: str = choice(
        "none",
        DECAY_EXCLUDE,
        "Variables without weight decay: none, batch_norm (the scales and offsets of batch "
        "normalisation), or vectors (these and all biases).",
    )
    epsilon_warmup: int = epsilon_warmup()

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.__doc__ = docstring_with_options(cls)
        cls.__signature__ = signature_with_options(cls)

    def __init__(
        self,
        model: Model,
        *,
        attack: Attack | None = None,
        eval_attack: Attack | None = None,
        attack_bn: str = "eval",
        seed: int = 0,
        weight_decay: float = 0.0,
        regularizer: Any = None,
        weight_perturbation: AWP | None = None,
        average: Average | None = None,
        name: str | None = None,
        parts: Mapping[str, Model] | None = None,
        **options: Any,
    ):
        super().__init__(name=name, dtype="float32")
        for option, value in checked_options(type(self), options).items():
            setattr(self, option, value)
        self.attack_bn = attack_bn
        checks.check_classifier(model)
        self.model = model
        for part, value in (parts or {}).items():
            setattr(self, part, value)
        self.attack = attack
        if attack_bn == "eval" and self.perturbation is not None:
            checks.warn_of_lagging_statistics(model)
        if self.compares_passes:
            checks.warn_of_random_layers(model)
        self.eval_attack = self.default_eval_attack() if eval_attack is None else eval_attack
        self.seed = seed
        self.weight_decay = weight_decay
        self._means = EpochMeans()
        self.regularizer = regularizer
        self.weight_perturbation = weight_perturbation
        self.average = average
        if model.built:
            self.build(compat.input_shape(model))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in arguments.CHECKS:
            value = arguments.CHECKS[name](name, value)
        super().__setattr__(name, checked_option(type(self), name, value))

    @property
    def attack(self) -> Any:
        """The attack of training; what one that is set leaves open is filled as by the class."""
        return self._attack

    @attack.setter
    def attack(self, attack: Attack | None) -> None:
        if attack is not None:
            attack_defaults.check_of_model(attack)
        completed = self.completed_attack(attack)
        attack_defaults.check_norm(type(self), getattr(completed, "norm", "linf"))
        if self.epsilon_warmup:
            attack_defaults.check_warmup(type(self), completed)
        self._attack = completed

    @property
    def eval_attack(self) -> Any:
        """The attack of ``evaluate`` and of validation; None: clean accuracy only."""
        return self._eval_attack

    @eval_attack.setter
    def eval_attack(self, attack: Attack | None) -> None:
        if attack is not None:
            attack_defaults.check_of_evaluation(attack)
        self._eval_attack = attack

    @property
    def perturbation(self) -> str | None:
        """What makes the adversarial examples of training, in words; None: nothing does."""
        return None if self.attack is None else repr(self.attack)

    @property
    def regularizer(self) -> Any:
        """The further term of the objective, or a tuple of several, or None."""
        return self._regularizer

    @regularizer.setter
    def regularizer(self, regularizer: Any) -> None:
        given = regularizer if isinstance(regularizer, (list, tuple)) else [regularizer]
        several = tuple(one for one in given if one is not None)
        for one in several:
            arguments.check_regularizer(one)
            one.check(self.model)  # complains now, not in the first step
        terms = (*type(self).terms, *(one.term for one in several))
        if len(set(terms)) < len(terms):
            raise ValueError(f"Expected every regulariser once; received {regularizer!r}.")
        self._regularizer = several if len(several) > 1 else several[0] if several else None
        self.terms = terms
        with self.distribute_strategy.scope():
            self._means.track(("loss", *terms, "adv_accuracy"))

    @property
    def regularizers(self) -> tuple[Any, ...]:
        """All further terms of the objective."""
        one = self.regularizer
        return () if one is None else one if isinstance(one, tuple) else (one,)

    @classmethod
    def attacks_of_flags(cls, attack: Attack) -> dict[str, Attack]:
        """Returns the arguments that are attacks, by their names.

        Args:
            attack: What the flags of ``train.py`` describe: the attack of training of a method that
                has no other.
        """
        return {"attack": attack}

    def completed_attack(self, attack: Attack | None) -> Attack | None:
        """Returns the attack of training, or None of a method that has none.

        Args:
            attack: What it leaves open is filled with what the paper of the method says. None: the
                method's default.

        Raises:
            ValueError: If one is given to a method that has none, or it would ascend the KL
                divergence from where that has no gradient.
        """
        if self.instead_of_an_attack is not None:
            if attack is not None:
                raise ValueError(
                    f"{type(self).__name__} has no attack of training: "
                    f"{self.instead_of_an_attack}. Received {attack!r}. Use eval_attack for the "
                    "attack of evaluate and of validation."
                )
            return None
        attack = LinfPGD() if attack is None else attack
        return attack_defaults.completed(attack, self.attack_loss, self.attack_start)

    def default_eval_attack(self) -> Attack | None:
        """Returns the attack of evaluation where none is given; None: clean accuracy only."""
        return None if self.attack is None else attack_defaults.of_evaluation(self.attack)

    # The method.

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """The method's per-example loss.

        Args:
            logits: The classifier; each call is a forward pass with batch statistics of its own.
            batch: Clean and adversarial images, labels and this step's block shuffle.
        """
        raise TypeError(f"{type(self).__name__} does not implement objective().")

    def adversarial_examples(
        self, images: Images, labels: Labels, seed: random.SeedLike
    ) -> Images | None:
        """Returns x' of checked images and labels; None if the method makes none.

        A method whose examples need more than the classifier overrides this, and says in
        ``instead_of_an_attack`` that it has no other.
        """
        if self.attack is None:
            return None
        # Layers that update synchronised statistics cannot be in a loop, which TensorFlow forbids.
        how = {"unroll": self.attack_bn != "eval", "scale": self.epsilon_scale(), "checked": True}
        with attack_forward(self.model, self.attack_bn) as logits:
            return self.attack(logits, images, labels, seed=seed, **how)

    def epsilon_scale(self) -> Tensor | None:
        """Returns what the radius of this step of training is multiplied by; None: by nothing."""
        if not self.epsilon_warmup:
            return None
        step = tf.cast(compat.updates_made(self.optimizer), tf.float32)
        return tf.minimum(1.0, (step + 1.0) / self.epsilon_warmup)

    def smoothed(self, labels: Labels, logits: Logits) -> Labels:
        """Returns the labels of an objective: smoothed label rows, or as they are without it."""
        smoothing = self.label_smoothing
        if smoothing is None:
            classes = logits.shape[-1]
            smoothing = self.mass_of_wrong_classes * classes / (classes - 1)
            if smoothing >= 1:
                raise ValueError(
                    f"{type(self).__name__} gives the wrong classes {self.mass_of_wrong_classes:g} "
                    f"of every label together, which of {classes} classes leaves none to learn. "
                    "Say how much it is to be: label_smoothing=0.1, for instance."
                )
        return losses.smooth_labels(labels, logits, smoothing) if smoothing else labels

    def cross_entropy(self, labels: Labels, logits: Logits) -> Tensor:
        """The cross entropy [batch] of an objective, whose labels are smoothed.

        An attack never ascends it: where the true class has more than 1 - s + s / K already, the
        smoothed loss grows with confidence.
        """
        return losses.cross_entropy(self.smoothed(labels, logits), logits)

    def shuffle(self, images: Images, seed: random.SeedLike) -> Images:
        """Random Block Shuffle of the images; the identity for methods without it."""
        return images

    def after_update(self, result: Objective, labels: Labels) -> None:
        """What a method trains beside the classifier, once a step; nothing by default."""

    @property
    def state(self) -> list[Any]:
        """All variables that a run needs to go on: of classifier, optimizer and average.

        To be read and written inside of :meth:`weights_of_training`.
        """
        of_average = [] if self._running is None else self._running.values
        optimizer = compat.optimizer_variables(self.optimizer)
        return [*compat.variables_of(self.model), *optimizer, *of_average]

    # Saving.

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, the classifier and the attacks serialised."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "model": serialize(self.model),
            "attack": None if self.attack is None else serialize(self.attack),
            "eval_attack": None if self.eval_attack is None else serialize(self.eval_attack),
            "attack_bn": self.attack_bn,
            "seed": self.seed,
            "weight_decay": self.weight_decay,
            "regularizer": [serialize(one) for one in self.regularizers] or None,
            "weight_perturbation": self.weight_perturbation and serialize(self.weight_perturbation),
            "average": None if self.average is None else serialize(self.average),
            **{option: getattr(self, option) for option in options_of(type(self))},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> AdversarialModel:
        """Makes a model of :meth:`get_config`'s result; the weights are new."""

        def unpack(value: Any) -> Any:
            if isinstance(value, list):
                return [unpack(one) for one in value]
            if not isinstance(value, dict):
                return value
            return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)

        made = cls(**{name: unpack(value) for name, value in config.items()})
        if "eval_attack" in config and config["eval_attack"] is None:
            made.eval_attack = None  # as it was set; to the constructor None means the default
        return made
