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
from tests import fixtures, reference

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


def test_variables_of_an_optimizer_inside_of_another_one():
    addons = pytest.importorskip("tensorflow_addons", reason="TensorFlow Addons is not installed")
    model = reference.keras_net()
    inner = keras.optimizers.legacy.Adam(0.1)
    optimizer = addons.optimizers.Lookahead(inner)
    compat.build_optimizer(optimizer, model.trainable_variables)
    built = compat.optimizer_variables(optimizer)
    gradients = [tf.ones_like(v) for v in model.trainable_variables]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    assert list(map(id, compat.optimizer_variables(optimizer))) == list(map(id, built))
    for variable in model.trainable_variables:
        for own in (inner.get_slot(variable, "m"), inner.get_slot(variable, "v")):
            assert id(own) in set(map(id, built)) and np.all(own.numpy() != 0)
    assert id(optimizer.iterations) in set(map(id, built))


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
def test_two_threads_that_save_leave_keras_as_it_was():
    """The first to come is the first to go."""
    library = keras.src.saving.saving_lib
    before = library.get_attr_skipset
    one, other = compat.frugal_saving(), compat.frugal_saving()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert library.get_attr_skipset is not before
    other.__exit__(None, None, None)
    assert library.get_attr_skipset is before


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
    assert fixtures.CHANGED_IN_KERAS == []


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


# What stands in compat because of a fault of Keras 3, or because it has no public way. Each of the
# following tests fails once that is no longer so: then its workaround can go.


@pytest.mark.parametrize(
    ("owner", "private", "public"),
    [
        (keras.Model, "_flatten_layers", "flatten_layers"),
        (keras.optimizers.Optimizer, "_get_variable_index", "averages"),
    ],
)
def test_there_is_no_public_way(owner, private, public):
    assert hasattr(owner, private) or not compat.KERAS_3
    assert not hasattr(owner, public)


@pytest.mark.skipif(not compat.KERAS_3, reason="of Keras 3")
def test_iterations_count_updates():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2, use_ema=True)
    weight = keras.Variable(1.0)
    optimizer.build([weight])
    for _ in range(3):
        optimizer.apply([tf.constant(1.0)])
    assert int(optimizer.iterations) == 1 and int(compat.batches_seen(optimizer)) == 3


@pytest.mark.skipif(not compat.KERAS_3, reason="of Keras 3")
def test_an_archive_does_not_save_its_own_attributes():
    archive, root = compat.serving_archive(reference.keras_net())
    assert isinstance(root, tf.Module) or hasattr(root, "_trackable_children")
    assert not hasattr(archive, "_trackable_children")


@pytest.mark.skipif(not compat.KERAS_3, reason="of Keras 3")
def test_keras_cannot_average_numbers_over_workers(strategy2, monkeypatch):
    """Why the steps return vectors of length 1 on several machines."""
    trainer = keras.src.backend.tensorflow.trainer
    monkeypatch.setattr(trainer, "_collective_all_reduce_multi_worker", lambda strategy: True)
    for shape, works in (([], False), ([1], True)):
        logs = strategy2.run(lambda shape=shape: {"loss": tf.ones(shape)})
        if works:
            assert trainer.reduce_per_replica(logs, strategy2, "mean")["loss"] == 1.0
        else:
            with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
                trainer.reduce_per_replica(logs, strategy2, "mean")


@pytest.mark.skipif(not compat.KERAS_3, reason="of Keras 3")
def test_keras_reads_metrics_only_where_the_logs_name_all():
    """Why our models read them whatever the logs name."""
    found = {}
    for kind in (keras.Model, compat.Model):

        class Measured(kind):
            metrics = [keras.metrics.Mean(name="one"), keras.metrics.Mean(name="other")]

        for metric in Measured.metrics:
            metric.update_state(1.0)
        found[kind] = float(Measured()._get_metrics_result_or_logs({"one": 5.0})["one"])
    assert found == {keras.Model: 5.0, compat.Model: 1.0}


@pytest.mark.skipif(not compat.KERAS_3, reason="of Keras 3")
def test_keras_builds_of_a_batch_of_the_stream(strategy2):
    """Why our models build of its specification: the parts of an uneven batch do not add up."""
    data = tf.data.Dataset.from_tensor_slices((np.ones((3, 2), "f4"), np.ones(3, "f4"))).batch(3)
    for kind, works in ((keras.Model, False), (compat.Model, True)):
        with strategy2.scope():

            class Sum(kind):
                def call(self, inputs):
                    return tf.reduce_sum(inputs, -1)

            model = Sum()
            model.compile(loss="mse", metrics=["mae"])
        if works:
            assert model.evaluate(data, verbose=0, return_dict=True)["mae"] == 1.0
        else:
            with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
                model.evaluate(data, verbose=0)
