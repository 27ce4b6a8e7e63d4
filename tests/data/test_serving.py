"""A served model sees in a file what training saw."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from rlfat_tf.core.compat import keras
from rlfat_tf.data.decode import decode
from rlfat_tf.data.serving import image_of_bytes
from rlfat_tf.data.view import View
from rlfat_tf.storage.saved_model import export_saved_model


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """A JPEG, a PNG and a grey JPEG of different sizes."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    found = []
    for name, shape in (("a.jpg", (21, 34, 3)), ("b.png", (30, 12, 3)), ("c.jpg", (9, 9))):
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(folder / name)
        found.append((folder / name).read_bytes())
    return found


@pytest.mark.parametrize("kind", ["squash", "centre"])
def test_the_image_of_a_file_is_that_of_training(contents, kind):
    view = View(7, kind)
    of_bytes = tf.function(image_of_bytes(view, (7, 7, 3)))
    for content in contents:
        np.testing.assert_array_equal(of_bytes(content), view(tf.constant(decode(content))))


def test_a_saved_model_takes_files(contents, tmp_path):
    network = keras.Sequential(
        [keras.Input((7, 7, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    view = View(7)
    export_saved_model(network, tmp_path / "export", from_bytes=image_of_bytes(view, (7, 7, 3)))
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    served = loaded.signatures["serving_bytes"](files=tf.constant(contents))
    images = np.stack([view(tf.constant(decode(content))) for content in contents])
    expected = network(images.astype(np.float32) / 255).numpy()
    np.testing.assert_allclose(served["logits"], expected, atol=1e-5)
    assert served["label"].numpy().tolist() == expected.argmax(-1).tolist()
