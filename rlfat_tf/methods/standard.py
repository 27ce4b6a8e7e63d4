"""Standard training, the baseline without an adversary: CE(f(x), y)."""

from __future__ import annotations

from rlfat_tf.attacks import Attack
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import LogitsFn
from rlfat_tf.methods.attack_defaults import of_evaluation
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.objective import Batch, Objective


@keras.saving.register_keras_serializable("rlfat_tf")
class Standard(AdversarialModel):
    """Ordinary training, with the evaluation of the other methods.

    Without an ``eval_attack`` there is no ``adv_accuracy``.
    """

    terms = ("clean_loss",)
    selected_by = ("val_accuracy", "val_adv_accuracy")  # the second is 0 in every epoch, or nearly
    instead_of_an_attack = "it trains on clean images"
    compares_passes = False

    @classmethod
    def attacks_of_flags(cls, attack: Attack) -> dict[str, Attack]:
        """Returns the attack of evaluation, which is that of the other methods."""
        return {"eval_attack": of_evaluation(attack)}

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(x), y)."""
        clean_logits = logits(batch.images)
        clean_loss = self.cross_entropy(batch.labels, clean_logits)
        return Objective(clean_loss, {"clean_loss": clean_loss}, clean_logits=clean_logits)
