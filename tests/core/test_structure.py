"""What the shapes and dtypes of examples must be: what was expected, what came, what to do."""

import re

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import structure

IMAGES = np.linspace(0, 1, 4 * 5 * 5 * 1, dtype=np.float32).reshape(4, 5, 5, 1)
LABELS = np.array([0, 2, 1, 2])


def spec(shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype)


STRUCTURES = {
    "tfds": ({"image": IMAGES, "label": LABELS}, "entries ['image', 'label']. Load the data set"),
    "images only": (IMAGES, "received images only"),
    "a tuple of images": ((IMAGES,), "received images only"),
    "no labels": ((IMAGES, None), "received images only"),
    "several inputs": (({"a": IMAGES, "b": IMAGES}, LABELS), "several inputs (['a', 'b'])"),
    "a pair of inputs": (((IMAGES, IMAGES), LABELS), "tuple of several inputs (2)"),
    "several targets": ((IMAGES, {"a": LABELS}), "received dict. A classifier has one output"),
    "8 bits": (((255 * IMAGES).astype(np.uint8), LABELS), "received uint8. Divide 8-bit images"),
    "8 bits, in a data set": ((spec([None, 5, 5, 1], tf.uint8), spec([None])), "received uint8"),
    "integers": ((IMAGES.astype(np.int64), LABELS), "received int64. Divide 8-bit images by 255"),
    "16 bits": (
        (IMAGES.astype(np.uint16), LABELS),
        "received uint16. Divide 16-bit images by 65535",
    ),
    "yes and no": (
        (IMAGES > 0.5, LABELS),
        "received bool. Convert them: tf.cast(images, tf.float32).",
    ),
    "a named input": (
        ({"img": IMAGES}, LABELS),
        "a dict that holds it. Pass what is in it, images['img']",
    ),
    "a tuple of one": (((IMAGES,), LABELS), "a tuple that holds it. Pass what is in it, images[0]"),
    "a list of images": (
        (list(IMAGES), LABELS),
        "a list of 4 images. Make an array of them: numpy.stack",
    ),
    "weights of classes": (
        (IMAGES, LABELS, np.ones((4, 3))),
        "[batch] or [batch, 1]; received shape (4, 3)",
    ),
    "weights as maps": ((IMAGES, LABELS, spec([None, 1, 1])), "received shape (None, 1, 1)"),
    "unbatched": ((spec([5, 5, 1]), spec([], tf.int64)), "of shape (5, 5, 1). Batch the data set"),
    "names": ((IMAGES, np.array(["a", "b", "c", "c"])), "strings, for instance 'a'. Number"),
    "names as objects": ((IMAGES, np.array(["a", "b"], object)), "for instance 'a'"),
    "names as bytes": ((IMAGES, np.array([b"a", b"b"])), "for instance b'a'"),
    "names in a data set": ((spec([None, 5, 5, 1]), spec([None], tf.string)), "received strings."),
    "images without a shape": ((spec(None), spec([None])), "ensure_shape(images, [height"),
    "labels without a shape": ((spec([None, 5, 5, 1]), spec(None)), "ensure_shape(label, [])"),
    "images of several sizes": (
        (tf.RaggedTensorSpec([None, None, None, 1]), spec([None])),
        "received a RaggedTensorSpec. Resize them before",
    ),
    "sparse labels": ((IMAGES, tf.SparseTensorSpec([None, 3])), "tf.sparse.to_dense(labels)"),
    "labels as maps": ((IMAGES, np.zeros((4, 5, 5))), "received shape (4, 5, 5)"),
}


@pytest.mark.parametrize(("batch", "message"), STRUCTURES.values(), ids=STRUCTURES)
def test_what_is_no_batch_of_images_and_labels(batch, message):
    with pytest.raises(ValueError, match=f"^Expected .*{re.escape(message)}"):
        structure.check_structure(batch)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.float64), np.eye(3)[LABELS]])
@pytest.mark.parametrize("weights", [(), (np.ones(4),), (np.ones((4, 1)),), (None,), ([1.0] * 4,)])
def test_batches_that_are_fine(labels, weights):
    structure.check_structure((IMAGES, labels, *weights))
    unknown = spec([None, None, None, 3], tf.float16), spec([None, 1]), *weights
    structure.check_structure(unknown)
    structure.check_structure((*unknown[:2], spec(None)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
def test_channels_in_front(channels):
    message = "looks like .batch, channels, height, width.*Permute.*, or, of a function, lambda x"
    for shape in ((2, channels, 32, 32), (None, channels, 64, 64)):
        with pytest.raises(ValueError, match=message):
            structure.check_layout(spec(shape))
        structure.check_layout(spec((shape[0], *shape[2:], channels)))
    structure.check_layout(spec((2, None, None, channels)))


@pytest.mark.parametrize("shape", [(2, 1, 5, 3), (2, 5, 9, 13), (2, 32, 8, 8), (2, 8, 8, 8)])
def test_layouts_that_may_be(shape):
    structure.check_layout(spec(shape))


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [((2, 64), r"layers.Flatten\(\), model"), ((2, 8, 8), r"Reshape\(\(height")],
)
def test_images_of_another_rank(shape, remedy):
    with pytest.raises(ValueError, match=f"received {re.escape(str(shape))}.*{remedy}"):
        structure.check_layout(np.zeros(shape, np.float32))
