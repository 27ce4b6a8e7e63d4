"""Extra data: how much of every batch, in which order, with which labels, and for which worker."""

import itertools

import numpy as np
import pytest

from rlfat_tf import data
from rlfat_tf.data import augment
from rlfat_tf.data.mixture import Mixture
from rlfat_tf.data.stream import Stream

REAL, EXTRA, SHAPE = 23, 17, (4, 4, 3)


def images_of(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Extra examples in two files; the label of each is its number."""
    folder = tmp_path_factory.mktemp("extra")
    images, labels = images_of(EXTRA, 1), 100 + np.arange(EXTRA)
    np.savez(folder / "a.npz", image=images[:5], label=labels[:5])
    np.savez(folder / "b.npz", image=images[5:], label=labels[5:])
    return [str(folder / "a.npz"), str(folder / "b.npz")]


@pytest.fixture(scope="module")
def mixture(files):
    real = data.Arrays(images_of(REAL, 0), np.arange(REAL))
    return Mixture(real, data.open_several(files), 0.6)


def take(batches, count):
    return list(itertools.islice(batches.as_numpy_iterator(), count))


@pytest.mark.parametrize("batch_size, share", [(128, 0.7), (256, 0.8), (10, 0.3), (7, 0.5), (6, 0)])
def test_every_slice_of_a_batch_has_the_share(mixture, batch_size, share):
    places = Mixture(
        mixture.real, data.Arrays(images_of(999, 0), np.zeros(999, int)), share
    ).places(batch_size)
    assert places.shape == (batch_size,) and places.sum() == round(share * batch_size)
    for replicas in (2, 4, 8):
        if batch_size % replicas == 0:
            counts = places.reshape(replicas, -1).sum(1)
            assert np.ptp(counts) <= 1
            assert np.ptp(counts) == 0 or places.sum() % replicas


@pytest.fixture(scope="module")
def stream(mixture):
    """Five epochs: batches of 10, of which 6 are extra."""
    assert data.steps_per_epoch(mixture, 10) == 5  # of 23 real ones, 4 a step
    return take(data.training_batches(mixture, batch_size=10, seed=3, augment="flip"), 25)


def test_real_examples_come_as_they_would_alone(mixture, stream):
    real = data.training_batches(mixture.real, batch_size=4, seed=3, augment="flip")
    is_extra = mixture.places(10)
    for (images, labels), (theirs, their_labels) in zip(stream, take(real, 25)):
        np.testing.assert_array_equal(labels[~is_extra], their_labels)
        np.testing.assert_array_equal(images[~is_extra], theirs)


def test_each_extra_example_comes_once_in_a_pass(mixture, stream):
    is_extra = mixture.places(10)
    order = np.concatenate([labels[is_extra] for _, labels in stream]) - 100
    passes = [order[i : i + EXTRA] for i in range(0, len(order), EXTRA)]
    assert len(passes) == 9
    for one in passes[:-1]:
        assert sorted(one) == list(range(EXTRA))
    assert len({tuple(one) for one in passes[:-1]}) == 8
    pixels = images_of(EXTRA, 1).astype(np.float32) / np.float32(255)
    flips = 0
    for images, labels in stream:
        for image, label in zip(images[is_extra], labels[is_extra]):
            mirrored = (image == pixels[label - 100][:, ::-1]).all()
            assert mirrored or (image == pixels[label - 100]).all()
            flips += mirrored
    assert 50 < flips < 100  # of 150; 6 deviations are 37


def test_starting_at_a_step_is_skipping(mixture, stream):
    start = 13  # within a pass and an epoch
    later = data.training_batches(mixture, batch_size=10, seed=3, augment="flip", start_step=start)
    for expected, found in zip(stream[start:], take(later, 4)):
        for one, other in zip(expected, found):
            np.testing.assert_array_equal(one, other)
    far = data.training_batches(mixture, batch_size=10, seed=3, start_step=10**9)
    assert take(far, 1)[0][1].shape == (10,)


def test_slices_of_two_workers_are_the_batch(files):
    """With mixed images and smoothed labels; each worker reads no more than its own."""
    real = data.Arrays(images_of(REAL, 0), np.arange(REAL))
    extra = data.open_several(files).relabelled(np.arange(EXTRA))
    chain = augment.parse("flip+cutmix")
    one = Stream(Mixture(real, extra, 0.6, 0.2), 10, 3, chain, REAL)
    whole, *parts = (take(one.batches(2, *worker), 6) for worker in ((0, 1), (0, 2), (1, 2)))
    for expected, *slices in zip(whole, *parts):
        for all_rows, first, second in zip(expected, *slices):
            assert len(first) == len(second) == 5
            np.testing.assert_array_equal(all_rows, np.concatenate([first, second]))
    is_extra = one.examples.places(10)
    for _, rows in whole:
        np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)
        np.testing.assert_allclose(rows[is_extra].min(1), 0.2 / REAL, rtol=1e-5)
        assert (rows[~is_extra].min(1) == 0).all()


def test_a_worker_whose_slice_has_no_real_image(files):
    """A share of 0.7 of 8 images by 4 workers: two of them have extra ones alone."""
    real = data.Arrays(images_of(REAL, 0), np.arange(REAL) % 4)
    one = Stream(Mixture(real, data.open_several(files), 0.7), 8, 3, augment.parse("flip"), 0)
    whole, *parts = (take(one.batches(0, *w), 2) for w in ((0, 1), *((n, 4) for n in range(4))))
    for expected, *slices in zip(whole, *parts):
        for all_rows, *some in zip(expected, *slices):
            np.testing.assert_array_equal(all_rows, np.concatenate(some))


def test_smoothed_labels(files):
    real = data.Arrays(images_of(REAL, 0), np.arange(REAL) % 4)
    extra = data.open_several(files).relabelled(np.arange(EXTRA) % 4)
    mixed = Mixture(real, extra, 0.5, 0.1)
    with pytest.raises(ValueError, match="num_classes=10"):
        data.training_batches(mixed, batch_size=2, seed=0)
    batches = data.training_batches(mixed, batch_size=2, seed=0, num_classes=4)
    ((_, rows),) = take(batches, 1)
    np.testing.assert_allclose(np.sort(rows[0]), [0, 0, 0, 1])
    np.testing.assert_allclose(np.sort(rows[1]), [0.025, 0.025, 0.025, 0.925], rtol=1e-6)


def test_without_extra_examples_nothing_changes(mixture):
    policy = {"batch_size": 5, "seed": 1, "augment": "flip"}
    for nothing in (Mixture(mixture.real), Mixture(mixture.real, mixture.extra, 0.0)):
        (found,), (expected,) = (
            take(data.training_batches(x, **policy), 1) for x in (nothing, mixture.real)
        )
        np.testing.assert_array_equal(found[0], expected[0])


def test_refusals(mixture, files, tmp_path):
    real, extra = mixture.real, mixture.extra
    for arguments, message in (
        ((real, extra, 1.0), r"share in \[0, 1\); received 1.0"),
        ((real, extra, 0.5, -0.1), r"label_smoothing in \[0, 1\)"),
        ((data.Arrays(np.zeros((5, 4, 5, 3), np.uint8), np.arange(5)), extra, 0.5),
         r"shape \(4, 5, 3\), .* received \(4, 4, 3\)"),
        ((real, extra.take(slice(0)), 0.5), "at least one extra example"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Mixture(*arguments)
    with pytest.raises(ValueError, match="Expected extra labels from 0 to 9 .* 100 to 116"):
        mixture.check_classes(10)
    with pytest.raises(ValueError, match="batch of 1, a share of 0.6 .* leaves no real one"):
        mixture.places(1)
    with pytest.raises(ValueError, match="A batch has 24 extra examples, but there are 17"):
        mixture.places(40)
    with pytest.raises(ValueError, match="of 8, a share of 0.01 .*--extra_share above 0.0625, or a "
                       "--batch_size of at least 51"):  # fmt: skip
        Mixture(real, extra, 0.01).places(8)
    with pytest.raises(ValueError, match="rounds to none"):
        data.steps_per_epoch(Mixture(real, extra, 0.01), 8)
    assert Mixture(real, extra, 0.0626).places(8).sum() == 1
    assert Mixture(real, extra, 0.01).places(51).sum() == 1
    assert not Mixture(real, extra, 0.0).places(8).any()  # which says plainly that there are none
    np.savez(tmp_path / "c.npz", image=np.zeros((2, 5, 4, 3), np.uint8), label=[0, 1])
    with pytest.raises(ValueError, match=r"one shape and type; received uint8 \[4, 4, 3\]; uint8"):
        data.open_several([*files, str(tmp_path / "c.npz")])
