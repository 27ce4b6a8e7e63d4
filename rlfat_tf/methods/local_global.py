"""Local balls around weak adversaries, tied together by a global term: our reading of an abstract.

Of Lu & Kumar, "Improving Local Effectiveness for Global robust training" (2021), only the abstract
is public to us: it improves robustness "at each local ball centered around an adversary" and
combines the balls "through a global term". The formula is our reconstruction, not the authors':

    CE(f(x'), y) + local_weight  max_{z in B_r(x') and B_eps(x)} KL(p(x') || p(z))
                 + global_weight KL(p(x) || p(x'))

With both weights 0 it is PGD adversarial training.
"""

from __future__ import annotations

import math
from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core import losses, norms
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.methods.base import AdversarialModel, Batch, Objective
from rlfat_tf.methods.batch_norm import attack_forward

VARIANTS = ("inner", "first_order")


@keras.saving.register_keras_serializable("rlfat_tf")
class LocalGlobal(AdversarialModel):
    """A reconstruction of Lu & Kumar's local and global robustness; not the authors' formula.

    No term couples the examples of a batch: several replicas compute what one device would.

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        local_weight: Of the local term.
        global_weight: Of the global term.
        local_radius: r, in units of pixels in [0, 1]; default half of the attack's epsilon.
        variant: How the local term is computed. ``"inner"``: one ascent step of length r from a
            uniform start around x', inside both balls. ``"first_order"``: what that maximum is to
            first order for the cross entropy, r ||grad_x' CE(f(x'), y)||_1, by double
            back-propagation.
        **kwargs: Those of :class:`AdversarialModel`; the attack is meant to be weak, 1 to 3 steps.
    """

    terms = ("adv_loss", "local_loss", "global_loss")

    def __init__(
        self,
        model: Any,
        *,
        local_weight: float = 1.0,
        global_weight: float = 1.0,
        local_radius: float | None = None,
        variant: str = "inner",
        **kwargs: Any,
    ):
        if variant not in VARIANTS:
            raise unknown("variant", variant, VARIANTS)
        for name, value in (("local_weight", local_weight), ("global_weight", global_weight)):
            if not 0 <= value < math.inf:
                raise ValueError(f"Expected {name} to be finite and at least 0; received {value}.")
        super().__init__(model, **kwargs)
        radius = self.attack.epsilon / 2 if local_radius is None else float(local_radius)
        if not 0 <= radius < math.inf:
            raise ValueError(f"Expected local_radius to be at least 0; received {local_radius}.")
        self.local_weight, self.global_weight = float(local_weight), float(global_weight)
        self.local_radius, self.variant = radius, variant

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
        """CE(f(x'), y) + local_weight local term + global_weight KL(p(x) || p(x'))."""
        clean_logits = logits(batch.images)
        if self.variant == "inner":
            adversarial_logits = logits(batch.adversarial)
            neighbor = self.local_point(batch, adversarial_logits)
            local_loss = losses.kl_divergence(adversarial_logits, logits(neighbor))
            adv_loss = losses.cross_entropy(batch.labels, adversarial_logits)
        else:
            with tf.GradientTape() as tape:
                tape.watch(batch.adversarial)
                adversarial_logits = logits(batch.adversarial)
                adv_loss = losses.cross_entropy(batch.labels, adversarial_logits)
                total = tf.reduce_sum(adv_loss)
            slope = tf.abs(tape.gradient(total, batch.adversarial))
            local_loss = self.local_radius * tf.reduce_sum(slope, range(1, slope.shape.rank))
        global_loss = losses.kl_divergence(clean_logits, adversarial_logits)
        return Objective(
            adv_loss + self.local_weight * local_loss + self.global_weight * global_loss,
            {"adv_loss": adv_loss, "local_loss": local_loss, "global_loss": global_loss},
            clean_logits,
            adversarial_logits,
        )

    def local_point(self, batch: Batch, adversarial_logits: Any) -> Any:
        """Returns z: one ascent step of KL(p(x') || p(z)) inside B_r(x') and B_epsilon(x)."""
        ball = norms.get("linf")
        center, radius = tf.stop_gradient(batch.adversarial), self.local_radius
        epsilon = self.attack.epsilon
        with attack_forward(self.model, self.attack_bn) as forward:
            target = tf.stop_gradient(losses.as_float(forward(center)))
            start = center + tf.cast(
                ball.random_start(center, radius, "uniform", batch.seed), center.dtype
            )
            with tf.GradientTape() as tape:
                tape.watch(start)
                divergence = losses.kl_divergence(target, losses.as_float(forward(start)))
            step = radius * tf.sign(tape.gradient(divergence, start))
        point = center + ball.project(start + step - center, radius)
        point = batch.images + ball.project(point - batch.images, epsilon)
        return tf.stop_gradient(tf.clip_by_value(point, 0.0, 1.0))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = ("local_weight", "global_weight", "local_radius", "variant")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
