"""ATLD, Adversarial Training with Latent Distribution (Qian et al., 2021).

A discriminator D learns to tell the logits of natural images from those of adversarial ones. The
latent manifold adversarial example is one step away from x, made without labels:

    x' = clip(x_0 - epsilon sign(grad_{x_0} [BCE(D(f(x)), 1) + BCE(D(f(x_0)), 0)]))

with x_0 = x + U(-epsilon, epsilon), natural = 1 (in the authors' code; the paper's convention is
the other one). The classifier minimises, as in the authors' code,

    softCE(f(x'), smoothed y) + s * divergence_weight * mean_k (f(x') - f(x))_k^2

where s = max grad_x' CE / max grad_x' mean square, a constant, and f(x) is a constant computed in
inference mode. ``objective_form="game"`` is the objective that the paper prints instead: the
classifier plays against the discriminator, softCE(f(x'), y) - divergence_weight *
[BCE(D(f(x)), 1) + BCE(D(f(x')), 0)].
"""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.attacks import Attack, FeatureScatter, LinfPGD
from rlfat_tf.core import compat, losses, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.model_checks import count_classes
from rlfat_tf.methods.base import AdversarialModel, Batch, Objective
from rlfat_tf.methods.batch_norm import attack_forward
from rlfat_tf.models.discriminator import latent_discriminator

FORMS = ("code", "game")


def natural_loss(natural: Any, target: float) -> Any:
    """BCE(D, target), per example, of the discriminator's logits [batch, 1]."""
    natural = losses.as_float(natural)[:, 0]
    return tf.nn.sigmoid_cross_entropy_with_logits(target * tf.ones_like(natural), natural)


@keras.saving.register_keras_serializable("rlfat_tf")
class ATLD(AdversarialModel):
    """ATLD with the authors' discriminator; see :mod:`rlfat_tf.methods.atld`.

    On several replicas s is that of the global batch. The discriminator's batch normalisation uses
    the statistics of each replica's part unless it is synchronised, as that of the default is.

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        discriminator: From logits [batch, K] to (natural logit [batch, 1], class logits
            [batch, K]); default: the released architecture.
        label_smoothing: delta of the smoothed labels.
        divergence_weight: 1/2 in the authors' code (CIFAR-100: 1/10).
        discriminator_steps: Updates of the discriminator per step.
        discriminator_learning_rate: Of its own SGD, momentum 0.9, coupled weight decay 2e-4.
        objective_form: ``"code"`` or ``"game"``.
        **kwargs: Those of :class:`AdversarialModel`.
    """

    terms = ("adv_loss", "divergence_loss", "discriminator_loss")

    def __init__(
        self,
        model: Any,
        *,
        discriminator: Any = None,
        label_smoothing: float = 0.5,
        divergence_weight: float = 0.5,
        discriminator_steps: int = 2,
        discriminator_learning_rate: float = 1e-3,
        objective_form: str = "code",
        **kwargs: Any,
    ):
        if objective_form not in FORMS:
            raise unknown("form of the objective", objective_form, FORMS)
        losses.check_smoothing(label_smoothing)
        if discriminator is None:
            discriminator = latent_discriminator(num_classes=count_classes(model))
        super().__init__(model, parts={"discriminator": discriminator}, **kwargs)
        self.label_smoothing = float(label_smoothing)
        self.divergence_weight = float(divergence_weight)
        self.discriminator_steps = int(discriminator_steps)
        self.discriminator_learning_rate = float(discriminator_learning_rate)
        self.objective_form = objective_form
        self.discriminator_optimizer = keras.optimizers.SGD(
            self.discriminator_learning_rate, momentum=0.9
        )
        compat.build_optimizer(self.discriminator_optimizer, discriminator.trainable_variables)

    @classmethod
    def make_attack(cls, *, epsilon: float, **settings: Any) -> Attack:
        """Returns what carries epsilon: the example itself needs the discriminator."""
        return FeatureScatter(epsilon=epsilon)

    def _default_attack(self, attack: Attack | None) -> Attack | None:
        return FeatureScatter() if attack is None else attack

    def _default_eval_attack(self, attack: Attack | None) -> Attack | None:
        return LinfPGD(epsilon=self.attack.epsilon) if attack is None else attack

    def adversarial_examples(self, images: Any, labels: Any, seed: random.SeedLike) -> Any:
        """Returns the latent manifold adversarial examples x'; labels are not read."""
        ball, epsilon = norms.get("linf"), self.attack.epsilon
        with attack_forward(self.model, self.attack_bn) as forward:
            start = images + ball.random_start(images, epsilon, "uniform", seed)
            with tf.GradientTape() as tape:
                tape.watch(start)
                natural, _ = self.discriminator(losses.as_float(forward(start)), training=True)
                loss = natural_loss(natural, 0.0)  # BCE(D(f(x)), 1) does not depend on x_0
        step = -epsilon * tf.sign(tape.gradient(loss, start))
        delta = ball.project(start + step - images, epsilon)
        return tf.stop_gradient(tf.clip_by_value(images + delta, 0.0, 1.0))

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
        """softCE(f(x'), smoothed y) + s * divergence_weight * mean_k (f(x') - f(x))_k^2."""
        clean_logits = self.logits(batch.images, training=False)
        if self.objective_form == "code":
            clean_logits = tf.stop_gradient(clean_logits)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(batch.adversarial)
            adversarial_logits = logits(batch.adversarial)
            smoothed = losses.smooth_labels(batch.labels, adversarial_logits, self.label_smoothing)
            adv_loss = losses.cross_entropy(smoothed, adversarial_logits)
            distance = tf.reduce_mean(tf.square(adversarial_logits - clean_logits), -1)
        judgement = self._judge(clean_logits, adversarial_logits)
        if self.objective_form == "code":
            slopes = [tape.gradient(loss, batch.adversarial) for loss in (adv_loss, distance)]
            # As printed, the signed maximum over the whole batch.
            ce_slope, distance_slope = (_maximum_of_replicas(slope) for slope in slopes)
            scale = tf.stop_gradient(tf.math.divide_no_nan(ce_slope, distance_slope))
            divergence = scale * distance
        else:
            divergence = -judgement
        del tape
        terms = {
            "adv_loss": adv_loss,
            "divergence_loss": divergence,
            "discriminator_loss": tf.stop_gradient(judgement),
        }
        loss = adv_loss + self.divergence_weight * divergence
        return Objective(loss, terms, clean_logits, adversarial_logits)

    def _judge(self, clean_logits: Any, adversarial_logits: Any) -> Any:
        """The discriminator's loss BCE(D(f(x)), 1) + BCE(D(f(x')), 0), in inference mode."""
        return natural_loss(self.discriminator(clean_logits, training=False)[0], 1.0) + (
            natural_loss(self.discriminator(adversarial_logits, training=False)[0], 0.0)
        )

    def after_update(self, result: Objective, labels: Any) -> None:
        """Updates the discriminator, on the logits that the classifier had in this step."""
        natural, adversarial = (
            tf.stop_gradient(z) for z in (result.clean_logits, result.adversarial_logits)
        )
        smoothed = losses.smooth_labels(labels, natural, self.label_smoothing)
        variables = self.discriminator.trainable_variables
        size = tf.cast(tf.shape(natural)[0], natural.dtype)
        size *= tf.distribute.get_strategy().num_replicas_in_sync
        for _ in range(self.discriminator_steps):
            with tf.GradientTape() as tape:
                loss = tf.zeros([], natural.dtype)
                for latent, target in ((natural, 1.0), (adversarial, 0.0)):
                    judgement, classes = self.discriminator(latent, training=True)
                    loss += tf.reduce_sum(natural_loss(judgement, target)) / size
                    loss += tf.reduce_sum(losses.cross_entropy(smoothed, classes)) / size
                decay = tf.add_n([tf.nn.l2_loss(v) for v in variables])
                replicas = tf.distribute.get_strategy().num_replicas_in_sync
                loss += 2e-4 * tf.cast(decay, loss.dtype) / replicas
            gradients = tape.gradient(loss, variables)
            self.discriminator_optimizer.apply_gradients(zip(gradients, variables))

    @property
    def state(self) -> list[Any]:
        """See :attr:`AdversarialModel.state`; the discriminator and its optimizer too."""
        own = compat.variables_of(self.discriminator)
        return [*super().state, *own, *compat.optimizer_variables(self.discriminator_optimizer)]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = (
            "label_smoothing",
            "divergence_weight",
            "discriminator_steps",
            "discriminator_learning_rate",
            "objective_form",
        )
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ATLD:
        """Makes a model of :meth:`get_config`'s result; the weights are new."""
        config = dict(config)
        if isinstance(config.get("discriminator"), dict):
            config["discriminator"] = keras.saving.deserialize_keras_object(
                config["discriminator"], custom_objects=custom_objects
            )
        return super().from_config(config, custom_objects)


def _maximum_of_replicas(values: Any) -> Any:
    """Returns the greatest value of all replicas."""
    greatest = tf.reduce_max(values)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return greatest
    return tf.reduce_max(context.all_gather(greatest[None], axis=0))
