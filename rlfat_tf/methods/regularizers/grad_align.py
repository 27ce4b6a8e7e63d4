"""GradAlign: input gradients that are alike within the ball, so that one step is enough there.

(Andriushchenko & Flammarion, "Understanding and Improving Fast Adversarial Training", NeurIPS 2020,
and the authors' code.)
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks.arguments import choice, number
from rlfat_tf.attacks.passes import gradient_by
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.checks import logits_in
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Model, Tensor
from rlfat_tf.methods.objective import Batch
from rlfat_tf.methods.regularizers.base import Regularizer

STARTS = ("none", "uniform")


@keras.saving.register_keras_serializable("rlfat_tf")
class GradAlign(Regularizer):
    """1 - cos(g1, g2), per example: the input gradients of two points of the ball point alike.

    g1 is the gradient of CE(f(x + d), y) by the image and a constant; g2 is that of CE at
    x + U(-epsilon, epsilon), not clipped to [0, 1], and is differentiated by the weights (double
    back-propagation). d is 0 or another uniform draw. Where a gradient is 0 the term of the example
    is 0; the authors' mean leaves such examples out, so that theirs is the greater by their share.
    The labels are not smoothed. No term couples the examples of a batch.
    """

    term = "grad_align_loss"

    weight: float = number(
        0.2,
        "Weight of the regulariser in the objective, lambda; the default is the paper's for "
        "epsilon 8/255.",
        at_least=0,
    )
    start: str = choice(
        "none",
        STARTS,
        "Where the first of the two gradients is taken: none at the image itself, uniform at a "
        "random point of the ball.",
    )

    def __call__(self, model: Model, batch: Batch, *, training: bool) -> Tensor:
        """See :meth:`Regularizer.__call__`."""
        seed = random.as_seed(batch.seed).fold(random.number(self.term))
        labels = losses.without_smoothing(batch.labels)

        def gradient_at(points: Images) -> Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(points)
                logits = losses.as_float(logits_in(model(points, training=training)))
                loss = losses.cross_entropy(labels, logits)
            return gradient_by(tape, loss, points)

        first = batch.images
        if self.start == "uniform":
            first = first + self.noise(batch, seed.fold(1))
        fixed = tf.stop_gradient(gradient_at(first))
        free = gradient_at(batch.images + self.noise(batch, seed.fold(0)))
        axes = list(range(1, free.shape.rank))
        cosine = tf.reduce_sum(norms.normalise(fixed) * norms.normalise(free), axes)
        both = (norms.length(fixed) > 0) & (norms.length(free) > 0)
        return tf.where(both, 1.0 - cosine, tf.zeros_like(cosine))
