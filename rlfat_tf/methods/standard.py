"""Standard training, the baseline without an adversary: CE(f(x), y)."""

from __future__ import annotations

from typing import Any, Callable

from rlfat_tf.attacks import Attack
from rlfat_tf.core import losses
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.base import AdversarialModel, Batch, Objective


@keras.saving.register_keras_serializable("rlfat_tf")
class Standard(AdversarialModel):
    """Ordinary training, with the evaluation of the other methods.

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        eval_attack: The attack of ``evaluate`` and validation; without one there is no
            ``adv_accuracy``.
        **kwargs: Those of :class:`AdversarialModel`; ``attack`` must stay None.
    """

    terms = ("clean_loss",)
    selected_by = ("val_accuracy", "val_adv_accuracy")  # the second is 0 in every epoch, or nearly

    def _default_attack(self, attack: Attack | None) -> Attack | None:
        if attack is not None:
            raise ValueError("Standard training has no attack; received one. Use eval_attack.")
        return None

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
        """CE(f(x), y)."""
        clean_logits = logits(batch.images)
        clean_loss = losses.cross_entropy(batch.labels, clean_logits)
        return Objective(clean_loss, {"clean_loss": clean_loss}, clean_logits=clean_logits)
