import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import data
from rlfat_tf.core.random import as_seed
from rlfat_tf.data import augment
from rlfat_tf.data.augment import erasing, geometric, mixing
from rlfat_tf.data.augment.colour_shape import COLOR_SHAPE
from tests.data.augment.common import batch, seed

SHAPE = (32, 32, 3)
NAMES = [name for name in data.AUGMENTATIONS if name not in ("none", "tfa:cutout")]
# Draws of three examples, printed by one stack.
DRAWN = {
    "crop_shift": [[[0, 0, 0, 0, 0, 0], [0, 7, 0, 0, 0, 0], [0, 3, 0, 1, 0, 1]]],
    "random_erasing": [[[1, 6, 27, 18], [2, 12, 15, 27], [0, 3, 13, 20]]],
    "color_shape": [[0, 2, 5], [0.6089, 1.8946, 0.0]],
    "cutmix": [[0, 2, 1], [[6, 5, 32, 32], [0, 16, 12, 30], [0, 5, 27, 32]]],
}


def test_draws_cover_their_range_evenly():
    n = 9000
    flips = geometric.FLIP.draw(n, SHAPE, seed(0, 0)).numpy()
    assert abs(flips.mean() - 0.5) < 0.03
    offsets = geometric.CROP.draw(n, SHAPE, seed(0, 1)).numpy()
    counts = [np.bincount(offsets[:, i], minlength=9) for i in range(2)]
    assert np.min(counts) > 800 and np.max(counts) < 1200 and np.shape(counts) == (2, 9)
    centres = erasing.CUTOUT.draw(n, (9, 14, 2), seed(0, 2)).numpy()
    assert centres.min(0).tolist() == [0, 0] and centres.max(0).tolist() == [8, 13]
    assert np.bincount(centres[:, 1]).min() > n / 14 * 0.8


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_functions_of_the_seed(name):
    for augmentation in augment.AUGMENTATIONS[name]:
        first, again, other = (
            tf.nest.flatten(augmentation.draw(200, SHAPE, seed(*s)))
            for s in ((5, 6), (5, 6), (5, 7))
        )
        for one, same, another in zip(first, again, other):
            np.testing.assert_array_equal(one, same)
            assert (one.numpy() != another.numpy()).any()


def test_every_stack_draws_the_same_numbers():
    augmentations = {
        "crop_shift": geometric.CROP_SHIFT,
        "random_erasing": erasing.random_erasing(1.0),
        "color_shape": COLOR_SHAPE,
        "cutmix": mixing.CUTMIX,
    }
    for name, augmentation in augmentations.items():
        found = tf.nest.flatten(augmentation.draw(3, SHAPE, seed(7, 8)))
        for one, expected in zip(found, DRAWN[name]):
            np.testing.assert_allclose(one, expected, atol=1e-4)


def test_chains():
    assert augment.parse("none") == augment.Chain()
    chain = augment.parse("crop_flip+cutout")
    assert chain.augmentations == (geometric.CROP, geometric.FLIP, erasing.CUTOUT)
    assert chain.mixing is None and chain.mirrors
    assert augment.parse("cutout+cutmix") == augment.Chain((erasing.CUTOUT,), mixing.CUTMIX)
    assert not augment.parse("cutout+cutmix").mirrors


@pytest.mark.parametrize("name, probability", [("idbh_weak", 0.5), ("idbh_strong", 1.0)])
def test_policies(name, probability):
    *first, last = augment.parse(name).augmentations
    assert first == [geometric.FLIP, geometric.CROP_SHIFT, COLOR_SHAPE]
    boxes = last.draw(2000, SHAPE, seed(0, 9)).numpy()
    assert (boxes[:, 2] > 0).mean() == pytest.approx(probability, abs=0.06)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_a_chain_keeps_shape_dtype_and_range(name, dtype):
    chain, images = augment.parse(name), batch((9, 14, 1), dtype=dtype)
    found = chain.apply(tf.constant(images), chain.draw(12, (9, 14, 1), as_seed(3))).numpy()
    assert found.shape == images.shape and found.dtype == dtype
    assert found.min() >= 0 and found.max() <= (255 if dtype == np.uint8 else 1)


@pytest.mark.parametrize("name", ["crop-flip", "", "flip+", "flip+cutuot"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match="Unknown augmentation.*Known: color_jitter, color_shape"):
        augment.parse(name)


@pytest.mark.parametrize("name", ["cutmix+flip", "cutmix+flip+cutmix", "flip+cutmix+cutmix"])
def test_images_are_mixed_once_and_last(name):
    with pytest.raises(
        ValueError, match=r"Expected cutmix once and at the end.*Write flip\+cutmix"
    ):
        augment.parse(name)
