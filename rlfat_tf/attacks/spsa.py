"""SPSA: estimates gradients from the differences of pairs of queries, and descends them.

    g = mean_i (J(x' + delta * v_i) - J(x' - delta * v_i)) / (2 * delta) * v_i,   v_i in {-1, 1}^d
    x' <- Proj(x' + Adam(g))

(Uesato et al., "Adversarial Risk and the Dangers of Evaluating Against Weak Attacks", ICML 2018,
Algorithm 1, with Adam in place of plain descent as in its experiments.) It needs no gradient and
so shows whether a defence only hides its own.
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks.arguments import count, fixed, size
from rlfat_tf.attacks.base import Bounded, Search
from rlfat_tf.attacks.points import adam
from rlfat_tf.attacks.queries import negative_margins_anywhere, reduce_in_chunks, search_in_rounds
from rlfat_tf.core import losses, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, LogitsFn, Tensor

BITS = 32  # of an integer, each the sign of one pixel in one direction


@keras.saving.register_keras_serializable("rlfat_tf")
class SPSA(Bounded, Search):
    """Adam on the margin J = z_y - max_{j != y} z_j, its gradient estimated by queries.

    It starts from the image and stops where an example is misclassified; the others go on without
    it. The queries themselves may lie outside of [0, 1] and the ball by ``delta``, as in the paper:
    clipped, the differences would be biased. A step costs ``2 * samples + 1`` queries per example.
    """

    aims = True
    needs_gradients = False
    norm: str = fixed("linf")
    steps: int = count(100, "How many at most.")
    samples: int = count(128, "Number of directions in a step; each takes two queries.")
    delta: float = size(0.01, "Distance of the queries from the current point, in every pixel.")
    learning_rate: float = size(0.01, "Learning rate of Adam, for pixels in [0, 1].")
    chunk: int = count(
        8,
        "Number of directions that are in memory at once. It changes speed and memory, and the "
        "result by rounding only.",
    )

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""

        def step(
            number: Tensor, images: Images, labels: Labels, seed: random.Seed, state: list[Tensor]
        ) -> tuple[Images, list[Tensor]]:
            points, mean, square = state
            gradient = self.estimate(logits_fn, points, labels, seed.fold(number))
            change, mean, square = adam(number, gradient, mean, square, self.learning_rate)
            total = tf.clip_by_value(points + change - images, -self.epsilon, self.epsilon)
            points = tf.clip_by_value(images + total, 0.0, 1.0)
            return points, [points, mean, square]

        zeros = tf.zeros_like(images)
        start = [images, zeros, zeros]
        labels = losses.class_ids(labels)
        return search_in_rounds(
            step, self.steps, logits_fn, images, labels, seed, start, self.stops
        )

    def directions(self, images: Images, seed: random.Seed) -> Tensor:
        """Draws all v_i of a step: int32 [batch, words, ...], a bit for every sign."""
        words = -(-self.samples // BITS)
        shape = tf.shape(images)
        shape = tf.concat([shape[:1], [words], shape[1:]], 0)
        bits = random.uniform(seed, shape, None, None, tf.int32)
        return tf.ensure_shape(bits, [images.shape[0], words, *images.shape[1:]])

    def estimate(
        self, logits_fn: LogitsFn, points: Images, labels: Labels, seed: random.Seed
    ) -> Tensor:
        """Estimates the gradient of J at the points, [batch, ...]."""
        bits = self.directions(points, seed)

        def add(members: Tensor, total: Tensor) -> list[Tensor]:
            v = signs(bits, members)
            ahead, behind = (
                negative_margins_anywhere(logits_fn, points[:, None] + side * v, labels)
                for side in (self.delta, -self.delta)
            )
            slope = (behind - ahead) / (2.0 * self.delta)  # J is minus the negative margin
            slope = tf.where(tf.math.is_finite(slope), slope, 0.0)  # a broken query says nothing
            return [total + tf.einsum("bm,bm...->b...", slope, v)]

        (total,) = reduce_in_chunks(add, self.samples, self.chunk, [tf.zeros_like(points)])
        return total / self.samples


def signs(bits: Tensor, members: Tensor) -> Tensor:
    """Reads the directions of these numbers from :meth:`SPSA.directions`.

    Args:
        bits: int32 [batch, words, ...].
        members: int32 [members].

    Returns:
        float32 [batch, members, ...] of -1 and 1.
    """
    places = tf.reshape(members % BITS, [-1] + [1] * (bits.shape.rank - 2))
    bit = tf.bitwise.right_shift(tf.gather(bits, members // BITS, axis=1), places) & 1
    return 1.0 - 2.0 * tf.cast(bit, tf.float32)
