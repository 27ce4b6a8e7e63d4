import itertools

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import data


def numbered(n, shape=(8, 8, 3), dtype=np.uint8):
    """Images whose label is their number."""
    values = np.random.RandomState(0).randint(0, 256, (n, *shape))
    values = (values / 255).astype(np.float32) if dtype == np.float32 else values.astype(dtype)
    return data.Arrays(values, np.arange(n))


def take(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def order(arrays, epochs=1, batch_size=4, **kwargs):
    steps = data.steps_per_epoch(arrays, batch_size)
    batches = data.training_batches(arrays, batch_size=batch_size, augment="none", **kwargs)
    return np.concatenate([labels for _, labels in take(batches, epochs * steps)])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batches_are_scaled_float_images_of_static_shape(dtype):
    arrays = numbered(10, dtype=dtype)
    batches = data.training_batches(arrays, batch_size=4, seed=0, augment="none")
    assert batches.element_spec == (
        tf.TensorSpec([4, 8, 8, 3], tf.float32),
        tf.TensorSpec([4], tf.int32),
    )
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    scale = 255 if dtype == np.uint8 else 1
    for images, labels in take(batches, 5):
        expected = arrays.images[labels].astype(np.float32) / np.float32(scale)
        np.testing.assert_array_equal(images, expected)


def test_an_epoch_holds_every_example_once_but_the_partial_batch():
    arrays = numbered(23)
    labels = order(arrays, epochs=3, seed=0).reshape(3, 20)
    for epoch in labels:
        assert len(set(epoch)) == 20
    assert data.steps_per_epoch(arrays, 4) == 5
    assert len({tuple(epoch) for epoch in labels}) == 3
    assert set(labels.ravel()) == set(range(23))  # other examples are left over each time


def test_the_order_depends_on_seed_and_epoch_and_not_on_the_batch_size():
    arrays = numbered(24)
    first = order(arrays, 2, seed=1)
    np.testing.assert_array_equal(first, order(arrays, 2, seed=1))
    np.testing.assert_array_equal(first, order(arrays, 2, seed=1, batch_size=8))
    np.testing.assert_array_equal(first, order(arrays, 2, seed=1, batch_size=24))
    assert (first != order(arrays, 2, seed=2)).any()


AUGMENTS = ["flip", "crop_flip+cutout"]


@pytest.mark.parametrize("augment", AUGMENTS)
def test_what_an_example_looks_like_depends_on_seed_epoch_and_example_alone(augment):
    arrays = numbered(24)

    def epochs(batch_size, seed):
        """What each example looks like in each of two epochs."""
        batches = data.training_batches(arrays, batch_size=batch_size, seed=seed, augment=augment)
        seen = [{}, {}]
        steps = 24 // batch_size
        for step, (images, labels) in enumerate(take(batches, 2 * steps)):
            seen[step // steps].update(zip(labels, images))
        return np.stack([[epoch[i] for i in range(24)] for epoch in seen])

    first = epochs(4, seed=0)
    np.testing.assert_array_equal(first, epochs(4, seed=0))
    np.testing.assert_array_equal(first, epochs(12, seed=0))
    assert (first[0] != first[1]).any()
    assert (first != epochs(4, seed=1)).any()


def test_augmentations_are_applied_to_their_own_example():
    arrays = numbered(24)
    batches = data.training_batches(arrays, batch_size=6, seed=0, augment="flip")
    flips = 0
    for images, labels in take(batches, 8):
        plain = arrays.images[labels].astype(np.float32) / np.float32(255)
        same = (images == plain).all((1, 2, 3))
        mirrored = (images == plain[:, :, ::-1]).all((1, 2, 3))
        assert (same ^ mirrored).all()
        flips += mirrored.sum()
    assert 10 < flips < 38


@pytest.mark.parametrize("augment", ["none", "crop_flip+cutout"])
def test_starting_at_a_step_is_skipping(augment):
    def batches(start_step):
        return data.training_batches(
            numbered(23), batch_size=4, seed=9, augment=augment, start_step=start_step
        )

    whole = take(batches(0), 30)
    for start_step in (1, 4, 5, 7, 23):
        for (images, labels), later in zip(whole[start_step:], take(batches(start_step), 7)):
            np.testing.assert_array_equal(labels, later[1])
            np.testing.assert_array_equal(images, later[0])


POLICY = {"augment": "random_erasing+cutmix", "num_classes": 24, "seed": 9}


def test_mixed_images_depend_on_neither_batch_size_nor_start():
    def stream(batch_size, start_step=0):
        batches = data.training_batches(
            numbered(24), batch_size=batch_size, start_step=start_step, **POLICY
        )
        images, rows = zip(*take(batches, 48 // batch_size - start_step))
        return np.concatenate(images), np.concatenate(rows)

    whole = stream(4)
    assert whole[1].shape == (48, 24) and whole[1].dtype == np.float32
    for batch_size, start_step in [(4, 5), (12, 1)]:
        for expected, found in zip(whole, stream(batch_size, start_step)):
            np.testing.assert_array_equal(found, expected[batch_size * start_step :])


def test_cutmix_shows_two_examples_as_they_look_in_this_epoch():
    arrays = numbered(24)

    def epochs(augment):
        batches = data.training_batches(
            arrays, batch_size=8, seed=3, augment=augment, num_classes=24
        )
        images, labels = zip(*take(batches, 6))
        return np.reshape(images, [2, 24, 8, 8, 3]), np.reshape([*labels], [2, 24, -1])

    alone, numbers = epochs("crop_flip")
    mixed, rows = epochs("crop_flip+cutmix")
    np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-6)
    for epoch in range(2):
        looks = dict(zip(numbers[epoch, :, 0], alone[epoch]))
        partners = []
        for own, image, row in zip(numbers[epoch, :, 0], mixed[epoch], rows[epoch]):
            others = set(np.flatnonzero(row)) - {own}
            assert len(others) <= 1
            partner = others.pop() if others else own
            of_own, of_partner = (image == looks[own]).all(-1), (image == looks[partner]).all(-1)
            assert (of_own | of_partner).all()  # black borders may be of both
            assert of_own.mean() >= row[own] - 1e-6 and 1 - of_partner.mean() <= row[own] + 1e-6
            partners.append(partner)
        assert len(set(partners)) > 12
    assert (rows[0].max(-1) != rows[1].max(-1)).any()


def test_labels_to_mix_need_the_number_of_classes():
    for classes, message in [(None, "num_classes=10"), (4, r"labels in 0 ... 3.*labels up to 4")]:
        with pytest.raises(ValueError, match=message):
            data.training_batches(
                numbered(5), batch_size=2, seed=0, augment="cutmix", num_classes=classes
            )


def test_a_late_start_computes_no_skipped_batches():
    batches = data.training_batches(numbered(8), batch_size=4, seed=0, start_step=2_000_000_001)
    assert len(take(batches, 3)) == 3


def test_a_second_iteration_is_the_first_again():
    batches = data.training_batches(numbered(8), batch_size=4, seed=0, augment="crop_flip")
    for (images, _), (images_2, _) in zip(take(batches, 4), take(batches, 4)):
        np.testing.assert_array_equal(images, images_2)


def test_the_arrays_are_captured_and_not_written_into_the_graph():
    arrays = data.Arrays(np.zeros([64, 64, 64, 3], np.uint8), np.arange(64))
    for batches in (
        data.training_batches(arrays, batch_size=4, seed=0),
        data.evaluation_batches(arrays, batch_size=4),
    ):
        function = tf.function(lambda batches=batches: batches._variant_tensor)
        size = function.get_concrete_function().graph.as_graph_def().ByteSize()
        assert size < arrays.images.nbytes / 10


def test_a_batch_size_beyond_the_data_names_both_numbers():
    for function in (
        lambda: data.training_batches(numbered(5), batch_size=6, seed=0),
        lambda: data.steps_per_epoch(numbered(5), 6),
    ):
        with pytest.raises(ValueError, match="batch_size is 6, but there are 5 training examples"):
            function()


def test_a_pair_of_arrays_is_not_taken_for_two_examples():
    pair = numbered(5).images, numbered(5).labels
    for function in (
        lambda: data.training_batches(pair, batch_size=2, seed=0),
        lambda: data.evaluation_batches(pair, batch_size=2),
    ):
        with pytest.raises(TypeError, match=r"received tuple.*data.Arrays\(images, labels\)"):
            function()


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_sizes_that_are_not_positive(batch_size):
    with pytest.raises(ValueError, match="batch_size of at least 1"):
        data.training_batches(numbered(5), batch_size=batch_size, seed=0)
    with pytest.raises(ValueError, match="batch_size of at least 1"):
        data.evaluation_batches(numbered(5), batch_size=batch_size)


def test_other_wrong_arguments():
    with pytest.raises(ValueError, match="start_step of at least 0; received -1"):
        data.training_batches(numbered(5), batch_size=2, seed=0, start_step=-1)
    with pytest.raises(ValueError, match="Unknown augmentation 'mixup'"):
        data.training_batches(numbered(5), batch_size=2, seed=0, augment="mixup")


@pytest.mark.parametrize("batch_size", [1, 4, 5, 7, 23, 100])
def test_evaluation_is_every_example_once_in_order(batch_size):
    arrays = numbered(23)
    batches = data.evaluation_batches(arrays, batch_size=batch_size)
    assert int(batches.cardinality()) == -(-23 // batch_size)
    assert batches.element_spec[0].shape.as_list() == [None, 8, 8, 3]
    images, labels = (np.concatenate(part) for part in zip(*batches.as_numpy_iterator()))
    np.testing.assert_array_equal(labels, np.arange(23))
    np.testing.assert_array_equal(images, arrays.images.astype(np.float32) / np.float32(255))


def test_a_chain_of_all_kinds_keeps_shape_and_range():
    arrays, augment = numbered(8, shape=(9, 14, 1)), "crop_shift+color_shape+cutmix"
    batches = data.training_batches(arrays, batch_size=8, seed=0, augment=augment, num_classes=8)
    images, _ = take(batches, 1)[0]
    assert images.shape == (8, 9, 14, 1)
    assert images.min() >= 0 and images.max() <= 1


def test_no_pass_waits_for_the_autotuner():
    training = data.training_batches(numbered(4), batch_size=2, seed=0)
    for batches in (training, data.evaluation_batches(numbered(4), batch_size=2)):
        assert batches.options().autotune.enabled is False
