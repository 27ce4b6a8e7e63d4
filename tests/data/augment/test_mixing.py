import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.data.augment import mixing
from tests.data.augment.common import SHAPES, batch, is_rate, seed


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pixels_and_shares(shape, dtype):
    images = batch(shape, n=30, dtype=dtype)
    partners = images[::-1]
    _, boxes = mixing.CUTMIX.draw(30, shape, seed(1, 2))
    found, shares = mixing.cutmix(tf.constant(images), tf.constant(partners), boxes)
    assert found.dtype == dtype
    for image, partner, mixed, share, box in zip(
        images, partners, found, shares.numpy(), boxes.numpy()
    ):
        mask = np.zeros(shape[:2], bool)
        mask[box[0] : box[2], box[1] : box[3]] = True
        np.testing.assert_array_equal(mixed, np.where(mask[..., None], partner, image))
        assert share == pytest.approx(1 - mask.mean(), abs=1e-6)


@pytest.mark.parametrize("shape", [(32, 32, 3), (9, 14, 1), (1, 1, 1)])
def test_boxes_are_those_of_the_equations(shape):
    n, (height, width, _) = 500, shape
    _, boxes = mixing.CUTMIX.draw(n, shape, seed(5, 6))
    _, places = tf.random.experimental.stateless_split(seed(5, 6), 2)
    for (covered, y, x), box in zip(
        tf.random.stateless_uniform([n, 3], places).numpy(), boxes.numpy()
    ):
        ratio = np.sqrt(covered)  # lambda = 1 - covered
        row, column = int(height * y), int(width * x)
        half_h, half_w = int(height * ratio) // 2, int(width * ratio) // 2
        top, bottom = np.clip([row - half_h, row + half_h], 0, height)
        left, right = np.clip([column - half_w, column + half_w], 0, width)
        assert box.tolist() == [top, left, bottom, right]


def test_every_example_is_a_partner_once_and_some_images_stay():
    n = 20000
    partners, boxes = (x.numpy() for x in mixing.CUTMIX.draw(n, (64, 64, 3), seed(0, 0)))
    assert sorted(partners) == list(range(n)) and (partners == np.arange(n)).sum() < 10
    height = boxes[:, 2] - boxes[:, 0]
    assert is_rate(height == 0, (2 / 64) ** 2)  # a side of less than 2 pixels
    # Where nothing is cut off, sides are even.
    whole = (boxes[:, 0] > 0) & (boxes[:, 2] < 64)
    assert set(height[whole] % 2) == {0}


def test_mixed_rows():
    own, others = (tf.one_hot(ids, 4) for ids in ([0, 2, 1], [1, 2, 0]))
    rows = mixing.mixed_rows(own, others, tf.constant([0.25, 0.3, 1.0])).numpy()
    np.testing.assert_allclose(rows, [[0.25, 0.75, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]], rtol=1e-6)
