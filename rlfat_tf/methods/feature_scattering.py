"""Feature Scattering (Zhang & Wang, NeurIPS 2019): softCE(f(x'), smoothed y)."""

from __future__ import annotations

from typing import Any, Callable

from rlfat_tf.attacks import Attack, FeatureScatter, LinfPGD
from rlfat_tf.core import losses
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.base import AdversarialModel, Batch, Objective


@keras.saving.register_keras_serializable("rlfat_tf")
class FeatureScattering(AdversarialModel):
    """Training on unsupervised adversarial images that scatter the features of a batch.

    The attack is :class:`rlfat_tf.attacks.FeatureScatter`; no clean image is in the objective. Its
    transport plan couples the examples of a batch: on several replicas each one scatters its own
    part, and the loss is the mean over them.

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        label_smoothing: delta: the true class has probability 1 - delta, the others
            delta / (K - 1) each; 0.5 in the authors' code.
        **kwargs: Those of :class:`AdversarialModel`.
    """

    terms = ("adv_loss",)

    def __init__(self, model: Any, *, label_smoothing: float = 0.5, **kwargs: Any):
        super().__init__(model, **kwargs)
        losses.check_smoothing(label_smoothing)
        self.label_smoothing = float(label_smoothing)

    @classmethod
    def make_attack(cls, *, epsilon: float, **settings: Any) -> Attack:
        """Returns the attack of training: one step, whatever else is set."""
        return FeatureScatter(epsilon=epsilon)

    def _default_attack(self, attack: Attack | None) -> Attack | None:
        return FeatureScatter() if attack is None else attack

    def _default_eval_attack(self, attack: Attack | None) -> Attack | None:
        return LinfPGD(epsilon=self.attack.epsilon) if attack is None else attack

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
        """softCE(f(x'), smoothed y)."""
        adversarial_logits = logits(batch.adversarial)
        smoothed = losses.smooth_labels(batch.labels, adversarial_logits, self.label_smoothing)
        adv_loss = losses.cross_entropy(smoothed, adversarial_logits)
        return Objective(adv_loss, {"adv_loss": adv_loss}, adversarial_logits=adversarial_logits)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
