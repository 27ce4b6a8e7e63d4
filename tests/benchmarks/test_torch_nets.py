"""The PyTorch copy is the network: the same logits from the same weights."""

import dataclasses

import numpy as np
import pytest

from benchmarks.network_file import Network, network_of
from benchmarks.torch_side import TorchSide
from rlfat_tf import models

torch = pytest.importorskip("torch", reason="PyTorch is not installed; only benchmarks need it")
torch_nets = pytest.importorskip("benchmarks.torch_nets")


def build(name="wrn-10-1", size=32, channels=3):
    """Builds a network whose every weight counts: no mean 0, no variance 1."""
    model = models.build(name, input_shape=(size, size, channels), num_classes=10)
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w + rng.normal(0, 0.02, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [
        ("wrn-10-1", 32, 3),
        ("wrn-16-2", 32, 3),
        ("wrn-10-2", 8, 1),
        ("wrn-10-1", 9, 3),
        ("w14-1", 32, 3),
        ("w8-2", 8, 1),
    ],
)
def test_logits_are_equal(name, size, channels):
    model = build(name, size, channels)
    images = np.random.default_rng(1).random((5, size, size, channels), np.float32)
    net = torch_nets.copy_of(network_of(model))
    theirs = net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    ours = np.asarray(model(images, training=False))
    assert np.ptp(ours) > 0.1
    assert np.max(np.abs(ours - theirs)) < 1e-4


def test_copy_is_for_inference():
    net = torch_nets.copy_of(network_of(build()))
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_another_network_is_refused():
    model = models.build("small_cnn", input_shape=(8, 8, 1), num_classes=3)
    with pytest.raises(ValueError, match="wrn-<depth>-<width>"):
        torch_nets.copy_of(network_of(model))


def test_other_layers_are_refused():
    network = network_of(build())
    less = dataclasses.replace(network, units=network.units[:-1])
    with pytest.raises(ValueError, match="stage3_unit1"):
        torch_nets.trainable_copy_of(less)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="logits"):
        torch_nets.trainable_copy_of(dataclasses.replace(network_of(build()), num_classes=3))


def test_a_file_holds_the_network(tmp_path):
    network = network_of(build("w14-1"))
    network.save(tmp_path / "network.npz")
    again = Network.load(tmp_path / "network.npz")
    assert dataclasses.replace(again, weights={}) == dataclasses.replace(network, weights={})
    assert list(again.weights) == list(network.weights)
    for name, arrays in network.weights.items():
        for one, other in zip(arrays, again.weights[name]):
            np.testing.assert_array_equal(one, other)


def test_the_other_process_computes_the_same_logits():
    model, rng = build(), np.random.default_rng(1)
    with TorchSide("logits", network_of(model), {}) as side:
        for size in (5, 3):
            images = rng.random((size, 32, 32, 3), np.float32)
            ours = np.asarray(model(images, training=False))
            np.testing.assert_allclose(side(images=images), ours, atol=1e-4)
