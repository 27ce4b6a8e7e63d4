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

from rlfat_tf.attacks.arguments import choice, count, number, step_length
from rlfat_tf.attacks.base import Averaging, Search, attack_remaining
from rlfat_tf.attacks.passes import gradient_of, repeat, value_of
from rlfat_tf.attacks.points import Ball, attack_score, keep_better
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, LogitsFn, Tensor

LOSSES = ("ce", "dlr", "margin")  # not "kl", whose gradient is 0 at the image, where it starts


@keras.saving.register_keras_serializable("rlfat_tf")
class MIM(Averaging, Search):
    """Projected gradient ascent with momentum, from the image itself.

    Of all its points the one of the greatest loss is returned, a misclassified one before any
    other. It draws nothing: of a deterministic classifier, the same images always give the same
    examples.
    """

    aims = True
    steps: int = count(20, "Number of gradient steps.")
    step_size: float = step_length(
        "Length of a step. Default: 2.5 * epsilon / steps.",
        derive=lambda attack: 2.5 * attack.epsilon / attack.steps,
    )
    decay: float = number(
        1.0,
        "Share of the accumulated gradient that is kept from step to step: 0 is PGD, 1 keeps "
        "all of it.",
        at_least=0,
    )
    loss: str = choice(
        "ce",
        LOSSES,
        "Loss that the attack ascends: 'ce', 'dlr' or 'margin', see "
        "rlfat_tf.core.losses.attack_loss.",
    )

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""

        def attempt(images: Images, labels: Labels, _: Images, __: random.Seed) -> Images:
            return self._ascend(logits_fn, images, labels)

        how: dict[str, Any] = {"eot": self.eot, "stops": self.stops}
        labels = losses.class_ids(labels)
        return attack_remaining(attempt, logits_fn, images, labels, seed, images, **how)

    def _ascend(self, logits_fn: LogitsFn, images: Images, labels: Labels) -> Images:
        ball, linf = Ball(images, self.norm, self.epsilon), norms.get("linf")
        objective = losses.attack_loss(self.loss, lambda: logits_fn(images), labels)
        how: dict[str, Any] = {"eot": self.eot, "stops": self.stops}
        axes = list(range(1, images.shape.rank))

        def step(point: Images, momentum: Tensor, *best: Tensor) -> tuple[Tensor, ...]:
            gradient, *seen = gradient_of(logits_fn, objective, point, labels=labels, **how)
            best = keep_better(best, (point, attack_score(*seen)))
            gradient = linf.normalise(gradient)  # so that no mean of what follows is 0
            size = tf.reduce_mean(tf.abs(gradient), axes, keepdims=True)
            momentum = self.decay * momentum + tf.math.divide_no_nan(gradient, size)
            return ball.step(point, momentum, self.step_size), momentum, *best

        none = tf.zeros_like(labels, tf.float32) - math.inf
        state = (images, tf.zeros_like(images), images, none)
        last, _, *best = repeat(step, self.steps, state, unroll=False)
        seen = value_of(logits_fn, objective, last, labels, **how)
        return keep_better(best, (last, attack_score(*seen)))[0]
