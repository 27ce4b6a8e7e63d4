"""The squares that become of images."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.data.view import View


@pytest.mark.parametrize("sides", [(40, 70), (70, 40), (32, 32), (33, 900), (5, 3)])
def test_the_centre_is_that_of_the_image_with_a_short_side_of_256_by_224(sides):
    image = np.random.default_rng(0).integers(0, 256, (*sides, 3)).astype(np.uint8)
    size, short = 28, 32
    whole = [max(short, short * side // min(sides)) for side in sides]
    resized = tf.image.resize(image, whole, antialias=True).numpy()
    row, column = ((side - size) // 2 for side in whole)
    expected = resized[row : row + size, column : column + size]
    found = View(size, "centre")(tf.constant(image)).numpy()
    assert found.shape == (size, size, 3) and found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.6  # rounded, and places are float32
    batch = View(size, "centre")(tf.constant(image[None] / np.float32(255))).numpy()
    np.testing.assert_allclose(batch[0], expected / 255, atol=3e-4)


def test_refusals():
    with pytest.raises(ValueError, match="Unknown view 'center'. Did you mean 'centre'"):
        View(8, "center").check()
    with pytest.raises(ValueError, match="--view=centre needs .*--image_size=224"):
        View(None, "centre").check()
