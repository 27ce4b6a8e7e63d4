"""Forward passes against the networks written once more, in NumPy and float64."""

import numpy as np
import pytest

from rlfat_tf import models
from rlfat_tf.core import compat


class Weights:
    """The variables of a model by layer, and the layers' arithmetic in inference mode."""

    def __init__(self, model, epsilon, slope):
        self.layers = {layer.name: layer.get_weights() for layer in model.layers}
        self.epsilon = epsilon
        self.slope = slope

    def conv(self, x, name, stride=1, padding=(1, 1)):
        (kernel,) = self.layers[name]
        size = kernel.shape[0]
        x = np.pad(x, [(0, 0), padding, padding, (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
        return np.einsum("bhwcij,ijco->bhwo", windows[:, ::stride, ::stride], kernel)

    def normalise(self, x, name):
        gamma, beta, mean, variance = self.layers[f"{name}_bn"]
        return gamma * (x - mean) / np.sqrt(variance + self.epsilon) + beta

    def activate(self, x, name):
        x = self.normalise(x, name)
        if self.slope == "silu":
            return x * (1 + np.tanh(x / 2)) / 2
        return np.where(x < 0, self.slope * x, x)

    def dense(self, x):
        kernel, bias = self.layers["logits"]
        return x.mean((1, 2)) @ kernel + bias

    def logits(self, x):
        return self.dense(self.activate(x, "last"))


def random_weights(model, seed=0):
    """Fills a model with weights that make every term of every layer count."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else rng.normal(0, 0.2, w.shape)
            for w in model.get_weights()
        ]
    )


def build(name, size=8):
    with compat.dtype_policy("float64"):
        model = models.build(name, input_shape=(size, size, 3), num_classes=4)
    random_weights(model)
    images = np.random.default_rng(1).random((3, size, size, 3))
    return model, images, np.asarray(model(images, training=False))


def test_reference():
    model, images, logits = build("w14-2")
    net = Weights(model, epsilon=1e-3, slope=0.1)
    x = net.conv(images, "stem_conv")
    for stage, width in [(1, 32), (2, 64), (3, 128)]:
        for unit in [1, 2]:
            name = f"stage{stage}_unit{unit}"
            halve = unit == 1 and stage > 1
            activated = net.activate(x, f"{name}_1")
            if (stage, unit) == (1, 1):
                x = activated
            # TensorFlow's "SAME" puts the one row that a strided convolution lacks at the end.
            stride, padding = (2, (0, 1)) if halve else (1, (1, 1))
            y = net.conv(activated, f"{name}_conv1", stride, padding)
            y = net.conv(net.activate(y, f"{name}_2"), f"{name}_conv2")
            if halve:
                x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
            half = (width - x.shape[-1]) // 2
            x = y + np.pad(x, [(0, 0)] * 3 + [(half, half)])
    np.testing.assert_allclose(logits, net.logits(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "widths"),
    [("wrn-10-1", (16, 32, 64)), ("wrn-16-2", (32, 64, 128)),
     ("preact_resnet18", (64, 128, 256, 512)), ("wrn-10-2-silu", (32, 64, 128)),
     ("preact_resnet18-silu", (64, 128, 256, 512))],
)  # fmt: skip
def test_preactivation(name, widths):
    model, images, logits = build(name)
    silu = name.endswith("silu")
    net = Weights(model, epsilon=1e-5, slope="silu" if silu else 0.0)
    units = 1 if name.startswith("wrn-10") else 2
    x = net.conv(images, "stem_conv")
    for stage, width in enumerate(widths, start=1):
        for unit in range(1, units + 1):
            prefix = f"stage{stage}_unit{unit}"
            stride = 2 if unit == 1 and stage > 1 else 1
            # What TensorFlow's "SAME" adds to maps of even size, and what PyTorch's networks do.
            padding = (0, 1) if silu and stride == 2 else (1, 1)
            activated = net.activate(x, f"{prefix}_1")
            y = net.conv(activated, f"{prefix}_conv1", stride, padding)
            if x.shape[-1] != width and name == "preact_resnet18-silu":
                x = net.conv(x, f"{prefix}_shortcut", stride, padding)
            elif x.shape[-1] != width:
                x = net.conv(activated, f"{prefix}_shortcut", stride, (0, 0))
            x = x + net.conv(net.activate(y, f"{prefix}_2"), f"{prefix}_conv2")
    np.testing.assert_allclose(logits, net.logits(x), rtol=1e-6)


def test_postactivation():
    model, images, logits = build("resnet18")
    net = Weights(model, epsilon=1e-5, slope=0.0)

    def convolved(x, name, *how):
        return net.normalise(net.conv(x, f"{name}_conv", *how), name)

    x = np.maximum(convolved(images, "stem"), 0)
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for unit in (1, 2):
            prefix = f"stage{stage}_unit{unit}"
            stride = 2 if unit == 1 and stage > 1 else 1
            y = np.maximum(convolved(x, f"{prefix}_1", stride), 0)
            y = convolved(y, f"{prefix}_2")
            if x.shape[-1] != width:
                x = convolved(x, f"{prefix}_shortcut", stride, (0, 0))
            x = np.maximum(x + y, 0)
    np.testing.assert_allclose(logits, net.dense(x), rtol=1e-6)
    drawn = {model.get_layer(n).kernel_initializer.mode for n in net.layers if n.endswith("conv")}
    assert drawn == {"fan_in"}


def test_silu_at_minus_one():
    model, *_ = build("wrn-10-1-silu")
    value = np.asarray(model.get_layer("last_silu")(np.full((1, 1, 1, 1), -1.0)))
    np.testing.assert_allclose(value, [[[[-0.2689414]]]], atol=1e-7)
