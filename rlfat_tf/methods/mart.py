"""MART, misclassification aware adversarial training (Wang et al., ICLR 2020).

With p = softmax f(x) and q = softmax f(x'):

    BCE(q, y) + beta KL(p || q) (1 - p_y),   BCE(q, y) = -log q_y - log(1 - max_{j != y} q_j)

The gradient flows through p, q and the weight 1 - p_y. The constants by which the authors' code
keeps the logarithm and the weight away from 0 are theirs here too; see ``losses.runner_up_loss``.
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
class MART(AdversarialModel):
    """MART; the attack ascends CE(f(x'), y) from x + 0.001 N(0, 1).

    It asks of every example whether it is classified correctly, so that each must have one class:
    soft label rows are refused. Label smoothing smooths -log q_y and nothing else.
    """

    attack_start = "gaussian"
    takes_soft_labels = False
    terms = ("boosted_loss", "kl_loss")
    beta: float = flag_of("mart_beta", number(5.0, "Weight of MART's KL term.", at_least=0))

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """BCE(q, y) + beta KL(p || q) (1 - p_y)."""
        clean_logits = logits(batch.images)
        adversarial_logits = logits(batch.adversarial)
        boosted_loss = self.cross_entropy(batch.labels, adversarial_logits)
        boosted_loss += losses.runner_up_loss(batch.labels, adversarial_logits)
        # 1.0000001 - p_y, whose digits 1 - exp(log p_y) would lose where p_y is almost 1.
        doubt = 1e-7 - tf.math.expm1(-losses.cross_entropy(batch.labels, clean_logits))
        kl_loss = losses.kl_divergence(clean_logits, adversarial_logits) * doubt
        return Objective(
            boosted_loss + self.beta * kl_loss,
            {"boosted_loss": boosted_loss, "kl_loss": kl_loss},
            clean_logits,
            adversarial_logits,
        )
