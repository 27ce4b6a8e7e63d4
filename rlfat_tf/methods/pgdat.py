"""PGD adversarial training (Madry et al., ICLR 2018): CE(f(x'), y)."""

from __future__ import annotations

from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import LogitsFn
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.objective import Batch, Objective


@keras.saving.register_keras_serializable("rlfat_tf")
class PGDAT(AdversarialModel):
    """PGD adversarial training; arguments as :class:`AdversarialModel`.

    The attack ascends the cross entropy from a uniform random start (RLFAT paper, Eq. 5).
    """

    terms = ("adv_loss",)

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(x'), y)."""
        adversarial_logits = logits(batch.adversarial)
        adv_loss = self.cross_entropy(batch.labels, adversarial_logits)
        return Objective(adv_loss, {"adv_loss": adv_loss}, adversarial_logits=adversarial_logits)
