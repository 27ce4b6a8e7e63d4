"""Projected gradient descent and its one-step case.

x'_0 = x + start;  x'_{t+1} = clip_{[0, 1]}(x + Proj_B(x'_t + a * direction(grad L(x'_t)) - x))

(Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018; RLFAT,
Eq. 1.) The start is not clipped to [0, 1] before the first gradient, as in the code of RLFAT and
TRADES; every later point is. Where the best point is kept, the start is one and is clipped too.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import choice, count, fixed, step_length
from rlfat_tf.attacks.base import Averaging, LogitsFn
from rlfat_tf.attacks.passes import Objective, gradient_of, repeat, value_of
from rlfat_tf.attacks.points import attack_score, keep_better
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.compat import keras

KEEPS = ("last", "best")


@keras.saving.register_keras_serializable("rlfat_tf")
class PGD(Averaging):
    """Projected gradient ascent on a loss of the logits."""

    steps: int = count(10, "Number of gradient steps.")
    step_size: float = step_length(
        "Length of a step; default 2.5 * epsilon / steps.",
        derive=lambda attack: 2.5 * attack.epsilon / attack.steps,
    )
    random_start: str | None = choice(
        None,
        norms.STARTS,
        "'uniform' in the ball, 'gaussian' (0.001 N(0, 1)) or 'none'. Default: what the training "
        "method asks for, else 'uniform'.",
    )
    restarts: int = count(
        1,
        "How many times to start; of each example the point with the greatest loss is kept, a "
        "misclassified one before any other.",
    )
    keep: str = choice(
        "last",
        KEEPS,
        "Of one start: 'last' returns its last point, as training wants it; 'best' the one of the "
        "greatest loss, a misclassified one before any other, for one more pass.",
    )
    loss: str | None = choice(
        None,
        losses.ATTACK_LOSSES,
        "'ce', 'kl', 'margin' or 'dlr', see rlfat_tf.core.losses.attack_loss. Default: what the "
        "training method asks for, else 'ce'.",
    )

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        objective = losses.attack_loss(self.loss or "ce", lambda: logits_fn(images), labels)

        def scored(points: Any) -> Any:
            seen = value_of(logits_fn, objective, points, labels, eot=self.eot, unroll=unroll)
            return points, attack_score(*seen)

        def ascend(seed: random.Seed) -> Any:
            return self._ascend(logits_fn, objective, scored, images, labels, seed, unroll)

        first = ascend(seed.fold(0))
        if self.restarts == 1:
            return first

        def restart(number: Any, *best: Any) -> Any:
            return number + 1, *keep_better(best, scored(ascend(seed.fold(number))))

        return repeat(restart, self.restarts - 1, (1, *scored(first)), unroll)[1]

    def _ascend(
        self,
        logits_fn: LogitsFn,
        objective: Objective,
        scored: Any,
        images: Any,
        labels: Any,
        seed: random.Seed,
        unroll: bool,
    ) -> Any:
        """Runs the steps from one start."""
        norm = norms.get(self.norm)
        start = norm.random_start(images, self.epsilon, self.random_start or "uniform", seed)

        def step(number: Any, adversarial: Any, *best: Any) -> Any:
            asked = labels if best else None
            gradient, *seen = gradient_of(
                logits_fn, objective, adversarial, labels=asked, eot=self.eot, unroll=unroll
            )
            if best:
                best = keep_better(best, (adversarial, attack_score(*seen)))
            ahead = adversarial + self.step_size * norm.step(gradient)
            delta = norm.project(ahead - images, self.epsilon)
            # No gradient of the weights' loss ever goes back through the attack.
            return number + 1, tf.stop_gradient(tf.clip_by_value(images + delta, 0.0, 1.0)), *best

        if self.keep == "last":
            return repeat(step, self.steps, (0, images + start), unroll)[1]
        # The clean images are the first candidate: in the ball, and never better than a success.
        start = tf.clip_by_value(images + start, 0.0, 1.0)
        none = tf.fill([tf.shape(images)[0]], tf.constant(-math.inf, tf.float32))
        _, last, *best = repeat(step, self.steps, (0, start, images, none), unroll)
        return keep_better(best, scored(last))[0]


@keras.saving.register_keras_serializable("rlfat_tf")
class LinfPGD(PGD):
    """:class:`PGD` in the maximum norm."""

    norm: str = fixed("linf")


@keras.saving.register_keras_serializable("rlfat_tf")
class L2PGD(PGD):
    """:class:`PGD` in the Euclidean norm, where epsilon is a length over all pixels."""

    norm: str = fixed("l2")


@keras.saving.register_keras_serializable("rlfat_tf")
class FGSM(PGD):
    """The fast gradient sign method: one step of length epsilon from the image itself.

    (Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015.)
    """

    steps: int = fixed(1)
    step_size: float = step_length(
        "Length of the step; default epsilon.", derive=lambda attack: attack.epsilon
    )
    random_start: str | None = choice("none", norms.STARTS, "Where the step starts, as in PGD.")
