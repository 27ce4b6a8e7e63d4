"""A backup holds every variable as it is."""

import numpy as np
import pytest

import rlfat_tf
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.storage import checkpoint

SHAPE = (4, 4, 3)
layers = keras.layers


def test_a_backup_of_bfloat16(tmp_path):
    made = []
    for seed in (1, 2):
        with compat.dtype_policy("bfloat16"):
            inner = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(3)])
        inner.set_weights([np.full(w.shape, seed / 3, w.dtype) for w in inner.get_weights()])
        robust = rlfat_tf.Standard(inner)
        robust.compile("sgd")
        compat.build_optimizer(robust.optimizer, inner.trainable_variables)
        made.append(robust)
    checkpoint.save_state(tmp_path / "state.npz", made[0], {})
    checkpoint.restore_state(tmp_path / "state.npz", made[1])
    for one, other in zip(made[0].model.get_weights(), made[1].model.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("version", ["2.15", "4.0.0"])
def test_a_backup_of_another_keras_is_refused(version, tmp_path, monkeypatch):
    robust = rlfat_tf.Standard(
        keras.Sequential([keras.Input((1, 1, 1)), layers.Flatten(), layers.Dense(2)])
    )
    robust.compile("sgd")
    state = tmp_path / "state.npz"
    checkpoint.save_state(state, robust, {"step": 3})
    assert checkpoint.restore_state(state, robust) == {"step": 3}
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "KERAS_VERSION", version)
        if version.split(".")[0] == compat.KERAS_VERSION.split(".")[0]:
            assert checkpoint.restore_state(state, robust) == {"step": 3}
            return
        with pytest.raises(
            ValueError, match=f"written with Keras .*, and Keras {version} runs here"
        ):
            checkpoint.restore_state(state, robust)
