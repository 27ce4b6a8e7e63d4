"""The momentum iterative method: gradient ascent along an average of the gradients so far.

    g_{t+1} = decay * g_t + grad L(x_t) / ||grad L(x_t)||_1
    x_{t+1} = clip_{[0, 1]}(x + Proj_B(x_t + a * direction(g_{t+1}) - x)),   x_0 = x, g_0 = 0

(Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018, Algorithm 1, and its form for
the Euclidean ball.) In place of the L1 norm stands the mean of the absolute values, as in the
authors' program: a factor common to all g, which no direction depends on.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import check_epsilon, check_positive
from rlfat_tf.attacks.base import LogitsFn, Search, attack_remaining
from rlfat_tf.attacks.passes import gradient_of, repeat, value_of
from rlfat_tf.attacks.points import attack_score, keep_better
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown

LOSSES = ("ce", "dlr", "margin")  # not "kl", whose gradient is 0 at the image, where it starts


@keras.saving.register_keras_serializable("rlfat_tf")
class MIM(Search):
    """Projected gradient ascent with momentum, from the image itself.

    Of all its points the one of the greatest loss is returned, a misclassified one before any
    other. It draws nothing: of a deterministic classifier, the same images always give the same
    examples.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        epsilon: Radius of the ball, in units of pixels in [0, 1]; default 8 / 255, in ``"l2"`` 0.5.
        steps: Number of gradient steps.
        step_size: Length of a step; default 2.5 * epsilon / steps.
        decay: How much of the average is kept from step to step; 0 is PGD, 1 forgets nothing.
        loss: ``"ce"``, ``"dlr"`` or ``"margin"``: :func:`rlfat_tf.core.losses.attack_loss`.
        eot: As in :class:`PGD`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        norm: str = "linf",
        epsilon: float | None = None,
        steps: int = 20,
        step_size: float | None = None,
        decay: float = 1.0,
        loss: str = "ce",
        eot: int = 1,
    ):
        epsilon = check_epsilon(epsilon, norm)
        check_positive(
            {"steps": steps, "eot": eot}, {} if step_size is None else {"step_size": step_size}
        )
        if not math.isfinite(decay) or decay < 0:
            raise ValueError(f"Expected a finite decay of at least 0; received {decay}.")
        if loss not in LOSSES:
            raise unknown("loss of MIM:", loss, LOSSES)
        super().__init__(
            norm=norm,
            epsilon=epsilon,
            steps=int(steps),
            step_size=2.5 * epsilon / steps if step_size is None else float(step_size),
            decay=float(decay),
            loss=loss,
            eot=int(eot),
        )

    def search(self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed) -> Any:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""

        def attempt(images: Any, labels: Any, _: Any, __: random.Seed) -> Any:
            return self._ascend(logits_fn, images, labels)

        return attack_remaining(attempt, logits_fn, images, losses.class_ids(labels), seed, images)

    def _ascend(self, logits_fn: LogitsFn, images: Any, labels: Any) -> Any:
        norm = norms.get(self.norm)
        objective = losses.attack_loss(self.loss, lambda: logits_fn(images), labels)
        axes = list(range(1, images.shape.rank))

        def step(point: Any, momentum: Any, *best: Any) -> Any:
            gradient, *seen = gradient_of(logits_fn, objective, point, labels=labels, eot=self.eot)
            best = keep_better(best, (point, attack_score(*seen)))
            size = tf.reduce_mean(tf.abs(gradient), axes, keepdims=True)
            momentum = self.decay * momentum + tf.math.divide_no_nan(gradient, size)
            ahead = point + self.step_size * norm.step(momentum)
            delta = norm.project(ahead - images, self.epsilon)
            return tf.clip_by_value(images + delta, 0.0, 1.0), momentum, *best

        none = tf.zeros_like(labels, tf.float32) - math.inf
        state = (images, tf.zeros_like(images), images, none)
        last, _, *best = repeat(step, self.steps, state, unroll=False)
        seen = value_of(logits_fn, objective, last, labels, eot=self.eot)
        return keep_better(best, (last, attack_score(*seen)))[0]
