import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from rlfat_tf import data


def test_sizes_range_and_first_values():
    digits = data.load("digits", download=False)
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert digits.image_shape == (8, 8, 1) and digits.num_classes == 10
    images = np.concatenate([digits.train.images, digits.test.images])
    assert images.dtype == np.float32 and images.min() == 0.0 and images.max() == 1.0
    np.testing.assert_array_equal(images * 16, np.round(images * 16))
    # The first example of all is a zero, and the first of its class: a test example.
    assert digits.test.labels[0] == 0
    assert (digits.test.images[0, 0, :, 0] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert digits.train.labels[:5].tolist() == [1, 3, 5, 6, 7]


def test_the_split_is_stratified_and_a_partition():
    digits = data.load("digits")
    counts = np.bincount(load_digits().target)
    test_counts = np.bincount(digits.test.labels)
    assert np.abs(test_counts - counts / 5).max() < 1
    whole = np.sort(load_digits().images.reshape(-1, 64) @ np.arange(1, 65))
    parts = np.concatenate([digits.train.images, digits.test.images]).reshape(-1, 64) * 16
    np.testing.assert_array_equal(np.sort(parts.astype(float) @ np.arange(1, 65)), whole)


def test_fewer_examples_and_another_size():
    whole, part = data.load("digits"), data.load("digits", train_examples=30, test_examples=7)
    np.testing.assert_array_equal(part.train.images, whole.train.images[:30])
    np.testing.assert_array_equal(part.test.labels, whole.test.labels[:7])
    large = data.load("digits", train_examples=5, test_examples=5, image_size=12)
    assert large.image_shape == (12, 12, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"train_examples": 1438}, "train_examples is 1438, but the train part has 1437 examples"),
        ({"test_examples": 361}, "test_examples is 361, but the test part has 360 examples"),
        ({"train_examples": 0}, "train_examples of at least 1; received 0"),
        ({"test_examples": -1}, "test_examples of at least 1; received -1"),
        ({"image_size": 0}, "image_size of at least 1; received 0"),
    ],
)
def test_impossible_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **arguments)


@pytest.mark.parametrize("name", ["cifar", "digitz", "tfds:", "folder:", "zip:x", ""])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=r"Unknown data set .*Known: cifar10, .*folder:<path>"):
        data.load(name)


def test_nearest_name():
    with pytest.raises(ValueError, match="Did you mean 'cifar100'"):
        data.load("cifar-100")


@pytest.mark.parametrize(
    "module, name, message",
    [
        ("sklearn.datasets", "digits", "pip install scikit-learn"),
        ("tensorflow_datasets", "mnist", "pip install tensorflow-datasets"),
    ],
)
def test_a_missing_package_is_named(module, name, message, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=message):
        data.load(name, download=False)
