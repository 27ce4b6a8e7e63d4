"""Batches that shrink: their sizes, that nobody is lost, and that the results stay the same."""

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks import APGDT, packing
from rlfat_tf.attacks.packing import SIZES, packed, repeat_for_remaining, unpacked
from tests import reference


def test_sizes_pad_by_an_eighth_at_most():
    assert SIZES == sorted(set(SIZES)) and SIZES[:17] == list(range(17))
    for count in (17, 65, 99, 129, 1000, 50_001):
        remaining = np.zeros(60_000, bool)
        chosen = np.random.default_rng(count).choice(60_000, count, replace=False)
        remaining[chosen] = True
        rows, found = packed(tf.constant(remaining))
        assert found == count and len(rows) in SIZES and count <= len(rows) <= 1.125 * count
        np.testing.assert_array_equal(rows[:count], np.sort(chosen))
        assert np.all(rows[count:].numpy() == chosen.min())
    assert len([size for size in SIZES if 0 < size <= 128]) == 40
    assert packed(tf.zeros([5], tf.bool))[0].shape == 0


def test_padding_is_not_put_back():
    rows, count = packed(tf.constant(np.arange(40) % 2 == 0))  # 20
    rows, count = tf.concat([rows[:17], rows[:1]], 0), tf.constant(17)
    new = tf.concat([tf.ones([17]), [np.nan]], 0)
    expected = np.where((np.arange(40) % 2 == 0) & (np.arange(40) < 34), 1.0, 0.0)
    np.testing.assert_array_equal(unpacked(tf.zeros([40]), new, rows, count), expected)


def test_everyone_goes_on_to_their_own_end():
    ends = np.random.default_rng(0).integers(0, 40, 60)
    seen = []

    def step_of(rows):
        def step(number, state):
            seen.append((int(number), len(rows)))
            count, total, _ = state
            going = count < tf.gather(ends, rows)
            total = total + tf.where(going, number, 0)
            count += tf.cast(going, tf.int64)
            return count, total, count < tf.gather(ends, rows)

        return step

    start = (tf.zeros([60], tf.int64), tf.zeros([60], tf.int32), tf.constant(ends > 0))
    count, total, _ = repeat_for_remaining(step_of, 25, start, lambda state: state[-1])
    last = np.minimum(ends, 25)
    np.testing.assert_array_equal(count, last)
    np.testing.assert_array_equal(total, last * (last + 1) // 2)
    assert [number for number, _ in seen] == list(range(1, 26))
    sizes = [size for _, size in seen]
    left = [int((ends > done).sum()) for done in (0, 10, 20)]
    assert sizes == [SIZES[np.searchsorted(SIZES, n)] for n in left for _ in range(10)][:25]


IMAGES, _, _ = reference.images_and_labels(40, seed=1)
NET = reference.keras_net(seed=4)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)


def test_packing_while_it_runs_changes_no_result(monkeypatch):
    attack = APGDT(epsilon=0.15, steps=25, targets=2)
    found, looked = [], []
    for every in (1000, 10):
        monkeypatch.setattr(packing, "EVERY", every)
        total = tf.Variable(0)

        def net(images, total=total):
            total.assign_add(tf.shape(images)[0])
            return NET(images)

        call = tf.function(lambda x, y, net=net: attack(net, x, y, seed=3), autograph=False)
        found.append(call(IMAGES, LABELS))
        looked.append(int(total))
    broken = np.argmax(NET(found[0]), -1) != LABELS
    assert 8 < broken.sum() < 38
    # Another size of the batch may take another kernel, which adds in another order.
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_array_equal(np.argmax(NET(found[1]), -1) != LABELS, broken)
    assert looked[1] < 0.85 * looked[0]
