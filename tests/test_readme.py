"""The README's code runs as it stands: one device, then two."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Two logical CPUs stand for two GPUs.
TWO_DEVICES = """
import functools
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.distribute.MirroredStrategy = functools.partial(
    tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"])
"""
CHECK = """
assert strategy.num_replicas_in_sync == 2
served = tf.saved_model.load("serving/2").signatures["serving_default"]
logits = served(images=tf.constant(data.test.images[:5]))["logits"]
tf.debugging.assert_near(logits, robust.predict(data.test.images[:5]), 1e-4, 1e-4)
print("two replicas served")
"""


@pytest.mark.current
def test_code_of_the_readme(forks, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    code = "\n".join([TWO_DEVICES, *blocks[:3], CHECK]).replace("epochs=3", "epochs=1")
    (tmp_path / "example.py").write_text(code)
    printed = forks.run("example.py", folder=tmp_path)
    assert "two replicas served" in printed
    assert "val_adv_accuracy" in printed
