"""The SavedModel, served where neither this library nor Keras can be imported."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import rlfat_tf
from rlfat_tf import compat, models

SERVE = """
import sys
import numpy as np

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "tf_keras", "rlfat_tf"):
            raise ImportError(name + " must not be needed")

sys.meta_path.insert(0, Refuse())
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
images = tf.constant(np.load(sys.argv[2]))
served = loaded.signatures[sys.argv[4]](images=images)
np.savez(sys.argv[3], **{name: value.numpy() for name, value in served.items()})
"""


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_served_without_keras_equals_the_model(tmp_path, precision):
    with compat.dtype_policy(precision):
        net = models.build("wrn-10-1", input_shape=(8, 8, 3), num_classes=4)
    robust = rlfat_tf.PGDAT(net)
    robust.export(tmp_path / "export")
    bytes_ = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    images = bytes_.astype(np.float32) / 255
    wanted = robust.predict(images, verbose=0)
    for name, array in (("serving_default", images), ("serving_uint8", bytes_)):
        np.save(tmp_path / "images.npy", array)
        arguments = [tmp_path / "export", tmp_path / "images.npy", tmp_path / "out.npz", name]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", SERVE, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / "out.npz") as served:
            tolerance = 1e-5 if precision == "float32" else 5e-2
            np.testing.assert_allclose(served["logits"], wanted, rtol=tolerance, atol=tolerance)
            exps = np.exp(served["logits"] - served["logits"].max(-1, keepdims=True))
            np.testing.assert_allclose(
                served["probabilities"], exps / exps.sum(-1, keepdims=True), rtol=1e-5
            )
            np.testing.assert_array_equal(served["label"], served["logits"].argmax(-1))


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    net = models.build("small_cnn", input_shape=(8, 8, 1), num_classes=4)
    with pytest.raises(ValueError, match="not a SavedModel"):
        rlfat_tf.export_saved_model(net, tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "x"
