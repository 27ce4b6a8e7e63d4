"""TRADES (Zhang et al., ICML 2019): CE(f(x), y) + lambda KL(p(x) || p(x'))."""

from __future__ import annotations

from typing import Any, Callable

from rlfat_tf.core import losses
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.base import AdversarialModel, Batch, Objective


@keras.saving.register_keras_serializable("rlfat_tf")
class TRADES(AdversarialModel):
    """TRADES; the attack ascends KL(p(x) || p(x')) from x + 0.001 N(0, 1).

    In the attack p(x) is a constant; in the objective the gradient flows through both
    distributions (RLFAT paper, Eq. 6; authors' code).

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        trades_lambda: Weight of the KL term (beta in the TRADES code).
        **kwargs: Those of :class:`AdversarialModel`.
    """

    attack_loss = "kl"
    attack_start = "gaussian"
    terms: tuple[str, ...] = ("clean_loss", "kl_loss")

    def __init__(self, model: Any, *, trades_lambda: float = 6.0, **kwargs: Any):
        super().__init__(model, **kwargs)
        self.trades_lambda = float(trades_lambda)

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
        """CE(f(x), y) + lambda KL(p(x) || p(x'))."""
        clean_logits = logits(batch.images)
        adversarial_logits = logits(batch.adversarial)
        clean_loss = losses.cross_entropy(batch.labels, clean_logits)
        kl_loss = losses.kl_divergence(clean_logits, adversarial_logits)
        return Objective(
            clean_loss + self.trades_lambda * kl_loss,
            {"clean_loss": clean_loss, "kl_loss": kl_loss},
            clean_logits,
            adversarial_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "trades_lambda": self.trades_lambda}
