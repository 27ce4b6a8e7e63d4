"""What attacks by queries share: rounds, chunks, and the margins of many points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import tensorflow as tf

from rlfat_tf.attacks.base import remaining_of
from rlfat_tf.core import losses, random
from rlfat_tf.core.types import Images, Labels, LogitsFn, Tensor


def search_in_rounds(
    play_round: Callable[..., tuple[Images, Sequence[Tensor]]],
    rounds: int,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    seed: random.Seed,
    state: Sequence[Tensor],
    stops: bool = True,
) -> Images:
    """Searches round after round for those examples that are still classified correctly.

    Args:
        play_round: From (number of the round, images, labels, seed, state) of n >= 1 examples to
            their points and their new state.
        rounds: How many at most.
        logits_fn: See :meth:`rlfat_tf.attacks.Attack.__call__`.
        images: [batch, ...].
        labels: Integers [batch].
        seed: With numbered examples, see :meth:`rlfat_tf.core.random.Seed.of_examples`.
        state: Tensors [batch, ...] that go from round to round.
        stops: See :class:`rlfat_tf.attacks.Attack`; else all examples go through all rounds.

    Returns:
        The last point of every example, [batch, ...]; the image itself if it was misclassified.
    """

    def next_round(
        number: Tensor, correct: Tensor, points: Images, *state: Tensor
    ) -> tuple[Tensor, ...]:
        rows = tf.where(correct)
        take = rows[:, 0]
        some, theirs, *old = (tf.gather(tensor, take) for tensor in (images, labels, *state))
        found, new = play_round(number, some, theirs, seed.rows(take), old)
        still = remaining_of(logits_fn, found, theirs, stops=stops)
        pairs = zip((correct, points, *state), (still, found, *new))
        return number + 1, *(tf.tensor_scatter_nd_update(a, rows, b) for a, b in pairs)

    start = (0, remaining_of(logits_fn, images, labels, stops=stops), images, *state)
    return tf.while_loop(
        lambda _, correct, *__: tf.reduce_any(correct),
        next_round,
        start,
        maximum_iterations=rounds,
        parallel_iterations=1,
    )[2]


def reduce_in_chunks(
    body: Callable[..., Sequence[Tensor]], total: int, chunk: int, start: Sequence[Tensor]
) -> Tensor:
    """Lets ``body(numbers, *state)`` see the numbers 0 ... total - 1, at most ``chunk`` at once."""

    def step(first: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        numbers = tf.range(first, tf.minimum(first + chunk, total))
        pairs = zip(body(numbers, *state), state)
        return first + chunk, *(tf.ensure_shape(new, old.shape) for new, old in pairs)

    _, *state = tf.while_loop(
        lambda first, *_: first < total, step, (0, *start), parallel_iterations=1
    )
    return state


def negative_margins(logits_fn: LogitsFn, points: Images, labels: Labels) -> Tensor:
    """``losses.negative_margin`` of points [batch, members, ...]; float32 [batch, members]."""
    shape = tf.shape(points)
    flat = tf.reshape(points, tf.concat([[-1], shape[2:]], 0))
    logits = logits_fn(tf.ensure_shape(flat, [None, *points.shape[2:]]))
    margins = losses.negative_margin(tf.repeat(labels, shape[1]), logits)
    return tf.cast(tf.reshape(margins, shape[:2]), tf.float32)


def negative_margins_anywhere(logits_fn: LogitsFn, points: Images, labels: Labels) -> Tensor:
    """:func:`negative_margins` of points that need not be in [0, 1].

    Where the classifier has no answer outside, as behind a square root, it is that of the nearest
    image.
    """
    margins = negative_margins(logits_fn, points, labels)
    finite = tf.math.is_finite(margins)

    def inside() -> Tensor:
        images = tf.clip_by_value(points, 0.0, 1.0)
        return tf.where(finite, margins, negative_margins(logits_fn, images, labels))

    return tf.cond(tf.reduce_all(finite), lambda: margins, inside)
