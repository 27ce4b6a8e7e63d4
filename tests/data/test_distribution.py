"""The pipelines on two replicas give what they give on one."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import data
from rlfat_tf.core.compat import keras


@pytest.fixture(scope="module")
def strategy():
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("needs two logical CPUs")
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def numbered(n):
    values = np.random.RandomState(0).randint(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    return data.Arrays(values, np.arange(n))


def gathered(strategy, element):
    return [
        np.concatenate([x.numpy() for x in strategy.experimental_local_results(part)])
        for part in element
    ]


def test_training_batches(strategy):
    batches = data.training_batches(
        numbered(23), batch_size=6, seed=0, augment="crop_shift+cutmix", num_classes=23
    )
    distributed = strategy.experimental_distribute_dataset(batches)
    for alone, together, _ in zip(batches.as_numpy_iterator(), distributed, range(8)):
        local = [len(x) for x in strategy.experimental_local_results(together[1])]
        assert local == [3, 3]
        for one, two in zip(alone, gathered(strategy, together)):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 6, 23, 30])
def test_evaluation_batches(strategy, batch_size):
    arrays = numbered(23)
    batches = data.evaluation_batches(arrays, batch_size=batch_size)
    elements = [gathered(strategy, x) for x in strategy.experimental_distribute_dataset(batches)]
    images, labels = (np.concatenate(part) for part in zip(*elements))
    np.testing.assert_array_equal(labels, np.arange(23))
    np.testing.assert_array_equal(images, arrays.images.astype(np.float32) / np.float32(255))


def test_keras_fit_and_evaluate(strategy):
    arrays = data.Arrays(numbered(23).images, np.arange(23) % 3)
    with strategy.scope():
        model = keras.Sequential(
            [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
        )
        model.compile(
            "sgd",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    batches = data.training_batches(arrays, batch_size=6, seed=0, augment="crop_flip")
    steps = data.steps_per_epoch(arrays, 6)
    history = model.fit(batches, steps_per_epoch=steps, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    accuracy = model.evaluate(data.evaluation_batches(arrays, batch_size=8), verbose=0)[1]
    logits = model(arrays.images.astype(np.float32) / 255).numpy()
    assert accuracy == pytest.approx((logits.argmax(-1) == arrays.labels).mean(), abs=1e-6)
