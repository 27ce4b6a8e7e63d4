"""Projected gradient descent; its one-step cases are in :mod:`rlfat_tf.attacks.one_step`.

x'_0 = x + start;  x'_{t+1} = clip_{[0, 1]}(x + Proj_B(x'_t + a * direction(grad L(x'_t)) - x))

(Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018; RLFAT,
Eq. 1.) The start is not clipped to [0, 1] before the first gradient, as in the code of RLFAT and
TRADES, unless ``clip_start`` says so; every later point is. Where the best point is kept, the start
is one and is clipped too.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import (
    choice,
    count,
    fixed,
    fixed_length,
    start_kind,
    step_length,
    switch,
)
from rlfat_tf.attacks.base import Averaging
from rlfat_tf.attacks.passes import gradient_of, repeat, value_of
from rlfat_tf.attacks.points import Ball, attack_score, keep_better
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, LogitsFn, Tensor

KEEPS = ("last", "best")


@keras.saving.register_keras_serializable("rlfat_tf")
class PGD(Averaging):
    """Projected gradient ascent on a loss of the logits."""

    steps: int = count(10, "Number of gradient steps.")
    step_size: float = step_length(
        "Length of a step. Default: 2.5 * epsilon / steps.",
        derive=lambda attack: 2.5 * attack.epsilon / attack.steps,
    )
    random_start: str | None = start_kind(
        None,
        "Random start: 'uniform' in the ball, 'gaussian' (0.001 N(0, 1)), 'none', or in the "
        "norm 'l2' 'radial', a random direction with a length uniform in [0, epsilon]. Default: "
        "that of the training method, otherwise 'uniform'.",
    )
    clip_start: bool = switch(
        False, "Whether the start is clipped to [0, 1] before the first gradient."
    )
    restarts: int = count(
        1,
        "Number of random starts. For each image the result with the greatest loss is kept, and "
        "a misclassified one before any other.",
    )
    keep: str = choice(
        "last",
        KEEPS,
        "Which point of a start is its result: 'last' the last one, as in training; 'best' the "
        "one with the greatest loss, and a misclassified one before any other, which costs one "
        "more pass.",
    )
    loss: str | None = choice(
        None,
        losses.ATTACK_LOSSES,
        "Loss that the attack ascends: 'ce', 'kl', 'margin', 'dlr' or 'lse', see "
        "rlfat_tf.core.losses.attack_loss. Default: that of the training method, otherwise "
        "'ce'.",
    )

    scales = True
    aims = True
    start_radius: float = fixed_length(lambda attack: attack.epsilon)
    start_deviation: float = fixed_length(norms.GAUSSIAN_START)
    reach: float = fixed_length(lambda attack: attack.epsilon)

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        objective = losses.attack_loss(self.loss or "ce", lambda: logits_fn(images), labels)

        ball = Ball(images, self.norm, self.reach)
        asked = labels if self.keep == "best" else None

        def look(points: Images) -> tuple[Tensor, ...]:
            return gradient_of(
                logits_fn, objective, points, labels=asked, eot=self.eot, unroll=unroll
            )

        def scored(points: Images) -> tuple[Images, Tensor]:
            seen = value_of(logits_fn, objective, points, labels, eot=self.eot, unroll=unroll)
            return points, attack_score(*seen)

        def ascend(seed: random.Seed) -> Images:
            last, *best = self._ascend(look, ball, seed, unroll)
            return keep_better(best, scored(last))[0] if best else last

        first = ascend(seed.fold(0))
        if self.restarts == 1:
            return first

        def restart(number: Tensor, *best: Any) -> Any:
            return number + 1, *keep_better(best, scored(ascend(seed.fold(number))))

        return repeat(restart, self.restarts - 1, (1, *scored(first)), unroll)[1]

    def _ascend(self, look: Any, ball: Ball, seed: random.Seed, unroll: bool) -> tuple[Any, ...]:
        """Takes the steps from one start.

        Returns:
            The last point and, where the best one is kept, the best of those before and its score.
        """
        images, kind = ball.images, self.random_start or "uniform"
        start = images + norms.get(ball.norm).random_start(
            images, self.start_radius, kind, seed, self.start_deviation
        )
        if self.clip_start or self.keep == "best":
            start = tf.clip_by_value(start, 0.0, 1.0)

        def step(adversarial: Images, *best: Any) -> tuple[Any, ...]:
            gradient, *seen = look(adversarial)
            if best:
                best = keep_better(best, (adversarial, attack_score(*seen)))
            # No gradient of the weights' loss ever goes back through the attack.
            return tf.stop_gradient(ball.step(adversarial, gradient, self.step_size)), *best

        if self.keep == "last":
            return tuple(repeat(step, self.steps, (start,), unroll))
        # The clean images are the first candidate: in the ball, and never better than a success.
        none = tf.fill([tf.shape(images)[0]], tf.constant(-math.inf, tf.float32))
        return tuple(repeat(step, self.steps, (start, images, none), unroll))


@keras.saving.register_keras_serializable("rlfat_tf")
class LinfPGD(PGD):
    """:class:`PGD` in the maximum norm."""

    norm: str = fixed("linf")


@keras.saving.register_keras_serializable("rlfat_tf")
class L2PGD(PGD):
    """:class:`PGD` in the Euclidean norm, where epsilon is a length over all pixels."""

    norm: str = fixed("l2")


PGD_IN_NORM: dict[str, type[PGD]] = {"linf": LinfPGD, "l2": L2PGD}
