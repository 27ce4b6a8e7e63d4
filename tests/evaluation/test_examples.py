"""What examples of an evaluation may be; wrong ones are refused."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.data import Arrays, Pixels
from rlfat_tf.evaluation import examples
from rlfat_tf.evaluation.examples import as_arrays, check_width
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels()
ROWS = np.eye(3, dtype=np.float32)[LABELS]


@pytest.mark.parametrize(
    "labels", [LABELS[:, None], LABELS.astype(np.float64), ROWS, ROWS.astype(np.int64)]
)
def test_kinds_of_labels(labels):
    for data in ((IMAGES, labels), tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(3)):
        images, found = as_arrays(data)
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(found, LABELS)
        assert found.dtype == np.int32
        check_width(data, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.astype(np.int64) + 2**32, "numbers of classes; received 42949672"),
        (LABELS + 1e10, "numbers of classes; received 1000000000"),
        (ROWS * 0.9 + 0.1 / 3, "one class for every example, .* received soft label rows"),
        (np.full_like(ROWS, 1 / 3), "received soft label rows"),
    ],
)
def test_labels_that_are_no_classes(labels, message):
    for data in ((IMAGES, labels), tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(3)):
        with pytest.raises(ValueError, match=message):
            as_arrays(data)


@pytest.mark.parametrize("classes", [2, 4])
def test_one_hot_labels_of_another_number_of_classes(classes):
    for data in ((IMAGES, ROWS), tf.data.Dataset.from_tensor_slices((IMAGES, ROWS)).batch(3)):
        with pytest.raises(ValueError, match=f"with {classes} columns.*received 3"):
            check_width(data, classes)
    check_width((IMAGES, LABELS), classes)
    check_width(Arrays(IMAGES, LABELS), classes)


@pytest.mark.parametrize("labels", [LABELS, ROWS])
def test_many_images_of_8_bits_are_scaled_where_they_are_read(labels, monkeypatch):
    images = np.round(255 * IMAGES).astype(np.uint8)
    at_once, expected = as_arrays((images, labels))
    monkeypatch.setattr(examples, "SMALL", images.nbytes - 1)
    read, found = as_arrays((images, labels))
    assert isinstance(read, Pixels)
    np.testing.assert_array_equal(read[:], at_once)
    np.testing.assert_array_equal(found, expected)
    for wrong in (
        (images[:, 0], labels),
        (images, labels[:1]),
        (images[:0], labels[:0]),
        (images, None),
    ):
        with pytest.raises(ValueError, match="Expected"):
            as_arrays(wrong)
