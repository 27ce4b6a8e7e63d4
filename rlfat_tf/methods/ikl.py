"""IKL, improved Kullback-Leibler (Cui et al., "Decoupled Kullback-Leibler Divergence Loss", 2023).

    CE(f(x), y) + alpha CE(p(x), p(x')) + beta 1/4 sum_jk w_j w_k ((z_j - z_k) - (z'_j - z'_k))^2

z = f(x), z' = f(x'); in the second term p(x) is a constant. w is row y of a matrix, the mean of
softmax(z / temperature) over the examples of class y in the epoch before (in the first 1 / classes
throughout): ``class_means``. With d = z - z' and sum_k w_k = 1 the double sum is twice the variance
of d under w, so that the last term is

    beta 1/2 sum_k w_k (d_k - sum_j w_j d_j)^2

which costs as many operations as there are classes, not their square.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import count, number, size
from rlfat_tf.core import compat, losses
from rlfat_tf.core.compat import keras
from rlfat_tf.core.model_checks import count_classes
from rlfat_tf.core.types import Labels, LogitsFn, Model
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.class_means import ClassMeans
from rlfat_tf.methods.objective import Batch, Objective
from rlfat_tf.methods.options import flag_of


@keras.saving.register_keras_serializable("rlfat_tf")
class IKL(AdversarialModel):
    """IKL adversarial training; the attack ascends KL(p(x) || p(x')) from x + 0.001 N(0, 1).

    The class means are in the backup of a run and in no ``.keras`` file: a model that is loaded
    from one begins with 1 / classes again. On several replicas they are of the global batch.
    """

    attack_loss = "kl"
    attack_start = "gaussian"
    terms = ("clean_loss", "soft_loss", "wmse_loss")
    alpha: float = flag_of(
        "ikl_alpha", number(4.0, "Weight of IKL's soft cross entropy.", at_least=0)
    )
    beta: float = flag_of(
        "ikl_beta", number(20.0, "Weight of IKL's squared differences of logits.", at_least=0)
    )
    temperature: float = flag_of(
        "ikl_temperature", size(4.0, "Temperature of the softmax in IKL's class means.")
    )
    epoch_steps: int = flag_of(
        None,
        count(
            391,
            "Number of steps between two updates of the class means; train.py sets it to the steps "
            "of an epoch.",
        ),
    )

    def __init__(self, model: Model, **kwargs: Any):
        super().__init__(model, **kwargs)
        self.class_means = ClassMeans(count_classes(model))

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(x), y) + alpha CE(p(x), p(x')) + beta / 2 Var_w(f(x) - f(x'))."""
        clean_logits = logits(batch.images)
        adversarial_logits = logits(batch.adversarial)
        clean_loss = self.cross_entropy(batch.labels, clean_logits)
        target = tf.stop_gradient(tf.nn.softmax(clean_logits))
        soft_loss = losses.cross_entropy(target, adversarial_logits)
        w = self.class_means.of(losses.label_rows(batch.labels, clean_logits))
        d = clean_logits - adversarial_logits
        d -= tf.reduce_sum(w * d, axis=-1, keepdims=True)
        wmse_loss = tf.reduce_sum(w * tf.square(d), axis=-1) / 2
        return Objective(
            clean_loss + self.alpha * soft_loss + self.beta * wmse_loss,
            {"clean_loss": clean_loss, "soft_loss": soft_loss, "wmse_loss": wmse_loss},
            clean_logits,
            adversarial_logits,
        )

    def after_update(self, result: Objective, labels: Labels) -> None:
        """Adds the predictions of this step to the class means that come next."""
        last = compat.batches_seen(self.optimizer) % self.epoch_steps == 0
        clean_logits: Any = result.clean_logits
        rows = losses.label_rows(labels, clean_logits)
        self.class_means.add(rows, tf.nn.softmax(clean_logits / self.temperature), last=last)

    @property
    def state(self) -> list[Any]:
        """See :attr:`AdversarialModel.state`; the class means too."""
        return [*super().state, *self.class_means.variables]
