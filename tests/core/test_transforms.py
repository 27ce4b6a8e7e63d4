"""Random Block Shuffle against cutting and joining by hand, and the distribution of its draws."""

import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import random, transforms
from rlfat_tf.core.compat import keras
from tests import reference

# Every pixel has a value of its own.
IMAGES = np.arange(4 * 6 * 5 * 2, dtype=np.float32).reshape(4, 6, 5, 2)
CASES = list(itertools.product(transforms.BLOCK_SHUFFLES, [1, 2, 3, 4]))


def draw_both(k, mode, seed, batch=4):
    """The draw of random_block_shuffle(seed=seed)."""
    seed = random.as_seed(seed)
    return (
        transforms.draw_blocks(6, k, mode, seed.fold(1), batch),
        transforms.draw_blocks(5, k, mode, seed.fold(2), batch),
    )


@pytest.mark.parametrize(("mode", "k"), CASES)
def test_equals_cutting_and_joining_by_hand(mode, k):
    for seed in range(8):
        rows, columns = draw_both(k, mode, seed)
        expected = reference.shuffle_blocks(IMAGES, rows, columns)
        found = transforms.random_block_shuffle(IMAGES, k, mode=mode, seed=seed)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(transforms.shuffle_blocks(IMAGES, rows, columns), expected)
        assert found.dtype == tf.float32


@pytest.mark.parametrize(
    ("starts", "order"),
    [
        ([0, 0, 0, 0], [3, 1, 0, 2]),  # three empty blocks
        ([0, 2, 2, 2], [2, 3, 1, 0]),
        ([0, 0, 5, 5], [3, 2, 1, 0]),
        ([0, 1, 2, 3], [3, 2, 1, 0]),
        ([0, 1, 4, 4], [0, 1, 2, 3]),
    ],
)
def test_empty_and_duplicate_blocks(starts, order):
    blocks = transforms.Blocks(np.array(starts), tf.constant(order))
    whole = transforms.Blocks(tf.constant([0]), tf.constant([0]))
    for rows, columns in ((blocks, whole), (whole, blocks), (blocks, blocks)):
        found = transforms.shuffle_blocks(tf.constant(IMAGES), rows, columns)
        expected = reference.shuffle_blocks(IMAGES, rows, columns)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", transforms.BLOCK_SHUFFLES)
@pytest.mark.parametrize("k", [2, 5])
def test_keeps_the_multiset_of_rows_and_of_columns(mode, k):
    rows_of = {tuple(sorted(row)) for row in IMAGES[2].reshape(6, -1)}
    columns_of = {tuple(sorted(c)) for c in IMAGES[2].transpose(1, 0, 2).reshape(5, -1)}
    for seed in range(10):
        found = transforms.random_block_shuffle(IMAGES, k, mode=mode, seed=seed).numpy()[2]
        assert {tuple(sorted(row)) for row in found.reshape(6, -1)} == rows_of
        assert {tuple(sorted(c)) for c in found.transpose(1, 0, 2).reshape(5, -1)} == columns_of


def test_two_blocks_are_a_cyclic_roll():
    rolls = set()
    for seed in range(25):
        rows, columns = draw_both(2, "batch", seed)
        shifts = [-int(b.starts[1]) if b.order[0] == 1 else 0 for b in (rows, columns)]
        found = transforms.random_block_shuffle(IMAGES, 2, seed=seed)
        np.testing.assert_array_equal(found, np.roll(IMAGES, shifts, axis=(1, 2)))
        rolls.add(tuple(shifts))
    assert len(rolls) > 10


def chi_square_is_small(values, categories):
    counts = np.array([np.sum(values == c) for c in categories])
    expected = np.size(values) / len(categories)
    assert counts.sum() == np.size(values), "a value outside of the categories"
    freedom = len(categories) - 1
    # Mean `freedom`, variance `2 freedom`: five standard deviations.
    assert np.sum((counts - expected) ** 2 / expected) < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("mode", ["batch", "image"])
def test_cuts_are_uniform_from_zero_to_the_last_position_and_orders_are_uniform(mode):
    @tf.function
    def many():
        if mode == "image":
            return transforms.draw_blocks(7, 3, mode, 0, 3000)
        draw = lambda i: transforms.draw_blocks(7, 3, mode, random.as_seed(0).fold(i))  # noqa: E731
        kinds = transforms.Blocks(tf.int32, tf.int32)
        return tf.map_fn(draw, tf.range(3000), fn_output_signature=kinds)

    starts, order = (part.numpy() for part in many())
    assert np.all(starts[:, 0] == 0) and np.all(np.diff(starts, axis=1) >= 0)
    chi_square_is_small(starts[:, 1:].ravel(), range(7))
    codes = order @ [100, 10, 1]
    chi_square_is_small(
        codes, [i * 100 + j * 10 + k for i, j, k in itertools.permutations(range(3))]
    )
    # Cuts and orders are drawn apart: the first block of the result says nothing of the cut.
    assert abs(np.corrcoef(order[:, 0], starts[:, 1])[0, 1]) < 0.1


def test_rows_and_columns_are_drawn_apart():
    square = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
    same = 0
    for seed in range(40):
        shuffled = transforms.random_block_shuffle(square, 2, seed=seed).numpy()[0, :, :, 0]
        same += int(shuffled[0, 0]) // 8 == int(shuffled[0, 0]) % 8
    assert same < 25  # 0.28 of the draws would be expected to agree


def test_equal_blocks_have_equal_lengths():
    for size, k in ((6, 3), (7, 3), (5, 4)):
        starts = transforms.draw_blocks(size, k, "equal", 0).starts.numpy()
        lengths = np.diff([*starts, size])
        assert lengths.sum() == size and lengths.max() - lengths.min() <= 1


def test_batch_mode_has_one_draw_and_image_mode_one_for_each():
    equal = np.repeat(IMAGES[:1], 16, axis=0)
    shared = transforms.random_block_shuffle(equal, 3, mode="batch", seed=0).numpy()
    assert np.all(shared == shared[:1])
    apart = transforms.random_block_shuffle(equal, 3, mode="image", seed=0).numpy()
    assert len({image.tobytes() for image in apart}) > 8


def test_replicas_share_a_batch_draw_and_key_an_image_draw_by_global_position():
    whole = random.as_seed(5)
    halves = [random.Seed(whole.value, i, 2) for i in range(2)]
    for mode in transforms.BLOCK_SHUFFLES:
        expected = transforms.random_block_shuffle(IMAGES, 3, mode=mode, seed=whole)
        found = [
            transforms.random_block_shuffle(IMAGES[2 * i : 2 * i + 2], 3, mode=mode, seed=half)
            for i, half in enumerate(halves)
        ]
        np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize(
    ("mode", "jit_compile"),
    [("batch", False), ("image", False), ("equal", False), ("image", True)],
)
def test_in_a_function_and_in_a_loop(mode, jit_compile):
    """XLA draws other numbers of the same seed, so that the draw is handed out too."""

    @tf.function(jit_compile=jit_compile)
    def last_of_three(images, seed):
        def body(i, *_):
            rows, columns = draw_both(3, mode, seed + i)
            return i + 1, transforms.shuffle_blocks(images, rows, columns), rows, columns

        shape = [4, 3] if mode == "image" else [3]
        nothing = transforms.Blocks(tf.zeros(shape, tf.int32), tf.zeros(shape, tf.int32))
        return tf.while_loop(lambda i, *_: i < 3, body, (0, images, nothing, nothing))[1:]

    found, rows, columns = last_of_three(IMAGES, tf.constant([2, 9]))
    np.testing.assert_array_equal(found, reference.shuffle_blocks(IMAGES, rows, columns))
    if not jit_compile:
        eager = transforms.random_block_shuffle(IMAGES, 3, mode=mode, seed=(4, 11))
        np.testing.assert_array_equal(found, eager)


def test_an_unknown_batch_size_and_other_dtypes():
    @tf.function(input_signature=[tf.TensorSpec([None, 6, 5, 2], tf.uint8)])
    def shuffle(images):
        shuffled = transforms.random_block_shuffle(images, 2, mode="image", seed=1)
        assert shuffled.shape.as_list() == [None, 6, 5, 2]
        return shuffled

    images = IMAGES.astype(np.uint8)
    expected = reference.shuffle_blocks(images, *draw_both(2, "image", 1))
    np.testing.assert_array_equal(shuffle(images), expected)


def test_gradients_go_back_to_where_the_pixels_came_from():
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(images)
        shuffled = transforms.random_block_shuffle(images, 3, seed=4)
        loss = tf.reduce_sum(shuffled * shuffled)
    np.testing.assert_array_equal(tape.gradient(loss, images), 2 * IMAGES)


def test_one_block_is_the_identity():
    for mode in transforms.BLOCK_SHUFFLES:
        found = transforms.random_block_shuffle(IMAGES, 1, mode=mode, seed=3)
        np.testing.assert_array_equal(found, IMAGES)


@pytest.mark.parametrize("k", [0, -1, 6])
def test_too_few_and_too_many_blocks(k):
    with pytest.raises(ValueError, match=f"num_blocks.*received {k}"):
        transforms.random_block_shuffle(IMAGES, k, seed=0)  # the width is 5


def test_other_errors():
    with pytest.raises(ValueError, match="Did you mean 'image'"):
        transforms.random_block_shuffle(IMAGES, 2, mode="images", seed=0)
    with pytest.raises(ValueError, match="shape"):
        transforms.random_block_shuffle(IMAGES[0], 2, seed=0)
    with pytest.raises(ValueError, match="Did you mean 'equal'"):
        transforms.RandomBlockShuffle(mode="equall")


def test_the_layer_is_the_identity_at_inference_and_draws_anew_in_training():
    layer = transforms.RandomBlockShuffle(num_blocks=3, seed=11)
    np.testing.assert_array_equal(layer(IMAGES), IMAGES)
    np.testing.assert_array_equal(layer(IMAGES, training=False), IMAGES)
    drawn = [layer(IMAGES, training=True).numpy() for _ in range(6)]
    assert len({images.tobytes() for images in drawn}) > 3
    again = transforms.RandomBlockShuffle(num_blocks=3, seed=11)
    for images in drawn:
        np.testing.assert_array_equal(again(IMAGES, training=True), images)
        np.testing.assert_array_equal(np.sort(images.ravel()), IMAGES.ravel())


def test_the_layer_in_a_saved_model(tmp_path: pathlib.Path):
    layer = transforms.RandomBlockShuffle(num_blocks=3, mode="image", seed=2)
    model = keras.Sequential([keras.Input((6, 5, 2)), layer])
    for _ in range(2):
        model(IMAGES, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(IMAGES), IMAGES)
    restored = loaded.layers[-1]
    assert (restored.num_blocks, restored.mode, restored.seed) == (3, "image", 2)
    assert restored.get_config() == layer.get_config()
    # The counter of draws is part of the state: both go on alike.
    np.testing.assert_array_equal(loaded(IMAGES, training=True), model(IMAGES, training=True))


def test_images_that_cannot_be_cut():
    with pytest.raises(ValueError, match=r"lambda x: model\(tf.transpose\(x, \[0, 3, 1, 2\]\)\)"):
        transforms.random_block_shuffle(np.zeros([2, 4, 8, 8], np.float32), 2, seed=0)
    with pytest.raises(ValueError, match="known height and width.*Resize them.*ensure_shape"):
        transforms.check_images(tf.TensorSpec([None, 8, None, 3]))
