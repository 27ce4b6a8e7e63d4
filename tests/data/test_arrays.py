import numpy as np
import pytest

from rlfat_tf import data


def images(n, dtype=np.uint8, shape=(4, 4, 3)):
    return np.arange(n * int(np.prod(shape))).reshape(n, *shape).astype(dtype) % 251


def labels(n, classes=3):
    return np.arange(n) % classes


def make(train=None, train_labels=None, test=None, test_labels=None, **kwargs):
    return data.from_arrays(
        images(6) if train is None else train,
        labels(6) if train_labels is None else train_labels,
        images(3) if test is None else test,
        labels(3) if test_labels is None else test_labels,
        **kwargs,
    )


def test_from_arrays_keeps_uint8_and_counts_classes():
    train = images(6)
    dataset = make(train)
    assert dataset.train.images is train
    assert dataset.image_shape == (4, 4, 3)
    assert dataset.num_classes == 3
    assert dataset.class_names == ("0", "1", "2")
    assert len(dataset.train) == 6 and len(dataset.test) == 3


def test_from_arrays_takes_lists_names_and_doubles():
    dataset = data.from_arrays(
        [[[[0.0]]], [[[1.0]]]], [0, 1], np.zeros([1, 1, 1, 1]), [1], class_names=["a", "b", "c"]
    )
    assert dataset.train.images.dtype == np.float32
    assert dataset.num_classes == 3
    assert dataset.class_names == ("a", "b", "c")
    assert make(num_classes=7).num_classes == 7


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train": images(6, np.float32)}, r"from 0 to 250. Did you mean to divide by 255\?"),
        ({"train": images(6, np.float32) / 125 - 1}, r"in \[0, 1\]; received values from -1 to 1"),
        ({"train": images(6, np.float64) * np.nan}, "finite pixel values; received NaN"),
        ({"train": images(6, np.int64)}, "uint8 images, or floats .* received int64"),
        ({"train": images(6)[..., 0]}, r"For one channel add an axis: images\[..., None\]"),
        ({"train": images(6).reshape(6, -1)}, r"received \(6, 48\)"),
        ({"train": images(0), "train_labels": labels(0)}, "at least one image"),
        ({"train": images(5)}, "5 images and 6 labels"),
        ({"train_labels": np.eye(3)[labels(6)]}, r"one-hot labels pass labels.argmax"),
        ({"train_labels": labels(6) * 1.0}, "integer labels; received dtype float64"),
        ({"train_labels": labels(6) - 1}, "training labels from 0 to 2 .* labels from -1 to 1"),
        ({"num_classes": 2}, r"from 0 to 1 \(2 classes\); received labels from 0 to 2"),
        ({"test_labels": labels(3) + 1, "num_classes": 3}, "test labels from 0 to 2"),
        ({"train_labels": labels(6, 1), "test_labels": labels(3, 1)}, "at least 2 classes"),
        ({"class_names": ["a", "b"], "num_classes": 3}, "3 class names.* received 2"),
        ({"test": images(3, shape=(4, 5, 3))}, r"one shape; received \(4, 4, 3\) and \(4, 5, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make(**change)


def test_split_is_a_partition_in_order_and_depends_on_the_seed_alone():
    arrays = data.Arrays(images(50), np.arange(50))
    train, validation = data.split(arrays, 0.1, seed=3)
    assert len(train) == 45 and len(validation) == 5
    assert sorted([*train.labels, *validation.labels]) == list(range(50))
    assert list(train.labels) == sorted(train.labels)
    assert list(validation.labels) == sorted(validation.labels)
    np.testing.assert_array_equal(validation.images, arrays.images[validation.labels])
    again = data.split(arrays, 0.1, seed=3)[1]
    other = data.split(arrays, 0.1, seed=4)[1]
    np.testing.assert_array_equal(again.labels, validation.labels)
    assert list(other.labels) != list(validation.labels)
    assert set(validation.labels) != set(range(5))


def test_the_end_is_set_aside_in_order():
    arrays = data.Arrays(images(5), np.arange(5))
    train, validation = data.split_end(arrays, 2)
    assert train.labels.tolist() == [0, 1, 2] and validation.labels.tolist() == [3, 4]
    np.testing.assert_array_equal(validation.images, arrays.images[3:])
    with pytest.raises(ValueError, match="received 5 of 5"):
        data.split_end(arrays, 5)


def test_split_of_nothing():
    arrays = data.Arrays(images(5), np.arange(5))
    train, validation = data.split(arrays, 0.0, seed=0)
    assert train is arrays and validation is None


@pytest.mark.parametrize(
    "fraction, message",
    [
        (-0.1, r"in \[0, 1\); received -0.1"),
        (1.0, r"in \[0, 1\); received 1.0"),
        (float("nan"), "received nan"),
        (0.01, "leaves 0 for validation and 5 for training"),
        (0.95, "leaves 5 for validation and 0 for training"),
    ],
)
def test_split_refuses(fraction, message):
    with pytest.raises(ValueError, match=message):
        data.split(data.Arrays(images(5), np.arange(5)), fraction, seed=0)


def test_labels_as_keras_has_them_become_a_row():
    found = make(train_labels=labels(6)[:, None], train=images(6))
    np.testing.assert_array_equal(found.train.labels, labels(6))
    assert found.num_classes == 3
