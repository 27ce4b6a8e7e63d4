"""Randomness is a function of (seed, step) and of an example's place in the global batch."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import random

DRAWS = {
    "uniform": lambda seed, n: random.uniform(seed, [n, 3, 2], -1.0, 1.0),
    "normal": lambda seed, n: random.normal(seed, [n, 3, 2]),
    "integers": lambda seed, n: random.uniform(seed, [n, 4], 0, 7, tf.int32),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("shards", [2, 4])
def test_shards_together_are_the_single_draw(draw, shards):
    whole = random.as_seed(5).fold(1, 2)
    parts = [draw(random.Seed(whole.value, i, shards), 8 // shards) for i in range(shards)]
    np.testing.assert_array_equal(np.concatenate(parts), draw(whole, 8))


def test_the_shard_may_be_a_tensor_inside_a_function():
    seed = random.as_seed(3)

    @tf.function
    def draw(shard):
        return random.uniform(random.Seed(seed.value, shard, 2), [4, 2], 0.0, 1.0)

    together = np.concatenate([draw(tf.constant(0)), draw(tf.constant(1))])
    np.testing.assert_array_equal(together, random.uniform(seed, [8, 2], 0.0, 1.0))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_same_seed_same_draw_and_other_seeds_others(draw):
    np.testing.assert_array_equal(draw(7, 8), draw(random.as_seed(7), 8))
    others = [draw(s, 8).numpy() for s in (7, 8, (7, 1), random.as_seed(7).fold(0))]
    for i, one in enumerate(others):
        for other in others[i + 1 :]:
            assert np.any(one != other)


def test_folds_are_a_sequence_and_their_order_counts():
    seed = random.as_seed(0)
    np.testing.assert_array_equal(seed.fold(1, 2).value, seed.fold(1).fold(2).value)
    assert np.any(seed.fold(1, 2).value != seed.fold(2, 1).value)
    # A step counter is an int64 variable.
    step = tf.Variable(5, dtype=tf.int64)
    np.testing.assert_array_equal(seed.fold(step).value, seed.fold(5).value)
    many = {tuple(seed.fold(0, step).value.numpy()) for step in range(200)}
    assert len(many) == 200


def test_folding_keeps_the_shard():
    folded = random.Seed(tf.constant([1, 2]), 1, 4).fold(9)
    assert (folded.shard, folded.num_shards) == (1, 4)


def test_moments_and_range():
    values = random.uniform(1, [4000, 5], -0.25, 0.75).numpy()
    assert values.min() >= -0.25 and values.max() < 0.75
    assert abs(values.mean() - 0.25) < 0.01
    assert abs(values.std() - 1 / np.sqrt(12)) < 0.01
    values = random.normal(1, [4000, 5], 0.5).numpy()
    assert abs(values.mean()) < 0.02 and abs(values.std() - 0.5) < 0.02
    integers = random.uniform(1, [4000], 0, 4, tf.int32).numpy()
    assert set(integers) == {0, 1, 2, 3}


@pytest.mark.parametrize("bad", [(1, 2, 3), [[1, 2]], 1.7, 2.0, (1, 2.5), "1", None, 2**70])
def test_a_seed_is_a_number_or_a_pair(bad):
    for made in (random.as_seed, random.plain_seed):
        with pytest.raises(
            ValueError, match=f"or a pair of integers.*; received {re.escape(repr(bad))}"
        ):
            made(bad)


def test_seeds_of_numpy_and_tensorflow_are_those_of_python():
    pair = np.array([1, 2], np.uint8)
    for one in (np.int64(1), np.array(1), tf.constant(1, tf.int64), tf.Variable(1), 1):
        assert json.dumps(random.plain_seed(one)) == "1"
        np.testing.assert_array_equal(random.as_seed(one).value, [1, 0])
    for both in (pair, tuple(pair), tf.constant([1, 2]), (tf.constant(1), 2)):
        assert json.dumps(random.plain_seed(both)) == "[1, 2]"
        np.testing.assert_array_equal(random.as_seed(both).value, [1, 2])

    @tf.function
    def folded(seed, step):
        return random.as_seed(seed).fold(1).value, random.as_seed((seed, step)).value

    one, both = folded(tf.constant(1), tf.constant(2, tf.int32))
    np.testing.assert_array_equal(one, random.as_seed(1).fold(1).value)
    np.testing.assert_array_equal(both, [1, 2])


def test_wide_seeds_differ_from_those_of_their_lower_half():
    seeds = [0, 5, -1, -(2**31), 2**31, 2**32, 2**32 + 5, 2**40, 2**63 - 1, -(2**63)]
    values = [tuple(random.as_seed(np.int64(seed)).value.numpy().tolist()) for seed in seeds]
    assert len(set(values)) == len(seeds)
    for (low, high), seed in zip(values, seeds):
        assert (low + high * 2**32 - seed) % 2**64 == 0
        assert (high == 0) == (-(2**31) <= seed < 2**31)


def test_outside_of_replicas_there_is_one_shard():
    seed = random.replica_seed(4, 1, 2)
    assert seed.num_shards == 1
    np.testing.assert_array_equal(seed.value, random.as_seed(4).fold(1, 2).value)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_numbered_examples_draw_alone_as_in_any_batch(draw):
    seed = random.as_seed(5).of_examples(6)
    whole = np.asarray(draw(seed, 6))
    np.testing.assert_array_equal(draw(seed.rows([4, 1]), 2), whole[[4, 1]])
    numbered = random.as_seed(5)._replace(examples=tf.constant([3]))
    np.testing.assert_array_equal(draw(numbered, 1), whole[[3]])
    assert len({tuple(row.ravel()) for row in whole}) == 6
    assert not np.array_equal(draw(seed.fold(1), 6), whole)


def test_examples_are_numbered_once_and_across_shards():
    second = random.Seed(random.as_seed(5).value, 1, 2).of_examples(3)
    np.testing.assert_array_equal(second.examples, [3, 4, 5])
    assert second.num_shards == 1
    assert second.of_examples(2) is second


def test_the_number_of_a_name_is_the_same_in_every_process():
    assert random.number("square") == 1306749097
    assert random.number("apgd_ce") != random.number("apgd_t")
