"""SCORE, self-consistent robust error (Pang et al., ICML 2022), in the form of TRADES.

    ||p(x) - y||^2 + beta relu(||p(x') - p(x)||^2 - c)

with squared errors of probabilities ("LSE" in the authors' code) where TRADES has the cross entropy
and KL. They are distances, so that by the triangle inequality they bound the error at x' by those
at x and from x to x'. Gradients flow through both p(x) and p(x').
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks.arguments import number
from rlfat_tf.core import losses
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import LogitsFn
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.objective import Batch, Objective
from rlfat_tf.methods.options import flag_of


@keras.saving.register_keras_serializable("rlfat_tf")
class SCORE(AdversarialModel):
    """SCORE; the attack ascends ||p(x') - p(x)||^2 from a uniform start.

    In the attack p(x) is a constant. The start must not be the image itself, where that distance
    has no gradient. Label smoothing smooths y in the squared error.
    """

    attack_loss = "lse"
    terms = ("clean_loss", "lse_loss")
    beta: float = flag_of(
        "score_beta",
        number(4.0, "Weight of SCORE's distance term; 3 or 4 in the paper.", at_least=0),
    )
    c: float = flag_of(
        "score_c", number(0.0, "Distance below which SCORE adds no penalty.", at_least=0, at_most=2)
    )

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """||p(x) - y||^2 + beta relu(||p(x') - p(x)||^2 - c)."""
        clean_logits = logits(batch.images)
        adversarial_logits = logits(batch.adversarial)
        clean_loss = losses.squared_error(self.smoothed(batch.labels, clean_logits), clean_logits)
        lse_loss = losses.probability_distance(adversarial_logits, clean_logits)
        return Objective(
            clean_loss + self.beta * tf.nn.relu(lse_loss - self.c),
            {"clean_loss": clean_loss, "lse_loss": lse_loss},
            clean_logits,
            adversarial_logits,
        )
