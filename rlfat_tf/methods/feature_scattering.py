"""Feature Scattering (Zhang & Wang, NeurIPS 2019): softCE(f(x'), smoothed y)."""

from __future__ import annotations

from typing import Any

from rlfat_tf.attacks import Attack, FeatureScatter, LinfPGD
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import LogitsFn
from rlfat_tf.methods import attack_defaults
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.objective import Batch, Objective


@keras.saving.register_keras_serializable("rlfat_tf")
class FeatureScattering(AdversarialModel):
    """Training on unsupervised adversarial images that scatter the features of a batch.

    The attack is :class:`rlfat_tf.attacks.FeatureScatter`; no clean image is in the objective. Its
    transport plan couples the examples of a batch: on several replicas each one scatters its own
    part, and the loss is the mean over them.
    """

    terms = ("adv_loss",)
    mass_of_wrong_classes = 0.5
    knows_linf_only = "its step is along the sign of a gradient"

    @classmethod
    def attacks_of_flags(cls, attack: Any) -> dict[str, Attack]:
        """Returns the attack of training: one step, whatever else is set."""
        return {"attack": FeatureScatter(epsilon=attack.epsilon)}

    def completed_attack(self, attack: Attack | None) -> Attack:
        """Returns the attack of training; there is nothing to complete in the method's own."""
        attack = FeatureScatter() if attack is None else attack
        return attack_defaults.completed(attack, self.attack_loss, self.attack_start)

    def default_eval_attack(self) -> Attack:
        """Returns PGD of the same radius."""
        return LinfPGD(epsilon=self.attack.epsilon)

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """softCE(f(x'), smoothed y)."""
        adversarial_logits = logits(batch.adversarial)
        adv_loss = self.cross_entropy(batch.labels, adversarial_logits)
        return Objective(adv_loss, {"adv_loss": adv_loss}, adversarial_logits=adversarial_logits)
