"""N-attack: learns the mean of a distribution of adversarial examples, without gradients.

    x_i = x + clip(0.5 * tanh(w0 + mu + sigma * N_i) + 0.5 - x, -epsilon, epsilon),  N_i ~ N(0, 1)
    mu <- mu + rate / (n * sigma) * sum_i A_i N_i

with w0 = atanh(2x - 1) and A_i the rewards' z-scores (Li et al., "NATTACK: Learning the
Distributions of Adversarial Examples for an Improved Black-Box Attack on Deep Neural Networks",
ICML 2019, Algorithm 1). What it shares with other attacks by queries is here too.
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks.arguments import count, fixed, size
from rlfat_tf.attacks.base import Bounded, Search
from rlfat_tf.attacks.carlini_wagner import BORDER
from rlfat_tf.attacks.queries import negative_margins, reduce_in_chunks, search_in_rounds
from rlfat_tf.core import losses, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, LogitsFn, Tensor

START = 1e-3  # standard deviation of the first mu
BLOCK = 10  # members of a population that draw together, for draws are dear; the chunk goes by it


@keras.saving.register_keras_serializable("rlfat_tf")
class NAttack(Bounded, Search):
    """Evolution strategy on the mean of a normal distribution in the space of atanh.

    The reward is -J, J = max(0, log p_y - max_{j != y} log p_j) / 2; in the difference of the
    logarithms the softmax cancels, so the logits serve. The runner-up is that of each member of the
    population; the published TensorFlow and NumPy programs take the first member's for all, by a
    slip, which is not copied: expect a slightly stronger attack than theirs.

    Pixels that are black or white hardly move, for there tanh is flat: on drawings and digits, most
    of which is background, the attack is weak.

    An example is done when the point of the mean itself, without noise, is misclassified, which is
    tested every few iterations; the others go on without it. Defaults as in the experiments of
    RLFAT. An iteration costs ``population`` queries per example.
    """

    aims = True
    needs_gradients = False
    norm: str = fixed("linf")
    population: int = count(300, "Number of points drawn in an iteration.")
    sigma: float = size(0.1, "Standard deviation of these points, in the space of atanh.")
    learning_rate: float = size(0.008, "Learning rate of the distribution's mean.")
    ends_at_border = True
    iterations: int = count(200, "How many at most.")
    test_every: int = count(10, "Number of iterations between two tests of success.")
    chunk: int = count(
        10,
        "Number of points of the population that are in memory at once, rounded up to tens. It "
        "changes speed and memory, and the result by rounding only.",
    )

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""

        def play_round(
            number: Tensor, images: Images, labels: Labels, seed: random.Seed, state: list[Tensor]
        ) -> tuple[Images, list[Tensor]]:
            first = number * self.test_every
            last = tf.minimum(first + self.test_every, self.iterations)

            def iterate(number: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
                mean = self.update(logits_fn, images, labels, mean, seed.fold(1, number))
                return number + 1, mean

            _, mean = tf.while_loop(
                lambda number, _: number < last, iterate, (first, state[0]), parallel_iterations=1
            )
            return self.points(images, mean), [mean]

        mean = tf.ensure_shape(random.normal(seed.fold(0), tf.shape(images), START), images.shape)
        rounds = -(-self.iterations // self.test_every)
        labels = losses.class_ids(labels)
        return search_in_rounds(play_round, rounds, logits_fn, images, labels, seed, [mean])

    def points(self, images: Images, shift: Tensor) -> Images:
        """Returns the points [batch, ...] to which shifts in the space of atanh lead."""
        latent = tf.atanh((1.0 - BORDER) * (2.0 * images - 1.0))
        delta = 0.5 * tf.tanh(latent + shift) + 0.5 - images
        delta = tf.clip_by_value(delta, -self.epsilon, self.epsilon)
        return tf.clip_by_value(images + delta, 0.0, 1.0)  # rounding

    def noise(self, images: Images, blocks: Tensor, seed: random.Seed) -> Tensor:
        """Draws N_i for some tens of the population, [batch, members, ...]."""
        count, shape = -(-self.population // BLOCK), tf.shape(images)
        pairs = seed.examples[:, None] * count + blocks  # a number for every example and block
        draws = random.normal(
            seed._replace(examples=tf.reshape(pairs, [-1])),
            tf.concat([[tf.size(pairs), BLOCK], shape[1:]], 0),
        )
        draws = tf.reshape(draws, tf.concat([shape[:1], [-1], shape[1:]], 0))
        left = self.population - BLOCK * blocks[0]  # the last block need not be full
        return tf.ensure_shape(draws[:, :left], [None, None, *images.shape[1:]])

    def update(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, mean: Tensor, seed: random.Seed
    ) -> Tensor:
        """Returns the mean after one iteration whose draws are :meth:`noise` of the seed."""

        def add(blocks: Tensor, reference: Tensor, *sums: Tensor) -> tuple[Tensor, ...]:
            noise = self.noise(images, blocks, seed)
            margins = negative_margins(
                logits_fn, self.points(images[:, None], mean[:, None] + self.sigma * noise), labels
            )
            finite = tf.cast(tf.math.is_finite(margins), tf.float32)  # a broken query says nothing
            reward = tf.where((margins < 0.0) & (finite > 0.0), margins / 2.0, 0.0)
            # An offset does not change z-scores; with this one equal rewards are exactly 0.
            reference = tf.where(blocks[0] == 0, reward[:, 0], reference)
            reward = finite * (reward - reference[:, None])
            more = (
                tf.reduce_sum(finite, 1),
                tf.reduce_sum(reward, 1),
                tf.reduce_sum(tf.square(reward), 1),
                tf.einsum("bm,bm...->b...", finite, noise),
                tf.einsum("bm,bm...->b...", reward, noise),
            )
            return reference, *(a + b for a, b in zip(sums, more))

        none, zeros = tf.zeros_like(labels, tf.float32), tf.zeros_like(images)
        start = (none, none, none, none, zeros, zeros)
        blocks, at_once = (-(-count // BLOCK) for count in (self.population, self.chunk))
        count, *sums = reduce_in_chunks(add, blocks, at_once, start)[1:]
        # sum_i A_i N_i = (sum_i R_i N_i - mean(R) * sum_i N_i) / (std(R) + 1e-7): in one pass, with
        # no need to keep the noise or to draw it twice.
        average, squares = (tf.math.divide_no_nan(total, count) for total in sums[:2])
        deviation = tf.sqrt(tf.nn.relu(squares - tf.square(average)))
        average, deviation = (
            tf.reshape(value, [-1] + [1] * (images.shape.rank - 1))
            for value in (average, deviation)
        )
        total = (sums[3] - average * sums[2]) / (deviation + 1e-7)
        return mean + self.learning_rate / (self.population * self.sigma) * total
