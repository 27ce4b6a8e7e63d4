"""Carlini & Wagner: the nearest adversarial example, by a change of variable and a search over c.

    min_w  D(x'(w), x) + c * f(x'(w)),     f = max(z_y - max_{j != y} z_j + confidence, 0)

(Carlini & Wagner, "Towards Evaluating the Robustness of Neural Networks", S&P 2017, Section V and
VI-A, with f_6 for untargeted attacks.) ``x'(w) = middle + half * tanh(w)`` never leaves its box, so
that Adam may run free; for every example c rises tenfold until an example is found and is bisected
from then on. :class:`CWL2` takes [0, 1] for the box, :class:`CWTanh` what of it is within epsilon.

The optimisation draws nothing: the same images always give the same examples.
"""

from __future__ import annotations

import math

import tensorflow as tf

from rlfat_tf.attacks.arguments import count, fixed, number, size
from rlfat_tf.attacks.base import Bounded, Search, attack_remaining, is_correct
from rlfat_tf.attacks.passes import gradient_by, repeat
from rlfat_tf.attacks.points import adam, keep_better
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, LogitsFn, Tensor

# tanh reaches the borders of the box at infinity only: the start keeps this far from them.
BORDER = 1e-6


def squared_l2(delta: Tensor) -> Tensor:
    """||delta||_2^2 per example: the distance of Carlini & Wagner."""
    return tf.reduce_sum(tf.square(delta), axis=list(range(1, delta.shape.rank)))


def l2(delta: Tensor) -> Tensor:
    """||delta||_2 per example, of gradient 0 at 0: the distance of RLFAT, Eq. 2."""
    return norms.length(delta)


class _CarliniWagner(Search):
    """The optimisation in all of [0, 1]; a subclass may name another box and distance."""

    aims = True
    ends_at_border = True
    _distance = staticmethod(squared_l2)

    confidence: float = number(
        0.0, "Margin by which the wrong logit is to exceed the true one.", at_least=0
    )
    steps: int = count(1000, "Number of Adam's steps for each constant c.")
    binary_search_steps: int = count(9, "Number of constants c that are tried.")
    learning_rate: float = size(
        0.01,
        "Learning rate of Adam, in units of w: a pixel at the border of [0, 1] starts at |w| = "
        "7.25.",
    )
    initial_const: float = size(1e-3, "First constant c.")

    def _box(self, images: Images) -> tuple[Tensor, Tensor]:
        """Returns the least and the greatest value of every pixel."""
        return tf.zeros_like(images), tf.ones_like(images)

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""

        def attempt(images: Images, labels: Labels, points: Images, _: random.Seed) -> Images:
            return self._nearest(logits_fn, images, labels, points)

        return attack_remaining(attempt, logits_fn, images, losses.class_ids(labels), seed, images)

    def _nearest(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, points: Images
    ) -> Images:
        """Searches over c."""
        none = tf.zeros_like(labels, tf.float32)

        def attempt(const: Tensor, low: Tensor, high: Tensor, *best: Tensor) -> tuple[Tensor, ...]:
            found, *new = self._minimise(logits_fn, images, labels, const, best)
            low, high = tf.where(found, low, const), tf.where(found, const, high)
            middle = tf.where(tf.math.is_inf(high), 10.0 * const, (low + high) / 2.0)
            return middle, low, high, *new

        start = (none + self.initial_const, none, none + math.inf, points, none - math.inf)
        return repeat(attempt, self.binary_search_steps, start, unroll=False)[3]

    def _minimise(
        self,
        logits_fn: LogitsFn,
        images: Images,
        labels: Labels,
        const: Tensor,
        best: tuple[Tensor, ...],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs Adam for one c per example; returns whether it found any, and the best so far."""
        lower, upper = self._box(images)
        middle, half = (lower + upper) / 2.0, (upper - lower) / 2.0
        # A pixel without room (half = 0) stays in the middle, which is where it is.
        relative = tf.math.divide_no_nan(images - middle, half)
        start = tf.atanh(tf.clip_by_value(relative, BORDER - 1.0, 1.0 - BORDER))

        def step(
            number: Tensor, found: Tensor, w: Tensor, mean: Tensor, square: Tensor, *best: Tensor
        ) -> tuple[Tensor, ...]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(w)
                points = tf.clip_by_value(middle + half * tf.tanh(w), lower, upper)  # rounding
                logits = logits_fn(points)
                margin = tf.cast(losses.negative_margin(labels, logits), tf.float32)
                f = tf.nn.relu(self.confidence - margin)
                loss = tf.reduce_sum(self._distance(points - images) + const * f)
            gradient = gradient_by(tape, loss, w)
            change, mean, square = adam(number, gradient, mean, square, self.learning_rate)
            wrong = ~is_correct(logits, labels)
            best = keep_better(best, (points, self._score(points - images, wrong, margin)))
            found |= wrong & ~(margin < self.confidence)
            return number + 1, found, w + change, mean, square, *best

        nowhere, zeros = tf.zeros_like(labels, tf.bool), tf.zeros_like(images)
        # Once more than there are steps, to look at where the last one led.
        state = repeat(step, self.steps + 1, (0, nowhere, start, zeros, zeros, *best), unroll=False)
        return state[1], state[5], state[6]

    def _score(self, delta: Tensor, wrong: Tensor, margin: Tensor) -> Tensor:
        """Scores confident points by nearness; below them, other misclassified ones by margin."""
        farthest = tf.sqrt(tf.cast(tf.size(delta[0]), tf.float32))  # between images in [0, 1]
        almost = tf.atan(margin - self.confidence) - farthest
        score = tf.where(margin < self.confidence, almost, -l2(delta))
        return tf.where(wrong, score, -math.inf)


@keras.saving.register_keras_serializable("rlfat_tf")
class CWL2(_CarliniWagner):
    """The nearest adversarial example in the Euclidean norm; bounded by [0, 1] only.

    Measure it by the length of what it changed, not by accuracy: given time it finds an example for
    nearly every image. Where none was found, and where the image itself is misclassified, it
    returns the clean image. If the confidence is reached nowhere, it returns the misclassified
    point that came closest to it.

    A call costs ``binary_search_steps * (steps + 1)`` gradients. The authors' program takes 10,000
    steps and stops a run that has come to rest; here every run goes to its end, which keeps an
    example's result independent of its batch, and the default is 1,000 steps.
    """

    @property
    def norm(self) -> str:
        """The norm in which the perturbation is measured."""
        return "l2"


@keras.saving.register_keras_serializable("rlfat_tf")
class CWTanh(_CarliniWagner, Bounded):
    """Carlini & Wagner inside the maximum-norm ball: RLFAT, Eq. 2 and 3.

        min_w ||x' - x||_2 + c * max(z_y - max_{j != y} z_j, -confidence)

    The box is [max(0, x - epsilon), min(1, x + epsilon)], so w is in units of epsilon: a learning
    rate of 0.1 and 100 steps cross it. Among the examples found it returns the nearest.

    The experiments of RLFAT run PGD on this loss instead, with confidence 50:
    ``PGD(loss="margin")``. Here the default is 0, for a confidence only decides how far beyond the
    border of the classes a point goes.
    """

    _distance = staticmethod(l2)

    norm: str = fixed("linf")
    steps: int = count(100, "Number of Adam's steps for each constant c.")
    binary_search_steps: int = count(5, "Number of constants c that are tried.")
    learning_rate: float = size(0.1, "Learning rate of Adam.")
    initial_const: float = size(1.0, "First constant c.")

    def _box(self, images: Images) -> tuple[Tensor, Tensor]:
        lower, upper = images - self.epsilon, images + self.epsilon
        return tf.maximum(lower, 0.0), tf.minimum(upper, 1.0)
