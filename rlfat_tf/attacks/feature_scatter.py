"""The attack of Feature Scattering: one step that moves a batch away from itself, without labels.

(Zhang & Wang, "Defense Against Adversarial Attacks Using Feature Scattering-based Adversarial
Training", NeurIPS 2019; steps and constants as in the authors' code.)
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks.arguments import count, fixed, size
from rlfat_tf.attacks.base import Bounded
from rlfat_tf.attacks.passes import gradient_by
from rlfat_tf.attacks.points import Ball
from rlfat_tf.core import norms, random, transport
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, LogitsFn


@keras.saving.register_keras_serializable("rlfat_tf")
class FeatureScatter(Bounded):
    """One step of length epsilon that ascends the optimal transport distance of the logits.

    x_0 = x + U(-epsilon, epsilon), not clipped; x' = clip(x_0 + epsilon sign(grad D)) with
    D(f(x), f(x_0)) the entropic transport distance under the cosine cost. It couples the examples
    of a batch; on several replicas each one couples its own.
    """

    reads_labels = False
    scales = True

    norm: str = fixed("linf")
    regularization: float = size(0.01, "Of the transport plan.")
    iterations: int = count(100, "Of Sinkhorn's algorithm, at most.")

    def run(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, unroll: bool
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`; labels are not read."""
        clean = tf.stop_gradient(logits_fn(images))
        draw = norms.get(self.norm).random_start(images, self.epsilon, "uniform", seed)
        start = images + draw
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(start)
            distance = transport.transport_distance(
                clean,
                logits_fn(start),
                regularization=self.regularization,
                iterations=self.iterations,
            )
        ball = Ball(images, self.norm, self.epsilon)
        return ball.step(start, gradient_by(tape, distance, start), self.epsilon)
