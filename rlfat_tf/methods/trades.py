"""TRADES (Zhang et al., ICML 2019): CE(f(x), y) + lambda KL(p(x) || p(x'))."""

from __future__ import annotations

from rlfat_tf.attacks.arguments import number
from rlfat_tf.core import losses
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import LogitsFn
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.objective import Batch, Objective


@keras.saving.register_keras_serializable("rlfat_tf")
class TRADES(AdversarialModel):
    """TRADES; the attack ascends KL(p(x) || p(x')) from x + 0.001 N(0, 1).

    In the attack p(x) is a constant; in the objective the gradient flows through both
    distributions (RLFAT paper, Eq. 6; authors' code).
    """

    attack_loss = "kl"
    attack_start = "gaussian"
    terms: tuple[str, ...] = ("clean_loss", "kl_loss")
    trades_lambda: float = number(
        6.0, "Weight of the KL term, which is called beta in the TRADES code.", at_least=0
    )

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(x), y) + lambda KL(p(x) || p(x'))."""
        clean_logits = logits(batch.images)
        adversarial_logits = logits(batch.adversarial)
        clean_loss = self.cross_entropy(batch.labels, clean_logits)
        kl_loss = losses.kl_divergence(clean_logits, adversarial_logits)
        return Objective(
            clean_loss + self.trades_lambda * kl_loss,
            {"clean_loss": clean_loss, "kl_loss": kl_loss},
            clean_logits,
            adversarial_logits,
        )
