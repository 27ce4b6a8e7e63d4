"""Weights start from the distributions that the papers' code draws them from."""

import numpy as np
import pytest

from rlfat_tf import models
from rlfat_tf.core.compat import keras
from rlfat_tf.models import common


def kernels(model):
    return {layer.name: layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")}


@pytest.mark.parametrize("name", ["w8-4", "wrn-10-4"])
def test_convolutions_are_normal_in_fan_out(name):
    scaled = []
    for layer, kernel in kernels(models.build(name, input_shape=(8, 8, 3), num_classes=5)).items():
        if layer != "logits":
            scaled.append(kernel.ravel() / np.sqrt(2 / (kernel[:, :, 0].size)))
    values = np.concatenate(scaled)
    assert np.mean(values) == pytest.approx(0, abs=0.01)
    assert np.std(values) == pytest.approx(1, abs=0.01)
    assert np.max(np.abs(values)) > 3  # a truncated normal would end at about 2.3
    assert np.mean(values**4) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("name", "gain"), [("w8-4", 3.0), ("wrn-10-4", 1.0)])
def test_logits_are_uniform_in_fan_in(name, gain):
    model = models.build(name, input_shape=(8, 8, 3), num_classes=50)
    kernel = kernels(model)["logits"]
    limit = np.sqrt(gain / kernel.shape[0])
    assert 0.99 * limit < np.max(np.abs(kernel)) <= limit
    assert np.std(kernel) == pytest.approx(limit / np.sqrt(3), rel=0.03)
    np.testing.assert_array_equal(model.get_layer("logits").bias, np.zeros(50))


def test_convolutions_of_the_usual_pytorch_networks_are_uniform_in_fan_in():
    images = keras.Input((8, 8, 32))
    made = common.conv(images, 64, 3, initial="uniform", name="conv")
    scaled = keras.Model(images, made).get_layer("conv").kernel.numpy() * np.sqrt(3 * 3 * 32)
    assert 0.999 < np.max(np.abs(scaled)) <= 1 + 1e-6
    assert np.std(scaled) == pytest.approx(1 / np.sqrt(3), rel=0.01)


def test_layers_of_equal_shape_start_differently():
    drawn = kernels(models.build("w14-1", input_shape=(8, 8, 3), num_classes=5))
    assert np.any(drawn["stage1_unit2_conv1"] != drawn["stage1_unit2_conv2"])
