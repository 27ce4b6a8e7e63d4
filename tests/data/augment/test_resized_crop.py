import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from rlfat_tf import data
from rlfat_tf.data import augment
from rlfat_tf.data.augment import jitter, resized_crop


def test_windows_are_within_the_image_and_of_their_ranges():
    last = 1 - 2**-24
    for sides in ((1, 1), (3, 200), (37, 23)):
        for draw in itertools.product((0, last), repeat=4):
            row, column, height, width = resized_crop.window(
                tf.constant(draw, tf.float32), tf.constant(sides)
            ).numpy()
            assert 0 <= row and row + height <= sides[0] and height >= 1
            assert 0 <= column and column + width <= sides[1] and width >= 1
    draws = resized_crop.RESIZED_CROP.draw(2000, (1000, 1000, 3), [0, 0])

    @tf.function
    def all_windows():
        sides = tf.constant([1000, 1000])
        return tf.map_fn(lambda draw: resized_crop.window(draw, sides), draws, tf.int32)

    windows = all_windows().numpy()
    height, width = windows[:, 2], windows[:, 3]
    whole = (height < 1000) & (width < 1000)
    area, ratio = (height * width / 1e6)[whole], (width / height)[whole]
    assert 0.079 < area.min() < 0.09 and ratio.min() > 0.748 and ratio.max() < 1.336
    assert ratio.min() < 0.76 and ratio.max() > 1.31
    # The ratio is log-uniform, what is drawn is uniform, and places are as far as there is room.
    assert abs(np.log(ratio).mean()) < 6 * np.log(4 / 3) / np.sqrt(3 * whole.sum())
    assert np.isclose((windows[whole, 0] / (1000 - height[whole])).mean(), 0.5, atol=0.05)


def test_a_window_is_cut_and_resized_alike_from_memory_and_disk(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 9, 9, 3)).astype(np.uint8)
    for part, i in itertools.product(("train", "test"), range(8)):
        file = tmp_path / part / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i] if part == "train" else 255 - images[i]).save(file)
    parts = [data.load(f"folder:{tmp_path}", memory=how).train for how in ("always", "never")]
    policy = {"seed": 0, "augment": "resized_crop+flip"}
    streams = [
        next(data.training_batches(part, batch_size=size, **policy).as_numpy_iterator())
        for part, size in zip(parts, (8, 4))
    ]
    for all_of_them, some in zip(*streams):
        np.testing.assert_array_equal(all_of_them[:4], some)
    with pytest.raises(ValueError, match="resized_crop once and at the beginning"):
        augment.parse("flip+resized_crop")
    # Closed form: the window of one example, resized by TensorFlow.
    draw = np.array([0.3, 0.7, 0.2, 0.9], np.float32)
    row, column, height, width = resized_crop.window(draw, tf.constant([9, 9])).numpy()
    area = 81 * (0.08 + 0.92 * 0.3)
    ratio = (3 / 4) ** 0.3 * (4 / 3) ** 0.7
    assert (height, width) == (round((area / ratio) ** 0.5), round((area * ratio) ** 0.5))
    assert (row, column) == (int(0.2 * (10 - height)), int(0.9 * (10 - width)))
    found = resized_crop.cut(tf.constant(images[0]), draw)
    np.testing.assert_array_equal(found, images[0][row:, column:][:height, :width])


def test_jitter_is_what_pillow_makes():
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3)).astype(np.uint8)
    factors = jitter.COLOR_JITTER.draw(4, (6, 5, 3), [0, 0]).numpy()
    assert factors.shape == (4, 3) and factors.min() > 0.6 and factors.max() < 1.4
    found = jitter.color_jitter(tf.constant(images), tf.constant(factors)).numpy()
    for image, (bright, contrast, colour), one in zip(images, factors, found):
        expected = ImageEnhance.Brightness(Image.fromarray(image)).enhance(bright)
        expected = ImageEnhance.Contrast(expected).enhance(contrast)
        expected = ImageEnhance.Color(expected).enhance(colour)
        np.testing.assert_array_equal(one, np.asarray(expected))
