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

from typing import Any

import tensorflow as tf

from rlfat_tf.attacks import Attack, LinfPGD
from rlfat_tf.attacks.arguments import argument, check_epsilon, choice, count, number, size
from rlfat_tf.attacks.passes import gradient_by
from rlfat_tf.core import compat, losses, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.model_checks import count_classes
from rlfat_tf.core.types import Images, Labels, Logits, LogitsFn, Model, Tensor
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.batch_norm import attack_forward
from rlfat_tf.methods.finite import finite_gradients
from rlfat_tf.methods.objective import Batch, Objective, global_batch_size
from rlfat_tf.methods.options import flag_of
from rlfat_tf.models.discriminator import latent_discriminator

FORMS = ("code", "game")


def natural_loss(natural: Tensor, target: float) -> Tensor:
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
            [batch, K]); default: the released architecture. Its optimizer is an SGD of its own,
            momentum 0.9, coupled weight decay 2e-4.
        **kwargs: Those of :class:`AdversarialModel`; ``attack`` must stay None.
    """

    terms = ("adv_loss", "divergence_loss", "discriminator_loss")
    mass_of_wrong_classes = 0.5
    knows_linf_only = "its step is along the sign of a gradient"
    instead_of_an_attack = "its examples are one step, of length epsilon, against the discriminator"
    epsilon: float = argument(
        8 / 255,
        "Greatest perturbation in the maximum norm, for pixels in [0, 1].",
        lambda method, name, value: check_epsilon(value, "linf"),
    )
    divergence_weight: float = number(
        0.5, "Weight of the divergence term; 0.1 in the authors' code for CIFAR-100.", at_least=0
    )
    discriminator_steps: int = flag_of(
        None, count(2, "Number of updates of the discriminator in every step.")
    )
    discriminator_learning_rate: float = flag_of(
        None, size(1e-3, "Learning rate of the discriminator's optimizer.")
    )
    objective_form: str = flag_of(
        "atld_objective",
        choice(
            "code", FORMS, "Objective: code is that of the authors' code, game that of the paper."
        ),
    )

    def __init__(self, model: Model, *, discriminator: Model | None = None, **kwargs: Any):
        if discriminator is None:
            discriminator = latent_discriminator(num_classes=count_classes(model))
        super().__init__(model, parts={"discriminator": discriminator}, **kwargs)
        self.discriminator_optimizer = keras.optimizers.SGD(
            self.discriminator_learning_rate, momentum=0.9
        )
        compat.build_optimizer(self.discriminator_optimizer, discriminator.trainable_variables)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "discriminator_learning_rate" and hasattr(self, "discriminator_optimizer"):
            self.discriminator_optimizer.learning_rate = self.discriminator_learning_rate

    @classmethod
    def attacks_of_flags(cls, attack: Attack) -> dict[str, Attack]:
        """Returns none: epsilon is an option of this method."""
        return {}

    def default_eval_attack(self) -> Attack:
        """Returns PGD of the same radius."""
        return LinfPGD(epsilon=self.epsilon)

    def adversarial_examples(self, images: Images, labels: Labels, seed: random.SeedLike) -> Images:
        """Returns the latent manifold adversarial examples x'; labels are not read."""
        ball, scale = norms.get("linf"), self.epsilon_scale()
        epsilon = self.epsilon if scale is None else self.epsilon * scale
        with attack_forward(self.model, self.attack_bn) as forward:
            start = images + ball.random_start(images, epsilon, "uniform", seed)
            with tf.GradientTape() as tape:
                tape.watch(start)
                natural, _ = self.discriminator(losses.as_float(forward(start)), training=True)
                loss = natural_loss(natural, 0.0)  # BCE(D(f(x)), 1) does not depend on x_0
        step = -epsilon * tf.sign(gradient_by(tape, loss, start))
        delta = ball.project(start + step - images, epsilon)
        return tf.stop_gradient(tf.clip_by_value(images + delta, 0.0, 1.0))

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """softCE(f(x'), smoothed y) + s * divergence_weight * mean_k (f(x') - f(x))_k^2."""
        clean_logits = self.logits(batch.images, training=False)
        if self.objective_form == "code":
            clean_logits = tf.stop_gradient(clean_logits)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(batch.adversarial)
            adversarial_logits = logits(batch.adversarial)
            adv_loss = self.cross_entropy(batch.labels, adversarial_logits)
            distance = tf.reduce_mean(tf.square(adversarial_logits - clean_logits), -1)
        told_apart = self._telling_apart(clean_logits, adversarial_logits)
        if self.objective_form == "code":
            slopes = [gradient_by(tape, loss, batch.adversarial) for loss in (adv_loss, distance)]
            # As printed, the signed maximum over the whole batch.
            ce_slope, distance_slope = (_maximum_of_replicas(slope) for slope in slopes)
            scale = tf.stop_gradient(tf.math.divide_no_nan(ce_slope, distance_slope))
            divergence = scale * distance
        else:
            divergence = -told_apart
        del tape
        terms = {
            "adv_loss": adv_loss,
            "divergence_loss": divergence,
            "discriminator_loss": tf.stop_gradient(told_apart),
        }
        loss = adv_loss + self.divergence_weight * divergence
        return Objective(loss, terms, clean_logits, adversarial_logits)

    def _telling_apart(self, clean_logits: Logits, adversarial_logits: Logits) -> Tensor:
        """The discriminator's loss BCE(D(f(x)), 1) + BCE(D(f(x')), 0), in inference mode."""
        return natural_loss(self.discriminator(clean_logits, training=False)[0], 1.0) + (
            natural_loss(self.discriminator(adversarial_logits, training=False)[0], 0.0)
        )

    def after_update(self, result: Objective, labels: Labels) -> None:
        """Updates the discriminator, on the logits that the classifier had in this step."""
        natural, adversarial = (
            tf.stop_gradient(z) for z in (result.clean_logits, result.adversarial_logits)
        )
        variables = self.discriminator.trainable_variables
        examples = global_batch_size(natural[:, 0])
        step = tf.convert_to_tensor(compat.batches_seen(self.optimizer)) - 1  # it has counted this
        for _ in range(self.discriminator_steps):
            with tf.GradientTape() as tape:
                loss = tf.zeros([], natural.dtype)
                for latent, target in ((natural, 1.0), (adversarial, 0.0)):
                    told_apart, classes = self.discriminator(latent, training=True)
                    loss += tf.reduce_sum(natural_loss(told_apart, target)) / examples
                    loss += tf.reduce_sum(self.cross_entropy(labels, classes)) / examples
                decay = tf.add_n([tf.nn.l2_loss(v) for v in variables])
                replicas = tf.distribute.get_strategy().num_replicas_in_sync
                loss += 2e-4 * tf.cast(decay, loss.dtype) / replicas
            gradients = tape.gradient(loss, variables)
            gradients = finite_gradients(gradients, step, of="the discriminator")
            self.discriminator_optimizer.apply_gradients(zip(gradients, variables))

    @property
    def perturbation(self) -> str:
        """See :attr:`AdversarialModel.perturbation`."""
        return f"ATLD(epsilon={self.epsilon!r})"

    @property
    def state(self) -> list[Any]:
        """See :attr:`AdversarialModel.state`; the discriminator and its optimizer too."""
        own = compat.variables_of(self.discriminator)
        return [*super().state, *own, *compat.optimizer_variables(self.discriminator_optimizer)]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        discriminator = keras.saving.serialize_keras_object(self.discriminator)
        return {**super().get_config(), "discriminator": discriminator}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ATLD:
        """Makes a model of :meth:`get_config`'s result; the weights are new."""
        config = dict(config)
        written_by_0_1 = config.pop("attack", None)  # which kept epsilon in an attack
        if written_by_0_1:
            config["epsilon"] = written_by_0_1["config"]["epsilon"]
        return super().from_config(config, custom_objects)


def _maximum_of_replicas(values: Tensor) -> Tensor:
    """Returns the greatest value of all replicas."""
    greatest = tf.reduce_max(values)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return greatest
    return tf.reduce_max(context.all_gather(greatest[None], axis=0))
