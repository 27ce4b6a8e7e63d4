"""Adapted networks of which stages are frozen train on two replicas as on one, and resume.

Frozen stages stay as they are to the last bit, statistics of batch normalisation included.
"""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.models.adapted import copies
from rlfat_tf.storage import checkpoint

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.random((8, 5, 5, 3), np.float32)
LABELS = RNG.integers(0, 3, 8)
# How many of the five layers with weights are frozen: two stages of a convolution and batch
# normalisation, the second nested, and the classification layer.
FROZEN = {"head": 4, "last:1": 3, "last:2": 2, "last:4": 0, "all": 0}
QUICK = {"head": "current"}


def stage(inputs, filters):
    x = layers.BatchNormalization()(layers.Conv2D(filters, 2)(inputs))
    return layers.ReLU()(x)


def adapted(trainable):
    inner = keras.Input((4, 4, 4))
    nested = keras.Model(inner, layers.GlobalAveragePooling2D()(stage(inner, 6)))
    inputs = keras.Input(IMAGES.shape[1:])
    outputs = layers.Dense(3, activation="softmax")(nested(stage(inputs, 4)))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(1)
    model.set_weights(
        [rng.uniform(0.2, 1, w.shape) - 0.5 * (w.ndim > 1) for w in model.get_weights()]
    )
    return rlfat_tf.adapt(model, input="tf", trainable=trainable, bn_momentum=0.9)


def made(trainable):
    robust = rlfat_tf.PGDAT(
        adapted(trainable),
        attack=rlfat_tf.attacks.NFGSM(epsilon=0.1),
        average=rlfat_tf.Average(0.9),
        weight_decay=1e-3,
    )
    robust.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    compat.build_optimizer(robust.optimizer, robust.trainable_variables)
    return robust


def after(robust, steps):
    robust.fit(
        tf.data.Dataset.from_tensors((IMAGES, LABELS)).repeat(steps), shuffle=False, verbose=0
    )
    with robust.weights_of_training():
        return [variable.numpy() for variable in robust.state]


def assert_frozen(count, before, parts):
    kept = [
        [np.array_equal(*pair) for pair in zip(old, layer.get_weights())]
        for old, layer in zip(before, parts)
    ]
    assert all(all(each) for each in kept[:count])
    assert not any(any(each) for each in kept[count:])


@pytest.mark.parametrize(
    "trainable",
    [pytest.param(t, marks=getattr(pytest.mark, QUICK.get(t, "slow"))) for t in FROZEN],
)
def test_two_replicas_train_what_one_does_and_resume(trainable, strategy2, tmp_path, monkeypatch):
    # On one replica too: Keras 2 computes another variance where it is not.
    monkeypatch.setattr(compat, "synchronized_batch_norm", lambda: True)
    with strategy2.scope():
        robust = made(trainable)
    parts = copies.weighted_layers(robust.model)
    before = [layer.get_weights() for layer in parts]
    after(robust, 1)
    checkpoint.save_state(tmp_path / "state.npz", robust, {})
    found = after(robust, 1)
    assert_frozen(FROZEN[trainable], before, parts)  # the average, which is evaluated
    with robust.weights_of_training():
        assert_frozen(FROZEN[trainable], before, parts)

    checkpoint.restore_state(tmp_path / "state.npz", robust)
    for one, other in zip(found, after(robust, 1)):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(found, after(made(trainable), 2)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
