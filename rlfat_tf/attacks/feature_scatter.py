"""The attack of Feature Scattering: one step that moves a batch away from itself, without labels.

(Zhang & Wang, "Defense Against Adversarial Attacks Using Feature Scattering-based Adversarial
Training", NeurIPS 2019; steps and constants as in the authors' code.)
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import check_epsilon
from rlfat_tf.attacks.base import Attack, LogitsFn
from rlfat_tf.attacks.passes import gradient_by
from rlfat_tf.core import norms, random, transport
from rlfat_tf.core.compat import keras


@keras.saving.register_keras_serializable("rlfat_tf")
class FeatureScatter(Attack):
    """One step of length epsilon that ascends the optimal transport distance of the logits.

    x_0 = x + U(-epsilon, epsilon), not clipped; x' = clip(x_0 + epsilon sign(grad D)) with
    D(f(x), f(x_0)) the entropic transport distance under the cosine cost. It couples the examples
    of a batch; on several replicas each one couples its own.

    Args:
        epsilon: Radius of the L-inf ball, in units of pixels in [0, 1].
        regularization: Of the transport plan.
        iterations: Of Sinkhorn's algorithm, at most.
    """

    reads_labels = False

    def __init__(
        self, *, epsilon: float = 8 / 255, regularization: float = 0.01, iterations: int = 100
    ):
        check_epsilon(epsilon, "linf")
        if not regularization > 0 or iterations < 1:
            raise ValueError(
                "Expected regularization above 0 and iterations of at least 1; received "
                f"{regularization} and {iterations}."
            )
        super().__init__(
            epsilon=float(epsilon),
            regularization=float(regularization),
            iterations=int(iterations),
        )

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`; labels are not read."""
        ball = norms.get("linf")
        clean = tf.stop_gradient(logits_fn(images))
        start = images + ball.random_start(images, self.epsilon, "uniform", seed)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(start)
            distance = transport.transport_distance(
                clean,
                logits_fn(start),
                regularization=self.regularization,
                iterations=self.iterations,
            )
        step = self.epsilon * tf.sign(gradient_by(tape, distance, start))
        delta = ball.project(start + step - images, self.epsilon)
        return tf.clip_by_value(images + delta, 0.0, 1.0)
