"""Batches that shrink with the examples that are left.

A network is paid by the example, and the examples on which an attack has succeeded need no more of
it. Whoever goes on takes the rows of those that are left, in one of few sizes: the kernels of a
convolution are prepared, on a GPU also timed, for every size anew.
"""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core.types import Tensor

EVERY = 10  # steps between two looks at which examples are left

# All up to 16, then eight between each power of two and the next, so that at most an eighth is
# padding. (Powers of two alone would hold 65 examples in a batch of 128.)
SIZES = [*range(17), *(2**power * step for power in range(1, 27) for step in range(9, 17))]


def packed(remaining: Tensor) -> tuple[Tensor, Tensor]:
    """Packs the examples that remain into a batch of one of the ``SIZES``.

    Args:
        remaining: Which do, bool [batch].

    Returns:
        Their rows in the batch, followed by the first of them as often as the size asks for,
        int64 [size]; and how many they are.
    """
    rows = tf.where(remaining)[:, 0]
    count = tf.size(rows)
    sizes = tf.constant(SIZES)
    size = tf.gather(sizes, tf.searchsorted(sizes, count[None]))[0]
    return tf.concat([rows, tf.repeat(rows[:1], size - count)], 0), count


def unpacked(whole: Any, part: Any, rows: Tensor, count: Tensor) -> Any:
    """Puts the examples of a packed batch back.

    Args:
        whole: Tensors [batch, ...] in any structure.
        part: Of :func:`packed` rows of the batch, [size, ...] in the same structure.
        rows: These rows.
        count: How many of them are no padding.
    """
    rows = rows[:count, None]
    return tf.nest.map_structure(
        lambda old, new: tf.tensor_scatter_nd_update(old, rows, new[:count]), whole, part
    )


def repeat_for_remaining(
    step_of: Callable[[Tensor], Callable[[Tensor, Any], Any]],
    steps: int,
    state: Any,
    remaining: Callable[[Any], Tensor],
) -> Any:
    """Repeats a step for the examples that remain, in a batch that shrinks with them.

    Args:
        step_of: From rows of the batch, int64 [n], to the step of these examples: from its number,
            1 to ``steps``, and their state to their new state. No example may change another's.
        steps: How many at most.
        state: Tensors [batch, ...] in any structure.
        remaining: From a state to which of its examples go on, bool [n]; who does not never does
            again.

    Returns:
        The state of every example after its last step. A few steps may have been taken after it
        remained no more: the step has to leave alone what counts then.
    """

    def some_steps(first: Tensor, state: Any) -> tuple[Tensor, Any]:
        rows, count = packed(remaining(state))
        step = step_of(rows)
        end = tf.minimum(first + EVERY, steps + 1)
        now = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), state)
        _, now = tf.while_loop(
            lambda number, now: (number < end) & tf.reduce_any(remaining(now)),
            lambda number, now: (number + 1, step(number, now)),
            (first, now),
            parallel_iterations=1,
        )
        return end, unpacked(state, now, rows, count)

    return tf.while_loop(
        lambda first, state: (first <= steps) & tf.reduce_any(remaining(state)),
        some_steps,
        (1, state),
        parallel_iterations=1,
    )[1]
