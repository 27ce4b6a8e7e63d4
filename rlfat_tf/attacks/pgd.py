"""Projected gradient descent and its one-step case.

x'_0 = x + start;  x'_{t+1} = clip_{[0, 1]}(x + Proj_B(x'_t + a * direction(grad L(x'_t)) - x))

(Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018; RLFAT,
Eq. 1.) The start is not clipped to [0, 1] before the first gradient, as in the code of RLFAT and
TRADES; every later point is.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from rlfat_tf import losses, norms, random
from rlfat_tf.attacks.base import Attack, LogitsFn
from rlfat_tf.compat import keras
from rlfat_tf.errors import unknown


def check_epsilon(epsilon: float, norm: str) -> None:
    """Refuses a radius that is not in units of [0, 1] pixels.

    Raises:
        ValueError: If epsilon is negative or not finite, or above 1 in the maximum norm.
    """
    if not math.isfinite(epsilon) or epsilon < 0:
        raise ValueError(f"Expected a finite epsilon >= 0; received {epsilon}.")
    if norm == "linf" and epsilon > 1:
        raise ValueError(
            f"Expected epsilon in units of pixels in [0, 1]; received {epsilon}. "
            f"Did you mean {epsilon:g}/255?"
        )


@keras.saving.register_keras_serializable("rlfat_tf")
class PGD(Attack):
    """Projected gradient ascent on a loss of the logits.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        epsilon: Radius of the ball, in units of pixels in [0, 1].
        steps: Number of gradient steps, at least 1.
        step_size: Length of a step; default 2.5 * epsilon / steps.
        random_start: ``"uniform"`` in the ball, ``"gaussian"`` (0.001 N(0, 1)) or ``"none"``.
            Default: what the training method asks for, else ``"uniform"``.
        restarts: How many times to start; of each example the point with the greatest loss is
            kept, a misclassified one before any other. One restart returns the last point.
        loss: ``"ce"``, ``"kl"`` or ``"margin"``, see :func:`rlfat_tf.losses.attack_loss`.
            Default: what the training method asks for, else ``"ce"``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        norm: str = "linf",
        epsilon: float = 8 / 255,
        steps: int = 10,
        step_size: float | None = None,
        random_start: str | None = None,
        restarts: int = 1,
        loss: str | None = None,
    ):
        norms.get(norm)
        check_epsilon(epsilon, norm)
        for name, count in (("steps", steps), ("restarts", restarts)):
            if int(count) != count or count < 1:
                raise ValueError(f"Expected {name} to be an integer of at least 1; got {count}.")
        step_size = 2.5 * epsilon / steps if step_size is None else step_size
        # A ball of radius 0 has room for no step.
        if not math.isfinite(step_size) or step_size < 0 or step_size == 0 < epsilon:
            raise ValueError(f"Expected a step_size above 0; received {step_size}.")
        if random_start is not None and random_start not in norms.STARTS:
            raise unknown("random start", random_start, norms.STARTS)
        if loss is not None and loss not in losses.ATTACK_LOSSES:
            raise unknown("attack loss", loss, losses.ATTACK_LOSSES)
        super().__init__(
            norm=norm,
            epsilon=float(epsilon),
            steps=int(steps),
            step_size=float(step_size),
            random_start=random_start,
            restarts=int(restarts),
            loss=loss,
        )

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """See :meth:`Attack.__call__`."""
        objective = losses.attack_loss(self.loss or "ce", lambda: logits_fn(images), labels)
        adversarial = self._ascend(logits_fn, objective, images, seed.fold(0), unroll)
        if self.restarts == 1:
            return adversarial
        best = adversarial, self._score(logits_fn, objective, adversarial, labels)

        def restart(number: Any, best_images: Any, best_score: Any) -> Any:
            found = self._ascend(logits_fn, objective, images, seed.fold(number), unroll)
            score = self._score(logits_fn, objective, found, labels)
            better = tf.reshape(score > best_score, [-1] + [1] * (images.shape.rank - 1))
            kept = tf.where(better, found, best_images), tf.maximum(score, best_score)
            return number + 1, *kept

        return _repeat(restart, self.restarts - 1, (1, *best), unroll)[1]

    def _ascend(
        self, logits_fn: LogitsFn, objective: Any, images: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """Runs the steps from one start."""
        norm = norms.get(self.norm)
        start = norm.random_start(images, self.epsilon, self.random_start or "uniform", seed)

        def step(number: Any, adversarial: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(adversarial)
                loss = tf.reduce_sum(objective(logits_fn(adversarial)))
            direction = norm.step(tape.gradient(loss, adversarial))
            delta = norm.project(adversarial + self.step_size * direction - images, self.epsilon)
            # No gradient of the weights' loss ever goes back through the attack.
            return number + 1, tf.stop_gradient(tf.clip_by_value(images + delta, 0.0, 1.0))

        return _repeat(step, self.steps, (0, images + start), unroll)[1]

    @staticmethod
    def _score(logits_fn: LogitsFn, objective: Any, images: Any, labels: Any) -> Any:
        """Ranks points: misclassified ones first, by their loss among themselves."""
        logits = logits_fn(images)
        wrong = tf.argmax(logits, -1, output_type=tf.int32) != losses.class_ids(labels)
        value = tf.math.atan(objective(logits))  # monotone and bounded, so that `wrong` decides
        return value + 4.0 * tf.cast(wrong, value.dtype)


def _repeat(body: Any, times: int, state: Any, unroll: bool) -> Any:
    """Applies ``body`` to the state, as one graph loop or laid out."""
    if unroll:
        for _ in range(times):
            state = body(*state)
        return state
    return tf.while_loop(
        lambda *_: True, body, state, maximum_iterations=times, parallel_iterations=1
    )


def LinfPGD(**arguments: Any) -> PGD:  # noqa: N802 - reads like the class that it makes
    """:class:`PGD` in the maximum norm."""
    return PGD(norm="linf", **arguments)


def L2PGD(**arguments: Any) -> PGD:  # noqa: N802
    """:class:`PGD` in the Euclidean norm; epsilon is a Euclidean length over all pixels."""
    return PGD(norm="l2", **arguments)


def FGSM(*, epsilon: float = 8 / 255, **arguments: Any) -> PGD:  # noqa: N802
    """The fast gradient sign method: one step of length epsilon from the image itself.

    (Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015.)
    """
    one_step = {"steps": 1, "step_size": epsilon, "random_start": "none", **arguments}
    return PGD(epsilon=epsilon, **one_step)
