"""Square Attack: random search with square windows, by queries alone, without gradients.

(Andriushchenko, Croce, Flammarion & Hein, "Square Attack: a query-efficient black-box adversarial
attack via random search", ECCV 2020.) Every example has windows and signs of its own, all examples
of a batch go through one loop.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import count, number, switch
from rlfat_tf.attacks.base import Bounded, Search, attack_remaining, is_correct
from rlfat_tf.attacks.points import comparable, keep_better
from rlfat_tf.attacks.windows import propose_l2, propose_linf, stripes, tiles
from rlfat_tf.core import losses, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.structure import check_layout
from rlfat_tf.core.types import Images, Labels, LogitsFn, Tensor

# After how many of 10,000 queries the share of changed pixels is halved.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
CHUNK = 100  # queries between two looks at which examples are left


@keras.saving.register_keras_serializable("rlfat_tf")
class Square(Bounded, Search):
    """Random search on the margin z_y - max_{j != y} z_j.

    In the maximum norm (Algorithm 2) it starts at vertical stripes of +-epsilon and proposes
    windows of +-epsilon, one sign for every channel. (The paper adds +-2 epsilon and projects,
    which is the same: every pixel is at a border of its ball already.) In the Euclidean norm
    (Algorithm 3) it starts at a grid of patterns and moves the length of one window to another.
    A proposal is kept if it lowers the margin; a fooled example is left alone.
    """

    aims = True
    needs_gradients = False
    queries: int = count(
        5000, "Greatest number of queries for every start, without the one of the clean image."
    )
    p_init: float = number(0.8, "Share of the pixels in the first window.", above=0, at_most=1)
    restarts: int = count(
        1, "Number of random starts; each runs on the images that no earlier start has broken."
    )
    rescale_schedule: bool = switch(
        True,
        "Whether the schedule of window sizes is stretched to the number of queries, as in the "
        "paper. AutoAttack's standard version does not stretch it: it runs the first 5,000 "
        "queries of a schedule for 10,000.",
    )

    def share(self, query: int) -> float:
        """Returns p, the share of the pixels that the window of a query has."""
        place = query * 10_000 // self.queries if self.rescale_schedule else query
        return float(self.p_init / 2 ** sum(place > bound for bound in HALVINGS))

    def side(self, query: int, height: int, width: int) -> int:
        """Returns the side of a query's window.

        In the Euclidean norm it is odd, and at least 3 as in the authors' code.
        """
        side = max(round(math.sqrt(self.share(query) * height * width)), 1)
        limit = min(height, width)
        if self.norm == "l2":
            side, limit = max(side, 3) // 2 * 2 + 1, (limit - 1) // 2 * 2 + 1
        return min(side, limit)

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`.

        Raises:
            ValueError: If the images are not [batch, height, width, channels].
        """
        check_layout(images)
        if None in images.shape[1:]:
            raise ValueError(
                f"Square expects images [batch, height, width, channels]; received {images.shape}."
            )
        labels = losses.class_ids(labels)

        def restart(number: Tensor, found: Images) -> tuple[Tensor, Images]:
            def attempt(images: Images, labels: Labels, found: Images, seed: random.Seed) -> Images:
                new = self._random_search(logits_fn, images, labels, seed.fold(number))
                if self.restarts == 1:
                    return new[0]
                old = found, comparable(losses.negative_margin(labels, logits_fn(found)))
                return keep_better(old, new)[0]

            how: dict[str, Any] = {"stops": self.stops}
            found = attack_remaining(attempt, logits_fn, images, labels, seed, found, **how)
            return number + 1, found

        return tf.while_loop(
            lambda number, _: number < self.restarts, restart, (0, images), parallel_iterations=1
        )[1]

    def _random_search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> tuple[Tensor, Tensor]:
        """Algorithm 1: returns points and their negative margin, infinite if misclassified."""
        _, height, width, channels = images.shape
        sides = tf.constant([self.side(query, height, width) for query in range(self.queries)])
        propose, numbers = (
            (propose_linf, 2 + channels) if self.norm == "linf" else (propose_l2, 5 + channels)
        )

        def evaluate(points: Images, labels: Labels) -> tuple[Tensor, Tensor]:
            logits = logits_fn(points)
            correct = is_correct(logits, labels) | (not self.stops)
            return correct, comparable(losses.negative_margin(labels, logits))

        def chunk(first: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            rows = tf.where(state[1])
            take = rows[:, 0]
            image, label, *now = (tf.gather(tensor, take) for tensor in (images, labels, *state))
            size = [tf.size(take), CHUNK, numbers]
            draws = random.uniform(seed.rows(take).fold(1, first), size, 0.0, 1.0)
            draws = tf.ensure_shape(draws, [None, CHUNK, numbers])

            def query(
                number: Tensor, points: Images, correct: Tensor, margin: Tensor
            ) -> tuple[Tensor, ...]:
                draw = draws[:, number - first]
                new = propose(image, points, draw, sides[number], self.epsilon)
                new_correct, new_margin = evaluate(new, label)
                keep = correct & (~new_correct | (new_margin > margin))
                points = tf.where(keep[:, None, None, None], new, points)
                margin = tf.where(keep, new_margin, margin)
                return number + 1, points, correct & new_correct, margin

            end = tf.minimum(first + CHUNK, self.queries)
            _, *now = tf.while_loop(
                lambda number, _, correct, __: (number < end) & tf.reduce_any(correct),
                query,
                (first, *now),
                parallel_iterations=1,
            )
            return end, *(
                tf.tensor_scatter_nd_update(old, rows, new) for old, new in zip(state, now)
            )

        start = (stripes if self.norm == "linf" else tiles)(images, self.epsilon, seed.fold(0))
        _, points, correct, margin = tf.while_loop(
            lambda first, _, correct, __: (first < self.queries) & tf.reduce_any(correct),
            chunk,
            (1, start, *evaluate(start, labels)),
            parallel_iterations=1,
        )
        return points, tf.where(correct, margin, math.inf)
