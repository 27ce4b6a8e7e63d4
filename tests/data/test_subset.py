"""A stratified sample holds the classes in proportion, whatever order the examples are in."""

import numpy as np
import pytest

from rlfat_tf.data import Arrays, subset
from rlfat_tf.data.subset import stratified


@pytest.mark.parametrize("count", [1, 7, 30, 100, 999, 1000])
@pytest.mark.parametrize("shares", [[0.5, 0.3, 0.15, 0.05], [0.1] * 10], ids=["uneven", "even"])
def test_classes_keep_their_shares(count, shares):
    labels = np.repeat(np.arange(len(shares)), np.round(1000 * np.array(shares)).astype(int))
    chosen = stratified(labels, count, seed=3)
    assert len(set(chosen.tolist())) == count and np.all(np.diff(chosen) > 0)
    found = np.bincount(labels[chosen], minlength=len(shares))
    assert np.abs(found - count * np.array(shares)).max() < 1


def test_the_sample_follows_from_seed_and_labels_alone():
    """The numbers are pinned: a report that names a seed names its examples."""
    labels = np.array([0, 1, 1, 0, 2, 2, 1, 0, 0, 1])
    assert stratified(labels, 5, seed=0).tolist() == stratified(labels + 5, 5, seed=0).tolist()
    assert stratified(labels, 5, seed=0).tolist() == PINNED
    drawn = {tuple(stratified(labels, 5, seed)) for seed in range(20)}
    assert len(drawn) > 10
    taken = np.bincount(np.concatenate([stratified(labels, 5, s) for s in range(500)]))
    # Half of every class, and each example as often as any other.
    np.testing.assert_allclose(taken / 500, 0.5, atol=0.08)


PINNED = [2, 4, 7, 8, 9]


def test_a_smaller_sample_is_part_of_a_larger_one():
    labels = np.random.RandomState(1).randint(0, 7, 300)
    samples = [set(stratified(labels, count, seed=5).tolist()) for count in (10, 60, 200, 300)]
    assert samples[0] < samples[1] < samples[2] < samples[3] == set(range(300))


def test_parts_of_arrays():
    arrays = Arrays(np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1), np.array([0, 0, 0, 1, 1, 1]))
    assert subset(arrays, 2, "first").labels.tolist() == [0, 0]
    sample = subset(arrays, 2)
    assert sample.labels.tolist() == [0, 1]
    assert arrays.labels[sample.images.ravel()].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"way to choose examples 'last'.*first, stratified"):
        subset(arrays, 2, "last")
    for how in ("first", "stratified"):
        with pytest.raises(ValueError, match="from 1 to 6|1 to 6 examples"):
            subset(arrays, 7, how)
