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

for name in ("keras", "tf_keras", "rlfat_tf"):
    sys.modules[name] = None  # importing it raises ImportError
import tensorflow as tf
loaded = tf.saved_model.load("export")
bytes_ = np.load("images.npy")
for name, images in ("serving_uint8", bytes_), ("serving_default", np.float32(bytes_) / 255):
    served = loaded.signatures[name](images=tf.constant(images))
    np.savez(name, **{name: value.numpy() for name, value in served.items()})
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
    np.save(tmp_path / "images.npy", bytes_)
    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("serving_default", "serving_uint8"):
        with np.load(tmp_path / f"{name}.npz") as served:
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
