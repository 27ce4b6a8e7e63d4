"""Accuracy on block-shuffled images of classifiers whose answer is known."""

import functools
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import transforms
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.measures.saliency import smooth_grad
from rlfat_tf.evaluation.measures.sensitivity import loss_sensitivity
from rlfat_tf.evaluation.measures.shuffled import shuffled_accuracy
from tests import reference

sensitivity = functools.partial(loss_sensitivity, transform="gamma", magnitudes=[0.5])
IMAGES, _, LABELS = reference.images_and_labels(41, seed=1)
NET = reference.keras_net(seed=4)


def test_one_block_is_clean_accuracy():
    clean = (np.argmax(NET(IMAGES), -1) == LABELS).mean()
    found = shuffled_accuracy(NET, IMAGES, LABELS, batch_size=8)
    assert list(found) == [1, 2, 3, 4]
    assert found[1] == pytest.approx(clean)
    assert 0 < clean < 1 and all(0 <= share <= 1 for share in found.values())


@pytest.mark.parametrize("measure", [shuffled_accuracy, sensitivity, smooth_grad])
def test_what_is_no_classifier_or_no_label_is_refused(measure):
    two = keras.Model(NET.inputs, [NET.outputs[0], NET.outputs[0]])
    with pytest.raises(ValueError, match="Expected one output, the logits.* received 2 outputs"):
        measure(two, IMAGES, LABELS)
    with pytest.raises(ValueError, match="labels that are whole numbers.* received 2.7"):
        measure(NET, IMAGES, LABELS + 0.7)
    with pytest.raises(ValueError, match="Expected labels in 0 ... 2"):
        measure(NET, IMAGES, LABELS + 1)
    with pytest.raises(ValueError, match="divide 8-bit images by 255"):
        measure(NET, IMAGES * 255, LABELS)


@pytest.mark.parametrize("mode", transforms.BLOCK_SHUFFLES)
def test_a_classifier_that_knows_no_place_is_unaffected(mode):
    def logits_fn(images):
        means = tf.reduce_mean(images, [1, 2])
        return tf.stack([means[:, 0], means[:, 1], tf.fill([tf.shape(images)[0]], 0.5)], -1)

    clean = (np.argmax(logits_fn(IMAGES), -1) == LABELS).mean()
    found = shuffled_accuracy(logits_fn, IMAGES, LABELS, block_shuffle=mode, blocks=(1, 2, 5))
    assert found == pytest.approx({1: clean, 2: clean, 5: clean})


def corner(images):
    """Class 1 where the pixel in the corner is bright, else class 0."""
    return tf.stack([tf.fill([tf.shape(images)[0]], 0.5), images[:, 0, 0, 0]], -1)


def bright_corners(count):
    images = np.zeros((count, 8, 8, 1), np.float32)
    images[:, 0, 0] = 1.0
    return images, np.ones(count, np.int32)


def test_every_image_has_a_draw_of_its_own():
    # Of two blocks: the corner stays if they keep their order, or the cut is at 0, on both axes.
    found = shuffled_accuracy(corner, *bright_corners(1000), blocks=(2,))
    assert found[2] == pytest.approx((1 / 2 + 1 / 2 / 8) ** 2, abs=0.05)


SEEDS = {"batch": (0, 1), "equal": (0, 1)}


@pytest.mark.parametrize("mode", ["batch", "equal"])
def test_all_images_share_a_draw(mode):
    seen = {
        shuffled_accuracy(
            corner, *bright_corners(9), blocks=(2,), block_shuffle=mode, seed=seed, batch_size=4
        )[2]
        for seed in SEEDS[mode]
    }
    assert seen == {0.0, 1.0}


def test_batch_size_changes_nothing_and_the_seed_does():
    arguments = {"blocks": (3,)}
    whole = shuffled_accuracy(NET, IMAGES, LABELS, **arguments)
    assert shuffled_accuracy(NET, IMAGES, LABELS, batch_size=7, **arguments) == whole
    assert shuffled_accuracy(NET, IMAGES, LABELS, seed=1, **arguments) != whole


def test_traced_once_for_each_number_of_blocks():
    traces = []

    def counted(images):
        traces.append(tf.executing_eagerly())
        return NET(images)

    shuffled_accuracy(counted, IMAGES, LABELS, blocks=(1, 3), batch_size=8)
    assert traces == [False] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": (1, 6)}, "num_blocks <= 5"),
        ({"blocks": (0,)}, "received 0"),
        ({"batch_size": None}, "batch_size to be a number; received None"),
        ({"block_shuffle": "pixel"}, "Unknown block shuffle 'pixel'"),
        ({"labels": LABELS[:3]}, "as many labels"),
    ],
)
def test_wrong_arguments(changes, message):
    arguments = {"images": IMAGES, "labels": LABELS, **changes}
    with pytest.raises(ValueError, match=message):
        shuffled_accuracy(NET, **arguments)


def test_the_example_of_the_page(tmp_path):
    page = (Path(__file__).resolve().parents[3] / "docs" / "evaluation.md").read_text()
    section = page.partition("## What a classifier looks at")[2]
    (tmp_path / "example.py").write_text(re.search(r"```python\n(.*?)```", section, re.S)[1])
    names = runpy.run_path(str(tmp_path / "example.py"))
    assert names["maps"].shape == names["images"].shape == (64, 8, 8, 1)
    assert [point["magnitude"] for point in names["curve"]] == [0.5, 1.0, 2.0]
    assert list(names["by_blocks"]) == [1, 2, 4]
