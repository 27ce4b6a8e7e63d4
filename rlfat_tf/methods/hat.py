"""HAT, helper-based adversarial training (Rade & Moosavi-Dezfooli, ICLR 2022).

    CE(f(x), y) + beta KL(p(x) || p(x')) + gamma CE(f(x_h), y_h)

TRADES with helper examples: x_h = x + h (x' - x), h = 2, lies twice as far from x as x' and is not
clipped, and y_h = argmax g(x') is the label that a classifier g, trained without an adversary,
gives x' (not x_h). g is frozen and computes in inference mode. With gamma = 0 this is TRADES.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import argument, number, size
from rlfat_tf.core import losses
from rlfat_tf.core.checks import logits_in
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import LogitsFn, Model
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.helper import checked_helper
from rlfat_tf.methods.objective import Batch, Objective
from rlfat_tf.methods.options import flag_of


@keras.saving.register_keras_serializable("rlfat_tf")
class HAT(AdversarialModel):
    """HAT; the attack ascends KL(p(x) || p(x')) from x + 0.001 N(0, 1), as in TRADES.

    Nothing trains or decays the helper, and it is no part of ``state``; a ``.keras`` file holds it.
    Under a strategy of several replicas make it in the strategy's scope, as the classifier.

    Raises:
        ValueError: If there is no helper, or it has other classes or images than the classifier.
    """

    attack_loss = "kl"
    attack_start = "gaussian"
    terms = ("clean_loss", "kl_loss", "helper_loss")
    beta: float = flag_of("hat_beta", number(2.5, "Weight of HAT's KL term.", at_least=0))
    gamma: float = flag_of("hat_gamma", number(0.5, "Weight of HAT's helper term.", at_least=0))
    h: float = flag_of("hat_h", size(2.0, "Position of HAT's helper examples: x + h (x' - x)."))
    helper_model: Any = flag_of(
        None,
        argument(
            None,
            "Classifier that was trained without adversarial examples, for instance by Standard.",
        ),
    )

    def __init__(self, model: Model, *, helper_model: Model | None = None, **kwargs: Any):
        super().__init__(model, parts={"helper_model": helper_model}, **kwargs)
        if self.helper_model is None:
            raise ValueError(
                "HAT needs helper_model=, a classifier of the same images and classes that was "
                "trained without an adversary: rlfat_tf.Standard, or python train.py "
                "--method=standard and then helper_model=rlfat_tf.load(<its folder>)."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        known = vars(self).get("helper_model") is not None  # then it cannot be taken away
        if name == "helper_model" and (value is not None or known):
            value = checked_helper(self, name, value)
        super().__setattr__(name, value)

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(x), y) + beta KL(p(x) || p(x')) + gamma CE(f(x_h), y_h)."""
        x, x_adv = batch.images, batch.adversarial
        clean_logits, adversarial_logits = logits(x), logits(x_adv)
        clean_loss = self.cross_entropy(batch.labels, clean_logits)
        kl_loss = losses.kl_divergence(clean_logits, adversarial_logits)
        helper_loss = tf.zeros_like(clean_loss)
        if self.gamma:  # else its pass would still move the batch statistics
            y_h = tf.argmax(logits_in(self.helper_model(x_adv, training=False)), axis=-1)
            helper_loss = losses.cross_entropy(y_h, logits(x + self.h * (x_adv - x)))
        return Objective(
            clean_loss + self.beta * kl_loss + self.gamma * helper_loss,
            {"clean_loss": clean_loss, "kl_loss": kl_loss, "helper_loss": helper_loss},
            clean_logits,
            adversarial_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        helper = keras.saving.serialize_keras_object(self.helper_model)
        return {**super().get_config(), "helper_model": helper}
