"""The bridge between Keras 2.15 and Keras 3."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from tests import conftest, reference

LIBRARY = Path(compat.__file__).parents[2]


def test_it_is_tensorflows_own_keras():
    assert isinstance(reference.keras_net(), tf.keras.Model)
    assert (int(compat.KERAS_VERSION.split(".")[0]) >= 3) == compat.KERAS_3


def test_only_compat_imports_keras():
    for path in LIBRARY.rglob("*.py"):
        text = path.read_text(encoding="utf8")
        if path.parent.name != "compat":
            assert "import keras\n" not in text.replace(
                "from rlfat_tf.core.compat import keras\n", ""
            )
            assert "tf.keras" not in text and "tensorflow.keras" not in text, path


def test_layers_of_nested_models():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="inner")])
    model = keras.Sequential([keras.Input((4,)), inner, keras.layers.BatchNormalization(name="o")])
    assert [layer.name for layer in compat.batch_norm_layers(model)] == ["inner", "o"]
    assert {"inner", "o"} <= {layer.name for layer in compat.layers_of(model)}
    assert compat.batch_norm_layers(reference.keras_net()) == []


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_optimizer_variables_exist_once_built(momentum):
    model = reference.keras_net()
    optimizer = keras.optimizers.SGD(0.1, momentum=momentum)
    compat.build_optimizer(optimizer, model.trainable_variables)
    shapes = [tuple(v.shape) for v in compat.optimizer_variables(optimizer)]
    for variable in model.trainable_variables if momentum else ():
        assert tuple(variable.shape) in shapes
    count = len(shapes)
    gradients = [tf.ones_like(v) for v in model.trainable_variables]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    assert len(compat.optimizer_variables(optimizer)) == count


def saves_looked_at(monkeypatch, save):
    """How many optimizers a saving makes to look at."""
    made = []
    make = keras.optimizers.Optimizer.__init__
    with monkeypatch.context() as patch:
        patch.setattr(
            keras.optimizers.Optimizer,
            "__init__",
            lambda self, *args, **kwargs: made.append(self) or make(self, *args, **kwargs),
        )
        save()
    return len(made)


@pytest.mark.skipif(not compat.KERAS_3, reason="of Keras 3")
def test_frugal_saving(tmp_path, monkeypatch):
    net = reference.keras_net()
    net.compile(optimizer=keras.optimizers.SGD(0.1))
    library = keras.src.saving.saving_lib
    look_up = library.get_attr_skipset

    def save():
        net.save_weights(tmp_path / "net.weights.h5")

    with compat.frugal_saving():
        save()
    assert library.get_attr_skipset is look_up
    with compat.frugal_saving():
        assert saves_looked_at(monkeypatch, save) == 0
    with pytest.raises(KeyError), compat.frugal_saving():
        raise KeyError
    assert library.get_attr_skipset is look_up
    save()
    # The reason that there is frugal_saving at all: once this fails, it can go.
    assert saves_looked_at(monkeypatch, save) == 1


def test_importing_the_library_changes_nothing_in_keras():
    assert conftest.CHANGED_IN_KERAS == []


def test_averaged_variables():
    model = reference.keras_net()
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    compat.build_optimizer(optimizer, model.trainable_variables)
    before = [np.array(v) for v in model.trainable_variables]
    gradients = [tf.ones_like(v) for v in model.trainable_variables]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    averages = compat.averaged_variables(optimizer)
    assert len(averages) == len(before)
    for old, variable, average in zip(before, model.trainable_variables, averages):
        np.testing.assert_allclose(np.array(variable), old - 1, rtol=1e-5, atol=1e-6)
        # Keras 2 starts the average at zero, Keras 3 at the first weights.
        assert np.all(np.array(average) <= np.maximum(old, np.array(variable)) + 1)


def test_dtype_policy_is_restored():
    dense = keras.layers.Dense
    with pytest.raises(KeyError), compat.dtype_policy("mixed_bfloat16"):
        assert dense(1).compute_dtype == "bfloat16"
        raise KeyError
    assert dense(1).compute_dtype == "float32"


def test_compute_dtypes():
    assert compat.compute_dtypes(reference.keras_net()) == {"float32"}
    assert compat.compute_dtypes(reference.keras_net(dtype="mixed_bfloat16")) == {
        "bfloat16",
        "float32",
    }


def test_loss_scaling():
    sgd = keras.optimizers.SGD()
    assert not compat.is_loss_scaling(sgd) and not compat.is_loss_scaling("adam")
    assert compat.is_loss_scaling(keras.mixed_precision.LossScaleOptimizer(sgd))


def test_synchronisation_is_wanted_on_several_replicas_only():
    assert not compat.synchronized_batch_norm()
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        assert compat.synchronized_batch_norm()


def test_another_backend_is_refused():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(LIBRARY.parent)}
    result = subprocess.run(
        [sys.executable, "-c", "import rlfat_tf"], env=environment, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "ImportError: rlfat_tf needs Keras on TensorFlow, but KERAS_BACKEND is 'jax'" in (
        result.stderr
    )
