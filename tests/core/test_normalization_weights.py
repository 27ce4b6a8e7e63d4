"""``Normalization`` computes with constants made of its weights, which follow those."""

import numpy as np

import rlfat_tf
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.run import helper, initial_weights
from rlfat_tf.storage import checkpoint

SHAPE = (4, 4, 3)
IMAGES = np.random.default_rng(0).random((5, *SHAPE), np.float32)
layers = keras.layers


def net(adapted=True):
    normal = layers.Normalization()
    if adapted:
        normal.adapt(IMAGES * np.float32([1, 2, 3]) - 1)
    parts = [keras.Input(SHAPE), normal, layers.Flatten(), layers.Dense(3)]
    return keras.Sequential(parts)


def logits(model):
    return np.asarray(model(IMAGES, training=False))


def test_setting_weights():
    model = net()
    for fresh in (net(adapted=False), keras.Sequential([keras.Input(SHAPE), net(adapted=False)])):
        logits(fresh)
        compat.set_weights(fresh, model.get_weights())
        np.testing.assert_allclose(logits(fresh), logits(model), rtol=1e-5)


def test_an_adapted_copy():
    model = net()
    adapted = rlfat_tf.adapt(model, input="unit")
    np.testing.assert_allclose(logits(adapted), logits(model), rtol=1e-4, atol=1e-5)


def test_a_helper_and_the_weights_that_a_run_begins_with():
    model = net()
    again = helper.in_this_scope(helper.Helper(model, "a1" * 32))
    np.testing.assert_allclose(logits(again), logits(model), rtol=1e-5)
    fresh = net(adapted=False)
    initial_weights.put(fresh, model, "")
    np.testing.assert_allclose(logits(fresh), logits(model), rtol=1e-5)


def test_a_backup(tmp_path):
    made = []
    for adapted in (True, False):
        robust = rlfat_tf.Standard(net(adapted))
        robust.compile("sgd")
        compat.build_optimizer(robust.optimizer, robust.model.trainable_variables)
        made.append(robust)
    checkpoint.save_state(tmp_path / "state.npz", made[0], {})
    checkpoint.restore_state(tmp_path / "state.npz", made[1])
    np.testing.assert_allclose(logits(made[1].model), logits(made[0].model), rtol=1e-5)
