"""FAB-T, the targeted Fast Adaptive Boundary attack: the nearest adversarial example.

x' = clip_{[0, 1]}((1 - alpha) (x^i + eta * delta) + alpha (x + eta * delta_orig))

with delta and delta_orig the shortest steps, within [0, 1], from the current point and from the
clean image to the plane on which z_t = z_y, linearised at the current point (Croce & Hein,
"Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML 2020,
Algorithm 1, for one target class t at a time as in AutoAttack).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from rlfat_tf.attacks.arguments import count, number
from rlfat_tf.attacks.base import Bounded, Search, is_correct
from rlfat_tf.attacks.passes import gradient_by, repeat
from rlfat_tf.attacks.points import keep_better, random_point, wide
from rlfat_tf.attacks.targets import target_class
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, LogitsFn, Tensor


def step_to_hyperplane(points: Images, normal: Tensor, value: Tensor, norm: str) -> Tensor:
    """The shortest steps from points to hyperplanes that do not leave [0, 1].

        min ||step||   such that   <normal, step> + value = 0   and   0 <= points + step <= 1

    Every pixel goes the way that brings the plane nearer, ``min(t * speed, room)`` far, where speed
    is 1 (maximum norm) or |normal| (Euclidean norm) and room is its distance from the border. What
    that gains is concave and piecewise linear in t, so that Newton's method climbs to the exact t
    in a few steps, each of which finds more pixels at their border.

    Args:
        points: In [0, 1], [n, ...].
        normal: Normals of the planes, [n, ...].
        value: <normal, point> + offset, [n].
        norm: ``"linf"`` or ``"l2"``.

    Returns:
        [n, ...]; where the plane misses the box, the step to the corner that is nearest to it, and
        0 where the normal is 0.
    """
    shape = tf.shape(points)
    point, normal = (tf.reshape(tensor, [shape[0], -1]) for tensor in (points, normal))
    # Gradients may be so small that their squares are 0.
    scale = tf.reduce_max(tf.abs(normal), 1, keepdims=True)
    normal, value = (tf.math.divide_no_nan(x, scale) for x in (normal, value[:, None]))
    direction = -tf.sign(value) * tf.sign(normal)
    room = tf.where(direction > 0, 1.0 - point, point) * tf.abs(direction)
    slope = tf.abs(normal)
    speed = slope if norm == "l2" else tf.abs(direction)

    def newton(t: Tensor, held: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rest = tf.abs(value) - tf.reduce_sum(tf.where(held, slope * room, 0.0), 1, keepdims=True)
        rate = tf.reduce_sum(tf.where(held, 0.0, slope * speed), 1, keepdims=True)
        t = tf.maximum(t, tf.math.divide_no_nan(rest, rate))  # never back, whatever the rounding
        now = held | (room <= t * speed)
        return t, now, tf.reduce_any(now != held)

    t, held, _ = tf.while_loop(
        lambda *state: state[-1],
        newton,
        (tf.zeros_like(value), room <= 0.0, True),
        parallel_iterations=1,
    )
    step = direction * tf.where(held, room, t * speed)
    return tf.ensure_shape(tf.reshape(step, shape), points.shape)


@keras.saving.register_keras_serializable("rlfat_tf")
class FABT(Bounded, Search):
    """FAB towards the most likely wrong classes, one after the other.

    A search for the nearest misclassified point: an example has failed when that point is within
    epsilon, and else its clean image is returned. Targets are tried for those examples only that
    have not failed; they are the classes with the greatest logits on the clean image, the true one
    left out. A step costs one gradient and one pass more.

    As in AutoAttack, and other than in the paper, there is no final search along the way back to
    the clean image: its points lie on the border of the classes to rounding.
    """

    aims = True
    ends_at_border = True
    steps: int = count(100, "Number of steps for every target and start.")
    restarts: int = count(
        1,
        "Number of starts for every target: first the clean image, then random points at half "
        "the distance of the best point found or at half of epsilon, whichever is less.",
    )
    targets: int = count(9, "Number of target classes, at most the number of classes minus one.")
    alpha_max: float = number(
        0.1, "Greatest weight of the step from the clean image.", at_least=0, at_most=1
    )
    eta: float = number(
        1.05, "Factor by which a step goes beyond the linearised decision boundary.", at_least=1
    )
    beta: float = number(
        0.9,
        "Where the search continues after a misclassified point: between the clean image (0) "
        "and that point (1).",
        at_least=0,
        at_most=1,
    )

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        found, distance = self._nearest(logits_fn, images, labels, seed, self.epsilon)
        return tf.where(wide(distance <= self.epsilon, images), found, images)

    def minimal(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, *, seed: random.SeedLike = 0
    ) -> Images:
        """Returns the nearest adversarial examples found, however far they are.

        All targets are tried for every example, and epsilon bounds the random starts only.

        Args:
            logits_fn: See :meth:`rlfat_tf.attacks.Attack.__call__`.
            images: Float images in [0, 1], [batch, ...].
            labels: Integers [batch], or one-hot rows [batch, classes].
            seed: As for a call.

        Returns:
            float32 images of the same shape; the clean image where it is misclassified already and
            where nothing was found.
        """

        def attempt(logits_of: LogitsFn, images: Images, seed: random.Seed) -> Images:
            seed = seed.of_examples(tf.shape(images)[0])
            return self._nearest(logits_of, images, labels, seed, 0.0)[0]

        return self._guarded(attempt, logits_fn, images, labels, seed)

    def _nearest(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, enough: float
    ) -> tuple[Tensor, Tensor]:
        """Goes through targets and restarts until the distance is ``enough`` or less."""
        labels = losses.class_ids(labels)
        logits = logits_fn(images)
        total = self.restarts * min(self.targets, int(logits.shape[-1]) - 1)

        def attempt(
            number: Tensor, found: Images, distance: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            rows = tf.where(distance > enough)
            take = rows[:, 0]
            tensors = (images, labels, logits, found, distance)
            image, label, clean, *best = (tf.gather(tensor, take) for tensor in tensors)
            target = target_class(clean, label, number // self.restarts)

            def random_start() -> Images:
                radius = wide(tf.minimum(best[1], self.epsilon) / 2.0, image)
                return random_point(self.norm, image, radius, seed.rows(take).fold(number))

            first = tf.equal(number % self.restarts, 0)
            start = tf.ensure_shape(tf.cond(first, lambda: image, random_start), image.shape)
            nearest = self._descend(logits_fn, image, label, target, start, best)
            found, distance = (
                tf.tensor_scatter_nd_update(old, rows, new)
                for old, new in zip((found, distance), nearest)
            )
            return number + 1, found, distance

        distance = tf.where(is_correct(logits, labels), math.inf, 0.0)
        _, found, distance = tf.while_loop(
            lambda number, _, distance: (number < total) & tf.reduce_any(distance > enough),
            attempt,
            (0, images, distance),
            parallel_iterations=1,
        )
        return tf.stop_gradient(found), distance

    def _descend(
        self,
        logits_fn: LogitsFn,
        images: Images,
        labels: Labels,
        target: Labels,
        start: Images,
        best: Sequence[Tensor],
    ) -> tuple[Images, Tensor]:
        """Takes the steps from one start to one target.

        Args:
            logits_fn: See :meth:`rlfat_tf.attacks.Attack.__call__`.
            images: [n, ...].
            labels: Integers [n].
            target: The classes to go to, integers [n].
            start: Where the steps begin, [n, ...].
            best: The nearest misclassified points so far, [n, ...], and their distances, [n].

        Returns:
            The same after the steps.
        """
        ball, linf = norms.get(self.norm), norms.get("linf")

        def step(x: Images, found: Images, score: Tensor) -> tuple[Images, Images, Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                value = losses.targeted_negative_margin(labels, target, logits_fn(x))
            gradient = gradient_by(tape, value, x)
            value = tf.cast(value, tf.float32)
            value = tf.where(tf.math.is_finite(value), value, 0.0)  # no plane to go to: stay
            # The plane is the same in any unit, and in this one nothing overflows.
            value = tf.math.divide_no_nan(value, linf.length(gradient))
            gradient = linf.normalise(gradient)
            axes = list(range(1, x.shape.rank))
            at_image = value + tf.reduce_sum(gradient * (images - x), axes)
            delta = step_to_hyperplane(x, gradient, value, self.norm)
            delta_image = step_to_hyperplane(images, gradient, at_image, self.norm)
            size, size_image = ball.length(delta), ball.length(delta_image)
            alpha = tf.minimum(tf.math.divide_no_nan(size, size + size_image), self.alpha_max)
            alpha = wide(alpha, x)
            x = (1 - alpha) * (x + self.eta * delta) + alpha * (images + self.eta * delta_image)
            x = tf.clip_by_value(x, 0.0, 1.0)
            wrong = ~is_correct(logits_fn(x), labels)
            new_score = tf.where(wrong, -ball.length(x - images), -math.inf)
            found, score = keep_better((found, score), (x, new_score))
            x = tf.where(wide(wrong, x), images + self.beta * (x - images), x)
            return x, found, score

        state = (start, best[0], -best[1])  # the nearer, the greater the score
        _, found, score = repeat(step, self.steps, state, unroll=False)
        return found, -score
