"""Stateless randomness: every draw is a function of (seed, step) and of an example's position.

A :class:`Seed` also says which part of the global batch this replica holds. A draw for the
examples of a batch is made for the global batch and this replica's rows are cut out of it, so that
two replicas see together exactly what one replica would have seen alone, as long as they hold
equally many examples. XLA draws other numbers of the same seed than TensorFlow's own kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union

import tensorflow as tf


class Seed(NamedTuple):
    """What a draw depends on.

    Attributes:
        value: int32 tensor of shape [2].
        shard: This replica's number, from 0.
        num_shards: How many replicas share the global batch.
    """

    value: Any
    shard: Any = 0
    num_shards: int = 1

    def fold(self, *data: Any) -> Seed:
        """Returns another seed that depends on this one and on the integers given."""
        value = self.value
        for item in data:
            value = tf.random.experimental.stateless_fold_in(value, tf.cast(item, tf.int32))
        return self._replace(value=value)


SeedLike = Union[int, Seed, Any]


def as_seed(seed: SeedLike) -> Seed:
    """Makes a :class:`Seed` of an int, a pair of ints (or int tensor of shape [2]) or a Seed."""
    if isinstance(seed, Seed):
        return seed
    value = tf.cast(tf.convert_to_tensor(seed), tf.int32)
    if value.shape.rank == 0:
        value = tf.stack([value, 0])
    if value.shape.rank != 1 or value.shape[0] != 2:
        raise ValueError(
            f"A seed is an integer or a pair of integers; received shape {value.shape}."
        )
    return Seed(value)


def replica_seed(seed: int, *data: Any) -> Seed:
    """Returns the seed of the replica that calls, folded with ``data`` (for instance the step)."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return as_seed(seed).fold(*data)
    shard = context.replica_id_in_sync_group
    return Seed(as_seed(seed).value, shard, context.num_replicas_in_sync).fold(*data)


def _own_rows(draw: Any, shape: Any, seed: Seed) -> Any:
    """Draws for the global batch and returns the rows of this replica."""
    shape = tf.convert_to_tensor(shape, tf.int32)
    if seed.num_shards == 1:
        return draw(shape)
    local = shape[0]
    everything = draw(tf.concat([[local * seed.num_shards], shape[1:]], 0))
    first = local * tf.cast(seed.shard, tf.int32)
    return everything[first : first + local]


def uniform(seed: SeedLike, shape: Any, low: Any, high: Any, dtype: Any = tf.float32) -> Any:
    """Uniform draws in [low, high) for the examples of a batch; ``shape[0]`` is the local batch."""
    seed = as_seed(seed)
    return _own_rows(
        lambda full: tf.random.stateless_uniform(full, seed.value, low, high, dtype), shape, seed
    )


def normal(seed: SeedLike, shape: Any, stddev: float = 1.0) -> Any:
    """Normal draws for the examples of a batch; ``shape[0]`` is the local batch."""
    seed = as_seed(seed)
    return _own_rows(
        lambda full: tf.random.stateless_normal(full, seed.value, stddev=stddev), shape, seed
    )
