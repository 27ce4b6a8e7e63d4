"""A served model sees in a file what training saw."""

import io

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


def file_of(kind, mode="RGB", colours=None):
    pixels = np.random.default_rng(1).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    image, stream = image.quantize(colours) if colours else image.convert(mode), io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PNG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_files(kind, channels):
    content = file_of(kind, "L")
    found = tf.function(image_of_bytes(View(7), (7, 7, channels)))(content)
    np.testing.assert_array_equal(found, decode(content)[..., :channels])


@pytest.mark.parametrize("kind", ["BMP", "GIF"])
def test_colours_for_a_network_of_grey_images(kind):
    content = file_of(kind)
    found = tf.function(image_of_bytes(View(7), (7, 7, 1)))(content)
    luminance = decode(content) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(found[..., 0], luminance, atol=1)


def test_a_palette_of_colours():
    of_bytes = tf.function(image_of_bytes(View(7), (7, 7, 3)))
    png = file_of("PNG", colours=16)
    np.testing.assert_array_equal(of_bytes(png), decode(png))
    with pytest.raises(tf.errors.InvalidArgumentError, match="palette of colours.*PNG or JPEG"):
        of_bytes(file_of("BMP", colours=16))
    rgb = file_of("BMP")
    np.testing.assert_array_equal(of_bytes(rgb), decode(rgb))
