"""Local balls around weak adversaries, tied together by a global term: our reading of an abstract.

Of Lu & Kumar, "Improving Local Effectiveness for Global robust training" (2021), only the abstract
is public to us: it improves robustness "at each local ball centered around an adversary" and
combines the balls "through a global term". The formula is our reconstruction, not the authors':

    CE(f(x'), y) + local_weight  max_{z in B_r(x') and B_eps(x)} KL(p(x') || p(z))
                 + global_weight KL(p(x) || p(x'))

With both weights 0 it is PGD adversarial training.
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks.arguments import choice, number
from rlfat_tf.attacks.passes import gradient_by
from rlfat_tf.core import losses, norms
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Logits, LogitsFn
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.batch_norm import attack_forward
from rlfat_tf.methods.objective import Batch, Objective
from rlfat_tf.methods.options import flag_of

VARIANTS = ("inner", "first_order")


@keras.saving.register_keras_serializable("rlfat_tf")
class LocalGlobal(AdversarialModel):
    """A reconstruction of Lu & Kumar's local and global robustness; not the authors' formula.

    No term couples the examples of a batch: several replicas compute what one device would.

    The attack is meant to be weak, 1 to 3 steps. The local term is computed in one of two ways.
    ``"inner"``: one ascent step of length r from a uniform start around x', inside both balls.
    ``"first_order"``: what that maximum is to first order for the cross entropy,
    r ||grad_x' CE(f(x'), y)||_1, by double back-propagation.
    """

    terms = ("adv_loss", "local_loss", "global_loss")
    knows_linf_only = "the balls of its local term are of that norm"
    local_weight: float = number(1.0, "Weight of the local term.", at_least=0)
    global_weight: float = number(1.0, "Weight of the global term.", at_least=0)
    local_radius: float | None = number(
        None,
        "Radius of the local balls, for pixels in [0, 1]; half of epsilon unless it is given.",
        at_least=0,
    )
    variant: str = flag_of(
        "local_variant",
        choice(
            "inner",
            VARIANTS,
            "How the local term is computed: inner by an attack step, first_order by the gradient.",
        ),
    )

    @property
    def radius(self) -> float:
        """r, in units of pixels in [0, 1]."""
        return self.attack.epsilon / 2 if self.local_radius is None else self.local_radius

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(x'), y) + local_weight local term + global_weight KL(p(x) || p(x'))."""
        clean_logits = logits(batch.images)
        if self.variant == "inner":
            adversarial_logits = logits(batch.adversarial)
            neighbor = self.local_point(batch, adversarial_logits)
            local_loss = losses.kl_divergence(adversarial_logits, logits(neighbor))
            adv_loss = self.cross_entropy(batch.labels, adversarial_logits)
        else:
            with tf.GradientTape() as tape:
                tape.watch(batch.adversarial)
                adversarial_logits = logits(batch.adversarial)
                adv_loss = self.cross_entropy(batch.labels, adversarial_logits)
                total = tf.reduce_sum(adv_loss)
            slope = tf.abs(gradient_by(tape, total, batch.adversarial))
            local_loss = batch.scaled(self.radius) * tf.reduce_sum(
                slope, range(1, slope.shape.rank)
            )
        global_loss = losses.kl_divergence(clean_logits, adversarial_logits)
        return Objective(
            adv_loss + self.local_weight * local_loss + self.global_weight * global_loss,
            {"adv_loss": adv_loss, "local_loss": local_loss, "global_loss": global_loss},
            clean_logits,
            adversarial_logits,
        )

    def local_point(self, batch: Batch, adversarial_logits: Logits) -> Images:
        """Returns z: one ascent step of KL(p(x') || p(z)) inside B_r(x') and B_epsilon(x)."""
        ball = norms.get("linf")
        center = tf.stop_gradient(batch.adversarial)
        radius, epsilon = batch.scaled(self.radius), batch.scaled(self.attack.epsilon)
        with attack_forward(self.model, batch.attack_bn) as forward:
            divergence_of = losses.attack_loss("kl", lambda: forward(center), batch.labels)
            start = center + tf.cast(
                ball.random_start(center, radius, "uniform", batch.seed), center.dtype
            )
            with tf.GradientTape() as tape:
                tape.watch(start)
                divergence = divergence_of(losses.as_float(forward(start)))
            step = radius * tf.sign(gradient_by(tape, divergence, start))
        point = center + ball.project(start + step - center, radius)
        point = batch.images + ball.project(point - batch.images, epsilon)
        return tf.stop_gradient(tf.clip_by_value(point, 0.0, 1.0))
