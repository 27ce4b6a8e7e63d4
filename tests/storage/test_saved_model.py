"""The SavedModel, served where neither this library nor Keras can be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import models
from rlfat_tf.core import compat
from rlfat_tf.run import train
from tests.runs import config

PRECISIONS = ("float32", "mixed_bfloat16")
NAMES = ("cat", "great  horned\nowl", "Käfer", "d")
CARD = {"model": "wrn-10-1", "epsilon": 0.03, "limits": "Nur für Käfer."}
BYTES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
IMAGES = BYTES.astype(np.float32) / 255
SERVE = """
import json
import sys
import numpy as np

for name in ("keras", "tf_keras", "rlfat_tf"):
    sys.modules[name] = None  # importing it raises ImportError
import tensorflow as tf
bytes_ = np.load("images.npy")
for path in sys.argv[1:]:
    loaded = tf.saved_model.load(path)
    for name, images in ("serving_uint8", bytes_), ("serving_default", np.float32(bytes_) / 255):
        serve = loaded.signatures[name]
        served = serve(images=tf.constant(images))
        singly = [serve(images=tf.constant(images[i : i + 1]))["logits"] for i in range(5)]
        np.savez(
            path + "-" + name,
            singly=np.concatenate(singly),
            **{name: value.numpy() for name, value in served.items()},
        )
    for name, wrong in (
        ("serving_uint8", np.float32(bytes_) / 256),
        ("serving_uint8", np.zeros_like(bytes_)),
        ("serving_default", bytes_),
        ("serving_uint8", tf.constant(np.float32(bytes_))),
    ):
        try:
            loaded.signatures[name](images=wrong)
            print("was not refused")
        except tf.errors.InvalidArgumentError as error:
            print(" ".join(str(error).split()))
    with tf.io.gfile.GFile(loaded.class_names.asset_path.numpy()) as file:
        print(json.dumps(file.read().splitlines()))
"""
# The command of TensorFlow, in the same process.
COMMAND = """
import runpy
sys.argv = [
    "saved_model_cli", "run", "--dir=float32", "--tag_set=serve",
    "--signature_def=serving_default", "--inputs=images=float.npy", "--outdir=out",
]
runpy.run_module("tensorflow.python.tools.saved_model_cli", run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two exports, and the logits that they should give."""
    folder = tmp_path_factory.mktemp("served")
    np.save(folder / "images.npy", BYTES)
    np.save(folder / "float.npy", IMAGES)
    for precision in PRECISIONS:
        with compat.dtype_policy(precision):
            net = models.build("wrn-10-1", input_shape=(8, 8, 3), num_classes=4)
        robust = rlfat_tf.PGDAT(net)
        robust.export(folder / precision, class_names=NAMES, card=CARD)
        np.save(folder / f"wanted-{precision}.npy", robust.predict(IMAGES, verbose=0))
    return folder


@pytest.fixture(scope="module")
def printed(folder):
    """What Python prints where this library is not on the path and Keras cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", SERVE + COMMAND, *PRECISIONS],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_served_without_keras_equals_the_model(folder, printed):
    for precision in PRECISIONS:
        refusals, (names, *printed) = printed[:4], printed[4:]
        for refusal, belongs in zip(refusals, ("default", "default", "uint8")):
            assert f"belong to serving_{belongs}" in refusal
        assert "expected to be a uint8 tensor but is a float tensor" in refusals[3]
        assert json.loads(names) == ["cat", "great horned owl", "Käfer", "d"]
        wanted = np.load(folder / f"wanted-{precision}.npy")
        for name in ("serving_default", "serving_uint8"):
            with np.load(folder / f"{precision}-{name}.npz") as served:
                tolerance = 1e-5 if precision == "float32" else 5e-2
                for logits in (served["logits"], served["singly"]):
                    np.testing.assert_allclose(logits, wanted, rtol=tolerance, atol=tolerance)
                exps = np.exp(served["logits"] - served["logits"].max(-1, keepdims=True))
                np.testing.assert_allclose(
                    served["probabilities"], exps / exps.sum(-1, keepdims=True), rtol=1e-5
                )
                np.testing.assert_array_equal(served["label"], served["logits"].argmax(-1))


@pytest.mark.usefixtures("printed")
def test_the_command_of_tensorflow(folder):
    """It loads the graph without Python's objects, as TensorFlow Serving does."""
    wanted = np.load(folder / "wanted-float32.npy")
    np.testing.assert_allclose(np.load(folder / "out/logits.npy"), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.load(folder / "out/label.npy"), wanted.argmax(-1))
    assert np.load(folder / "out/probabilities.npy").shape == (5, 4)


# What TensorFlow Serving does with a request, as far as it depends on the model.


@pytest.fixture(scope="module")
def signatures(folder):
    """The signatures as a server reads them: from the file, not by Python's objects."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    content.ParseFromString((folder / "float32" / "saved_model.pb").read_bytes())
    (graph,) = content.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    assert [asset.filename for asset in graph.asset_file_def] == ["class_names.txt"]
    return {n: s for n, s in graph.signature_def.items() if n.startswith("serving")}


def fits(tensor, info):
    """Tells whether a server takes a tensor for an input, or gives it as an output."""
    shape = tf.TensorShape(info.tensor_shape)
    return tensor.dtype == info.dtype and shape.is_compatible_with(tensor.tensor_shape)


def fed(body, signatures):
    """Reads a body of the REST interface by its rules: rows of instances, or columns of inputs."""
    body = json.loads(body)
    signature = signatures[body.get("signature_name", "serving_default")]
    assert set(body) <= {"signature_name", "instances", "inputs"}
    if "inputs" in body:
        columns = body["inputs"]
        columns = columns if isinstance(columns, dict) else {"images": columns}
    else:
        rows = [row if isinstance(row, dict) else {"images": row} for row in body["instances"]]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert set(columns) == set(signature.inputs)
    protos = {
        name: tf.make_tensor_proto(values, dtype=signature.inputs[name].dtype)
        for name, values in columns.items()
    }
    assert all(fits(protos[name], signature.inputs[name]) for name in protos)
    return {name: tf.constant(tf.make_ndarray(proto)) for name, proto in protos.items()}


def test_signatures(signatures):
    assert set(signatures) == {"serving_default", "serving_uint8"}
    for name, dtype in ("serving_default", tf.float32), ("serving_uint8", tf.uint8):
        signature = signatures[name]
        assert signature.method_name == "tensorflow/serving/predict"
        described = {
            key: (tf.DType(info.dtype), tf.TensorShape(info.tensor_shape).as_list())
            for side in (signature.inputs, signature.outputs)
            for key, info in side.items()
        }
        assert described == {
            "images": (dtype, [None, 8, 8, 3]),
            "logits": (tf.float32, [None, 4]),
            "probabilities": (tf.float32, [None, 4]),
            "label": (tf.int64, [None]),
        }


@pytest.mark.parametrize(
    "body",
    [
        {"signature_name": "serving_uint8", "instances": BYTES.tolist()},
        {"signature_name": "serving_uint8", "instances": [{"images": i.tolist()} for i in BYTES]},
        {"signature_name": "serving_uint8", "inputs": {"images": BYTES.tolist()}},
        {"inputs": IMAGES.tolist()},
        {"instances": IMAGES.astype(float).round(6).tolist()},
    ],
)
def test_bodies_of_rest(folder, signatures, body):
    serve = tf.saved_model.load(str(folder / "float32")).signatures
    served = serve[body.get("signature_name", "serving_default")](
        **fed(json.dumps(body), signatures)
    )
    wanted = np.load(folder / "wanted-float32.npy")
    np.testing.assert_allclose(served["logits"], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name, images", [("serving_default", IMAGES), ("serving_uint8", BYTES)])
def test_tensors_of_grpc(folder, signatures, name, images):
    """``request.inputs["images"]`` and the ``outputs`` of the response are such messages."""
    signature = signatures[name]
    sent = tf.make_tensor_proto(images)
    assert fits(sent, signature.inputs["images"])
    assert not fits(tf.make_tensor_proto(images.astype(np.float64)), signature.inputs["images"])
    assert not fits(tf.make_tensor_proto(images[0]), signature.inputs["images"])
    serve = tf.saved_model.load(str(folder / "float32")).signatures[name]
    received = type(sent).FromString(sent.SerializeToString())
    served = serve(images=tf.constant(tf.make_ndarray(received)))
    for key, value in served.items():
        assert fits(tf.make_tensor_proto(value.numpy()), signature.outputs[key])
    wanted = np.load(folder / "wanted-float32.npy")
    np.testing.assert_allclose(served["logits"], wanted, rtol=1e-4, atol=1e-4)


# What lies beside the graph.


def small():
    return models.build("small_cnn", input_shape=(8, 8, 1), num_classes=4)


def test_card_and_names_are_files(folder):
    card = (folder / "float32" / "assets.extra" / "model_card.json").read_text("utf-8")
    assert json.loads(card) == CARD and "Käfer" in card
    names = (folder / "float32" / "assets" / "class_names.txt").read_text("utf-8")
    assert names == "cat\ngreat horned owl\nKäfer\nd\n"


def test_an_export_is_replaced_as_a_whole(tmp_path, capsys):
    net = small()
    rlfat_tf.export_saved_model(net, tmp_path / "export", class_names=NAMES, card=CARD)
    rlfat_tf.export_saved_model(net, tmp_path / "export")
    assert capsys.readouterr().out == ""  # Keras 2 would print a line for each variable
    assert not list((tmp_path / "export" / "assets").iterdir())
    assert not (tmp_path / "export" / "assets.extra").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert not hasattr(tf.saved_model.load(str(tmp_path / "export")), "class_names")


def test_a_run_tells_what_it_has_trained(tmp_path, monkeypatch):
    accuracy = {"test_accuracy": 0.75, "test_adv_accuracy": 0.5}
    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: accuracy)
    run = config(
        tmp_path / "run", method="pgdat", train_steps=1, epochs=None, validation_fraction=0.0,
        export=True,
    )  # fmt: skip
    summary = train.run(run)
    loaded = tf.saved_model.load(str(tmp_path / "run" / "export"))
    with open(loaded.class_names.asset_path.numpy(), encoding="utf-8") as file:
        assert file.read().split() == [str(digit) for digit in range(10)]
    card = json.loads((tmp_path / "run/export/assets.extra/model_card.json").read_text())
    for name in ("test_accuracy", "test_adv_accuracy", "test_attack", "steps", "versions"):
        assert card[name] == summary[name]
    assert card["method"] == "pgdat" and card["epsilon"] == 0.1 and card["norm"] == "linf"
    assert (
        card["training_attack"].startswith("LinfPGD(epsilon=0.1")
        and "digits" in card["intended_use"]
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"class_names": NAMES[:3]}, "each of the 4 classes; received 3"),
        ({"card": {"epsilon": np.float32(1)}}, "to hold what JSON can .*float32"),
        ({"card": {"epsilon": float("nan")}}, "to hold what JSON can"),
    ],
)
def test_refusals_write_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        rlfat_tf.export_saved_model(small(), tmp_path / "export", **arguments)
    assert not list(tmp_path.iterdir())


LAYERS = compat.keras.layers


def ending(activation, classes=3, dtype="float32"):
    inputs = compat.keras.Input((4, 4, 3), dtype=dtype)
    x = LAYERS.Flatten()(LAYERS.Rescaling(1.0)(inputs))
    return compat.keras.Model(inputs, LAYERS.Dense(classes, activation)(x))


class Hidden(compat.keras.Model):
    """A softmax that no layer shows."""

    def __init__(self):
        super().__init__()
        self.inner = ending(None)

    def call(self, inputs):
        return tf.nn.softmax(self.inner(inputs))


def hidden():
    model = Hidden()
    model(np.zeros((1, 4, 4, 3), np.float32))
    return model


NO_LOGITS = {
    "softmax": (lambda: ending("softmax"), "softmax"),
    "a hidden softmax": (hidden, "softmax"),
    "one sigmoid": (lambda: ending("sigmoid", classes=1), "one output"),
    "integers": (lambda: ending(None, dtype="uint8"), "takes uint8, to which they would be cut"),
}


@pytest.mark.parametrize(("build", "message"), NO_LOGITS.values(), ids=NO_LOGITS)
def test_what_maps_no_images_to_logits_is_not_served(tmp_path, build, message):
    with pytest.raises(ValueError, match=message):
        rlfat_tf.export_saved_model(build(), tmp_path / "export")
    assert not list(tmp_path.iterdir())


def test_names_may_be_numbers_and_one_input_a_dictionary(tmp_path):
    images = compat.keras.Input((4, 4, 3), name="image")
    model = compat.keras.Model({"image": images}, LAYERS.Dense(3)(LAYERS.Flatten()(images)))
    rlfat_tf.export_saved_model(model, tmp_path, class_names=range(3))
    loaded = tf.saved_model.load(str(tmp_path))
    with open(loaded.class_names.asset_path.numpy(), encoding="utf-8") as file:
        assert file.read().split() == ["0", "1", "2"]


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(ValueError, match="not a SavedModel"):
        rlfat_tf.export_saved_model(small(), tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "x"


def test_loading_an_export_as_a_run_says_what_it_is(trained):
    with pytest.raises(FileNotFoundError, match="export is a SavedModel. Load it with tf.saved"):
        rlfat_tf.load(trained.folder / "export")
