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

from rlfat_tf.attacks.arguments import check_counts, check_epsilon
from rlfat_tf.attacks.base import Attack, LogitsFn
from rlfat_tf.attacks.passes import Objective, gradient_of, repeat, value_of
from rlfat_tf.attacks.points import attack_score, keep_better
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown

KEEPS = ("last", "best")


@keras.saving.register_keras_serializable("rlfat_tf")
class PGD(Attack):
    """Projected gradient ascent on a loss of the logits.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        epsilon: Radius of the ball, in units of pixels in [0, 1]; default 8 / 255, in ``"l2"`` 0.5.
        steps: Number of gradient steps, at least 1.
        step_size: Length of a step; default 2.5 * epsilon / steps.
        random_start: ``"uniform"`` in the ball, ``"gaussian"`` (0.001 N(0, 1)) or ``"none"``.
            Default: what the training method asks for, else ``"uniform"``.
        restarts: How many times to start; of each example the point with the greatest loss is
            kept, a misclassified one before any other.
        keep: Of one start: ``"last"`` returns its last point, as training wants it; ``"best"``
            the one of the greatest loss, a misclassified one before any other, for one more pass.
        loss: ``"ce"``, ``"kl"``, ``"margin"`` or ``"dlr"``, see
            :func:`rlfat_tf.core.losses.attack_loss`. Default: what the training method asks for,
            else ``"ce"``.
        eot: For randomised classifiers: passes that every loss and gradient is a mean of. What is
            misclassified is then what is so in every pass. (Of ``"kl"``, p(x) is that of one pass.)

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        norm: str = "linf",
        epsilon: float | None = None,
        steps: int = 10,
        step_size: float | None = None,
        random_start: str | None = None,
        restarts: int = 1,
        keep: str = "last",
        loss: str | None = None,
        eot: int = 1,
    ):
        epsilon = check_epsilon(epsilon, norm)
        check_counts(steps=steps, restarts=restarts, eot=eot)
        step_size = 2.5 * epsilon / steps if step_size is None else step_size
        # A ball of radius 0 has room for no step.
        if not math.isfinite(step_size) or step_size < 0 or step_size == 0 < epsilon:
            raise ValueError(f"Expected a step_size above 0; received {step_size}.")
        if random_start is not None and random_start not in norms.STARTS:
            raise unknown("random start", random_start, norms.STARTS)
        if keep not in KEEPS:
            raise unknown("value of keep:", keep, KEEPS)
        if loss is not None and loss not in losses.ATTACK_LOSSES:
            raise unknown("attack loss", loss, losses.ATTACK_LOSSES)
        super().__init__(
            norm=norm,
            epsilon=epsilon,
            steps=int(steps),
            step_size=float(step_size),
            random_start=random_start,
            restarts=int(restarts),
            keep=keep,
            loss=loss,
            eot=int(eot),
        )

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """See :meth:`Attack.__call__`."""
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


def LinfPGD(**arguments: Any) -> PGD:  # noqa: N802 - reads like the class that it makes
    """:class:`PGD` in the maximum norm."""
    return PGD(norm="linf", **arguments)


def L2PGD(**arguments: Any) -> PGD:  # noqa: N802
    """:class:`PGD` in the Euclidean norm; epsilon is a length over all pixels, 0.5 by default."""
    return PGD(norm="l2", **arguments)


def FGSM(*, epsilon: float | None = None, **arguments: Any) -> PGD:  # noqa: N802
    """The fast gradient sign method: one step of length epsilon from the image itself.

    (Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015.)
    """
    epsilon = check_epsilon(epsilon, arguments.get("norm", "linf"))
    one_step = {"steps": 1, "step_size": epsilon, "random_start": "none", **arguments}
    return PGD(epsilon=epsilon, **one_step)
