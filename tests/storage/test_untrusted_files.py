"""Loading a file runs no code that it names."""

from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.storage import checkpoint, saved_config
from rlfat_tf.storage.reading import Refused


@keras.saving.register_keras_serializable("tests_of_untrusted_files")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def small_model(layer):
    inputs = keras.Input([2])
    return keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))


def rewritten(path, change):
    """Changes the configuration inside of a .keras file."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["config.json"] = json.dumps(change(json.loads(parts["config.json"]))).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


def test_a_lambda_layer_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    small_model(keras.layers.Lambda(lambda x: 2 * x)).save(path)
    with pytest.raises(ValueError, match="is refused: it names .*Lambda"):
        rlfat_tf.load(path)
    small_model(Doubled()).save(path)
    assert rlfat_tf.load(path).count_params() == 6


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("subprocess", "call"),
        ("builtins", "exec"),
        ("keras.utils", "get_file"),
        ("keras.src.utils", "get_file"),
        ("rlfat_tf.storage.saved_model", "export_saved_model"),
    ],
)
@pytest.mark.parametrize("kind", ["class", "function"])
def test_a_function_that_a_file_names_is_not_called(tmp_path, module, name, kind):
    """Nor is its module imported."""
    victim, path = tmp_path / "victim", tmp_path / "model.keras"
    small_model(Doubled()).save(path)

    def attack(model):
        (layer,) = (x for x in model["config"]["layers"] if x["class_name"] == "Doubled")
        call = ["_CONSTANT_VALUE", -1, f"touch {victim}", {"shell": True}]
        named = {"class_name": name} if kind == "class" else {"class_name": "function"}
        if kind == "function":
            named["config"] = name
        layer.update(module=module, registered_name=name, inbound_nodes=[[call]], **named)
        return model

    rewritten(path, attack)
    with pytest.raises(Refused, match=rf"it (names|calls .*) .*{name}"):
        rlfat_tf.load(path)
    assert not victim.exists()


@pytest.mark.skipif(compat.KERAS_3, reason="Keras 3 keeps no TensorFlow functions as layers")
@pytest.mark.parametrize("module", ["keras.layers", "keras.src.layers.core.tf_op_layer", None])
def test_an_operation_that_does_more_than_compute_is_refused(tmp_path, module):
    victim, path = tmp_path / "victim", tmp_path / "model.keras"
    inputs = keras.Input([4])
    net = keras.Model(
        inputs, keras.layers.Dense(2)(tf.pad(tf.nn.relu(inputs)[:, :3], [[0, 0], [1, 0]]))
    )
    net.save(path)
    loaded = rlfat_tf.load(path)  # those that compute are loaded
    np.testing.assert_array_equal(loaded(tf.ones([1, 4])), net(tf.ones([1, 4])))

    def attack(model):
        layer = next(
            x for x in model["config"]["layers"] if x["config"].get("function") == "nn.relu"
        )
        layer["config"]["function"] = "io.write_file"
        layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(victim), {"contents": "malice"}]]
        layer["module"] = module
        return model

    rewritten(path, attack)
    with pytest.raises(ValueError, match="is refused: it names .*'io.write_file'"):
        rlfat_tf.load(path)
    assert not victim.exists()


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "TFOpLambda", "config": {"function": "compat.v1.io.write_file"}},
        {"class_name": "TFOpLambda", "config": {"function": "raw_ops.WriteFile"}},
        {"class_name": "TFOpLambda", "config": {"function": "py_function"}},
        {"class_name": "TFOpLambda", "config": {}},
        {"class_name": "Custom", "registered_name": "keras>ClassMethod", "config": {}},
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": "WriteFile"}},
        {"class_name": "TFSMLayer", "config": {"filepath": "elsewhere"}},
    ],
)
def test_layers_that_are_programs_are_refused(layer):
    with pytest.raises(Refused, match="it names .*not known to compute and do nothing else"):
        saved_config.check({"config": {"layers": [layer]}})


def test_a_backup_with_pickled_objects_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "victim"),)

    path = tmp_path / "state.npz"
    np.savez(path, **{"0": np.array([Evil()], object), "progress": np.array("{}")})
    with pytest.raises(ValueError, match="damaged, .*allow_pickle=False"):
        checkpoint.read_state(path)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "assets/../../outside", "a\\..\\b"])
def test_an_archive_that_names_files_outside_is_refused(tmp_path, name):
    path = tmp_path / "folder" / "model.keras"
    path.parent.mkdir()
    small_model(Doubled()).save(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, "malice")
    with pytest.raises(ValueError, match="is refused: it names the file .*outside"):
        rlfat_tf.load(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "model.keras"]


def test_another_format_under_the_same_name_is_refused(tmp_path):
    """Keras 2 would read an HDF5 file, whose Lambda layers it runs."""
    h5 = tmp_path / "model.h5"
    small_model(Doubled()).save(h5)
    path = h5.rename(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"is an HDF5 file.*load_model\(.*save\('model.keras'"):
        rlfat_tf.load(path)


@pytest.mark.parametrize("name", ["config.json", "checkpoints", "checkpoints/state.npz"])
def test_a_part_of_a_run_is_told_with_its_run(tmp_path, monkeypatch, name):
    run = tmp_path / "runs" / "digits"
    for file in ("config.json", "checkpoints/best.keras", "checkpoints/state.npz"):
        (run / file).parent.mkdir(parents=True, exist_ok=True)
        (run / file).write_text("")
    monkeypatch.chdir(tmp_path)
    said = r"^Expected .*(neither|first epoch)\. Its run is the folder 'runs/digits': load that\.$"
    with pytest.raises((ValueError, OSError), match=said):
        rlfat_tf.load(f"runs/digits/{name}")
