"""Stateless randomness: every draw is a function of (seed, step) and of an example's position.

A :class:`Seed` also says which part of the global batch this replica holds. A draw for the
examples of a batch is made for the global batch and this replica's rows are cut out of it, so that
two replicas see together exactly what one replica would have seen alone, as long as they hold
equally many examples. In evaluation every example has a number instead, and its draws depend on
nothing else: not on the batch that it came in, nor on who left the batch before.

XLA draws other numbers of the same seed than TensorFlow's own kernels.
"""

from __future__ import annotations

import zlib
from typing import Any, Callable, NamedTuple, Union

import tensorflow as tf

from rlfat_tf.core.types import DType, Shape, Tensor


class Seed(NamedTuple):
    """What a draw depends on.

    Attributes:
        value: int32 tensor of shape [2].
        shard: This replica's number, from 0.
        num_shards: How many replicas share the global batch.
        examples: int32 tensor [batch]: the number of every example in its data set, on which
            alone its draws then depend; None where draws depend on the place in the batch.
    """

    value: Any
    shard: Any = 0
    num_shards: int = 1
    examples: Any = None

    def fold(self, *data: Tensor) -> Seed:
        """Returns another seed that depends on this one and on the integers given."""
        value = self.value
        for item in data:
            value = tf.random.experimental.stateless_fold_in(value, tf.cast(item, tf.int32))
        return self._replace(value=value)

    def of_examples(self, count: Tensor) -> Seed:
        """Returns a seed whose draws go with the examples; numbered by place, if they were not."""
        if self.examples is not None:
            return self
        first = tf.cast(count, tf.int32) * tf.cast(self.shard, tf.int32)
        return Seed(self.value, examples=first + tf.range(count))

    def rows(self, indices: Tensor) -> Seed:
        """Returns the seed of some examples of the batch; see :meth:`of_examples`."""
        return self._replace(examples=tf.gather(self.examples, indices))


SeedLike = Union[int, Seed, Any]


def number(name: str) -> int:
    """Returns an integer of a name, to fold into a seed; the same in every process."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF


def as_seed(seed: SeedLike) -> Seed:
    """Makes a :class:`Seed` of an int, a pair of ints (or int tensor of shape [2]) or a Seed."""
    if isinstance(seed, Seed):
        return seed
    value = _checked(seed)
    if value.shape.rank == 1:
        return Seed(tf.cast(value, tf.int32))
    wide = tf.cast(value, tf.int64)
    low = tf.cast(wide, tf.int32)  # the lower half, all of it that most seeds have
    high = tf.bitwise.right_shift(wide - tf.cast(low, tf.int64), tf.constant(32, tf.int64))
    return Seed(tf.stack([low, tf.cast(high, tf.int32)]))


def plain_seed(seed: Any) -> Any:
    """Returns a seed as Python's int, or as a list of two: what files and reports can hold.

    Args:
        seed: An integer or a pair of them, also NumPy's or TensorFlow's.

    Raises:
        ValueError: If it is something else.
    """
    return _checked(seed).numpy().tolist()


def _checked(seed: Any) -> Tensor:
    """Returns an integer or a pair of integers as a tensor; refuses all else, fractions too."""
    try:
        value = tf.convert_to_tensor(seed)
    except (TypeError, ValueError):  # it is no tensor
        value = None
    if value is None or not value.dtype.is_integer or value.shape not in ([], [2]):
        raise ValueError(
            "A seed is an integer of at most 64 bits or a pair of integers of at most 32; "
            f"received {seed!r}."
        )
    return value


def replica_seed(seed: int, *data: Tensor) -> Seed:
    """Returns the seed of the replica that calls, folded with ``data`` (for instance the step)."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return as_seed(seed).fold(*data)
    shard = context.replica_id_in_sync_group
    return Seed(as_seed(seed).value, shard, context.num_replicas_in_sync).fold(*data)


def _own_rows(draw: Callable[..., Tensor], shape: Shape, seed: Seed, dtype: DType) -> Tensor:
    """Draws for each example, or for the global batch and returns the rows of this replica."""
    shape = tf.convert_to_tensor(shape, tf.int32)
    if seed.examples is not None:
        one = lambda number: draw(shape[1:], seed.fold(number).value)  # noqa: E731
        return tf.map_fn(one, seed.examples, fn_output_signature=dtype)
    if seed.num_shards == 1:
        return draw(shape, seed.value)
    local = shape[0]
    everything = draw(tf.concat([[local * seed.num_shards], shape[1:]], 0), seed.value)
    first = local * tf.cast(seed.shard, tf.int32)
    return everything[first : first + local]


def uniform(
    seed: SeedLike, shape: Shape, low: Tensor, high: Tensor, dtype: DType = tf.float32
) -> Tensor:
    """Uniform draws in [low, high) for the examples of a batch; ``shape[0]`` is the local batch."""
    seed = as_seed(seed)
    draw = lambda full, key: tf.random.stateless_uniform(full, key, low, high, dtype)  # noqa: E731
    return _own_rows(draw, shape, seed, dtype)


def normal(seed: SeedLike, shape: Shape, stddev: Tensor = 1.0) -> Tensor:
    """Normal draws for the examples of a batch; ``shape[0]`` is the local batch."""
    seed = as_seed(seed)
    draw = lambda full, key: tf.random.stateless_normal(full, key, stddev=stddev)  # noqa: E731
    return _own_rows(draw, shape, seed, tf.float32)
