"""APGD, projected gradient ascent that finds its own step size, and its targeted form.

(Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, Algorithm 1.) Of every example by itself: the step starts at
2 epsilon and is halved, and the search goes back to its best point, at those checkpoints where it
has made too little progress.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.attacks.arguments import choice, count, number
from rlfat_tf.attacks.base import Averaging, Search, attack_remaining
from rlfat_tf.attacks.packing import repeat_for_remaining
from rlfat_tf.attacks.passes import Objective, gradient_of, value_of
from rlfat_tf.attacks.points import Ball, attack_score, choose, keep_better, random_point, wide
from rlfat_tf.attacks.targets import nearest_first, wrong_classes
from rlfat_tf.core import losses, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, Logits, LogitsFn, Tensor

MOMENTUM = 0.75  # alpha of the paper
LOSSES = ("ce", "dlr", "margin")
ORDERS = ("logits", "malt")
MALT_CANDIDATES = 100  # of the greatest logits, as in the paper


def checkpoints(steps: int) -> list[int]:
    """Returns after which steps the step size is reconsidered: w_j = ceil(p_j N), Section 3.1.

    p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06). (The authors' code rounds
    the lengths of the intervals down instead; at 100 steps both give nearly the same.)
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first: 0.41 * 100 is not to become 42.
    ends = {math.ceil(round(share * steps, 9)) for share in shares[1:]}
    return sorted(end for end in ends if end <= steps)


def ascend(
    look_at: Callable[[Tensor], Callable[[Images], tuple[Tensor, ...]]],
    ball: Ball,
    start: Images,
    *,
    steps: int,
    rho: float,
) -> Images:
    """Algorithm 1 from a start: the first misclassified point, else that of the greatest loss.

    Args:
        look_at: From rows of the start, [n], to how points [n, ...] of these examples are seen:
            their gradient [n, ...], their loss [n] and whether they are correctly classified,
            bool [n].
        ball: Where the points stay.
        start: x^(0), [batch, ...].
        steps: N.
        rho: Share of steps that must increase the loss between two checkpoints.
    """
    ends = [0, *checkpoints(steps)]
    interval = [0] * (steps + 1)  # after step k: how many steps since the last checkpoint, or 0
    for before, end in zip(ends, ends[1:]):
        interval[end] = end - before
    intervals = tf.constant(interval, tf.float32)

    def step_of(rows: Tensor) -> Callable[[Tensor, Any], Any]:
        return functools.partial(step, look_at(rows), ball.of(rows))

    def step(look: Any, ball: Ball, k: Tensor, state: tuple[Any, ...]) -> tuple[Any, ...]:
        (x, previous, loss, gradient), best, size, since, misclassified, correct = state
        best_x, best_loss, best_gradient = best
        # Since the last checkpoint: how often the loss rose. At it: whether the step size was
        # halved, and the greatest loss.
        increases, halved, greatest = since
        z = ball.step(x, gradient, wide(size, x))
        alpha = tf.where(k > 1, MOMENTUM, 1.0)
        new_x = ball.project(x + alpha * (z - x) + (1 - alpha) * (x - previous))
        new_gradient, new_loss, new_correct = look(new_x)
        increases += tf.cast(new_loss > loss, tf.float32)
        better = new_loss > best_loss
        best = (
            choose(better, new_x, best_x),
            tf.where(better, new_loss, best_loss),
            choose(better, new_gradient, best_gradient),
        )
        # The first misclassified point stays, so that nobody has to go on for others.
        misclassified = choose(correct & ~new_correct, new_x, misclassified)
        correct &= new_correct
        # Conditions 1 and 2 of the paper, at checkpoints.
        due = intervals[k] > 0
        stalled = ~halved & (greatest >= best[1])
        halve = due & ((increases < rho * intervals[k]) | stalled)
        now = (
            choose(halve, best[0], new_x),
            x,  # the momentum of a return is x_max - x^(k), as of any other step
            tf.where(halve, best[1], new_loss),
            choose(halve, best[2], new_gradient),
        )
        since = (
            tf.where(due, 0.0, increases),
            tf.where(due, halve, halved),
            tf.where(due, best[1], greatest),
        )
        return now, best, tf.where(halve, size / 2, size), since, misclassified, correct

    gradient, loss, correct = look_at(tf.range(tf.shape(start)[0]))(start)
    nothing = tf.zeros_like(loss)
    state = (
        (start, start, loss, gradient),
        (start, loss, gradient),
        nothing + 2 * ball.epsilon,
        (nothing, tf.zeros_like(correct), loss),  # w_0 = 0 is a checkpoint
        start,
        correct,
    )
    state = repeat_for_remaining(step_of, steps, state, lambda state: state[-1])
    _, best, _, _, misclassified, correct = state
    return tf.stop_gradient(choose(correct, best[0], misclassified))


class _APGD(Averaging, Search):
    """The restarts; a subclass names the losses."""

    aims = True
    steps: int = count(
        100, "Number of gradient steps for every loss; each is one pass forward and back."
    )
    restarts: int = count(
        1, "Number of random starts; each runs on the images that no earlier start has broken."
    )
    rho: float = number(
        0.75,
        "Share of the steps between two checkpoints that must increase the loss; otherwise the "
        "step size is halved.",
        above=0,
        at_most=1,
    )

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        labels = losses.class_ids(labels)
        aims = self._aims(logits_fn, images, labels)
        how: dict[str, Any] = {"eot": self.eot, "stops": self.stops}

        def restart(number: Tensor, found: Images) -> tuple[Tensor, Images]:
            def attempt(
                images: Images, labels: Labels, before: Images, seed: random.Seed, aims: Tensor
            ) -> Images:
                # The targets change from start to start, and after the last begin again.
                aim = tf.gather(aims, number % aims.shape[1], axis=1)
                start = random_point(self.norm, images, self.epsilon, seed.fold(number))

                def look_at(rows: Tensor) -> Callable[[Images], tuple[Tensor, ...]]:
                    label = tf.gather(labels, rows)
                    return functools.partial(
                        gradient_of,
                        logits_fn,
                        self._objective(label, tf.gather(aim, rows)),
                        labels=label,
                        **how,
                    )

                ball = Ball(images, self.norm, self.epsilon)
                after = ascend(look_at, ball, start, steps=self.steps, rho=self.rho)
                compare = self._comparison(labels, aim)

                def scored(points: Images) -> tuple[Images, Tensor]:
                    seen = value_of(logits_fn, compare, points, labels, **how)
                    return points, attack_score(*seen)

                return keep_better(scored(before), scored(after))[0]

            found = attack_remaining(attempt, logits_fn, images, labels, seed, found, aims, **how)
            return number + 1, found

        total = self.restarts * aims.shape[1]
        return tf.while_loop(
            lambda number, _: number < total, restart, (0, images), parallel_iterations=1
        )[1]

    def _aims(self, logits_fn: LogitsFn, images: Images, labels: Labels) -> Tensor:
        """The classes that the losses of every example aim at, integers [batch, losses]."""
        return labels[:, None]

    def _objective(self, labels: Labels, aim: Labels) -> Objective:
        """From logits to the loss that aims at these classes."""
        raise TypeError(f"{type(self).__name__} does not implement _objective().")

    def _comparison(self, labels: Labels, aim: Labels) -> Objective:
        """By which loss the ends of two starts are compared."""
        return self._objective(labels, aim)


@keras.saving.register_keras_serializable("rlfat_tf")
class APGD(_APGD):
    """Auto-PGD on one loss, which finds its step size; in AutoAttack on the cross entropy."""

    loss: str = choice(
        "ce",
        LOSSES,
        "Loss that the attack ascends: 'ce', 'dlr', or 'margin', the best wrong logit minus the "
        "true one.",
    )

    def _objective(self, labels: Labels, aim: Labels) -> Objective:
        if self.loss == "margin":
            return lambda logits: losses.negative_margin(labels, logits)
        return losses.attack_loss(self.loss, lambda: None, labels)  # none reads clean logits


@keras.saving.register_keras_serializable("rlfat_tf")
class APGDT(_APGD):
    """APGD on the targeted DLR loss, for one target class after the other.

    Targets are wrong classes in an order that is found at the clean image. With fewer than 4
    classes, where that loss has no meaning, the plain difference of logits replaces it.
    """

    targets: int = count(9, "Number of target classes, at most the number of classes minus one.")
    order: str = choice(
        "logits",
        ORDERS,
        "Order of the target classes: 'logits' starts with the greatest logits; 'malt' with the "
        "classes whose border would be nearest if the network were linear, which costs one "
        "gradient for each of the 100 greatest logits.",
    )

    def _aims(self, logits_fn: LogitsFn, images: Images, labels: Labels) -> Tensor:
        logits = logits_fn(images)
        order = wrong_classes(logits, labels)
        if self.order == "malt":
            order = order[:, : max(MALT_CANDIDATES, self.targets)]
            # A label may be no class; such an example is wrong already, and nobody asks.
            known = tf.where((labels >= 0) & (labels < logits.shape[-1]), labels, 0)
            order = nearest_first(logits_fn, images, known, order, norm=self.norm, eot=self.eot)
        return order[:, : self.targets]

    def _objective(self, labels: Labels, aim: Labels) -> Objective:
        def loss(logits: Logits) -> Tensor:
            few = logits.shape[-1] < 4
            return (losses.targeted_negative_margin if few else losses.targeted_dlr)(
                labels, aim, logits
            )

        return loss

    def _comparison(self, labels: Labels, aim: Labels) -> Objective:
        # Losses of different targets do not compare; negative margins do.
        return lambda logits: losses.negative_margin(labels, logits)
