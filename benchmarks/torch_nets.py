"""Our residual networks in PyTorch, so that what is written for PyTorch meets the same network.

    net = copy_of(network_of(model))        # float32, inference mode, images NCHW

Nothing here imports TensorFlow: with both in one process ``torch.compile`` ends in a segmentation
fault where PyTorch brings Triton.

Every layer has the name that it has in Keras, and weights move by name. The strided convolutions
of ``wrn-<depth>-<width>`` pad both sides by one pixel in Keras too (``ZeroPadding2D``); those of
the reference's family ``w<depth>-<width>`` have TensorFlow's "SAME" padding, which at stride 2 and
an even size pads the lower right only.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.network_file import STEM_WIDTH, Network

SLOPE = 0.1  # of the reference's leaky ReLU


class WideResNet(nn.Module):
    """The pre-activation network of :mod:`rlfat_tf.models.preact_resnet` with three stages.

    Args:
        network: What it is a copy of.
    """

    projects = True  # a shortcut that changes its shape is a convolution
    strided_padding = 1

    def __init__(self, network: Network):
        super().__init__()
        self.units = network.units
        layers: dict[str, nn.Module] = {"stem_conv": _conv(network.channels, STEM_WIDTH, 3, 1, 1)}
        before = STEM_WIDTH
        for name, after, stride in self.units:
            padding = 1 if stride == 1 else self.strided_padding
            layers[f"{name}_1_bn"] = nn.BatchNorm2d(before)
            if self.projects and (stride != 1 or before != after):
                layers[f"{name}_shortcut"] = _conv(before, after, 1, stride, 0)
            layers[f"{name}_conv1"] = _conv(before, after, 3, stride, padding)
            layers[f"{name}_2_bn"] = nn.BatchNorm2d(after)
            layers[f"{name}_conv2"] = _conv(after, after, 3, 1, 1)
            before = after
        layers["last_bn"] = nn.BatchNorm2d(before)
        layers["logits"] = nn.Linear(before, network.num_classes)
        self.layers = nn.ModuleDict(layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps images [batch, channels, height, width] in [0, 1] to logits [batch, classes]."""
        x = self.layers["stem_conv"](images)
        for name, width, stride in self.units:
            activated = self.activate(self.layers[f"{name}_1_bn"](x))
            shortcut = self.shortcut(x, activated, name, width, stride)
            residual = self.layers[f"{name}_conv1"](self.before_conv(activated, stride))
            residual = self.activate(self.layers[f"{name}_2_bn"](residual))
            x = shortcut + self.layers[f"{name}_conv2"](residual)
        return self.layers["logits"](self.activate(self.layers["last_bn"](x)).mean((2, 3)))

    def activate(self, x: torch.Tensor) -> torch.Tensor:
        """ReLU."""
        return torch.relu(x)

    def before_conv(self, x: torch.Tensor, stride: int) -> torch.Tensor:
        """What comes before a unit's first convolution."""
        return x

    def shortcut(
        self, x: torch.Tensor, activated: torch.Tensor, name: str, width: int, stride: int
    ) -> torch.Tensor:
        """A convolution of the activated maps where the shape changes, else the maps."""
        if f"{name}_shortcut" in self.layers:
            return self.layers[f"{name}_shortcut"](activated)
        return x


class ReferenceWideResNet(WideResNet):
    """The network of :mod:`rlfat_tf.models.reference`; arguments as :class:`WideResNet`."""

    projects = False
    strided_padding = 0

    def activate(self, x: torch.Tensor) -> torch.Tensor:
        """Leaky ReLU."""
        return functional.leaky_relu(x, SLOPE)

    def before_conv(self, x: torch.Tensor, stride: int) -> torch.Tensor:
        """Pads the lower right, as "SAME" does at stride 2 and an even size."""
        return x if stride == 1 else functional.pad(x, (0, 1, 0, 1))

    def shortcut(
        self, x: torch.Tensor, activated: torch.Tensor, name: str, width: int, stride: int
    ) -> torch.Tensor:
        """Averages over the stride, and pads the channels with zeros."""
        x = activated if name == self.units[0][0] else x
        x = functional.avg_pool2d(x, stride) if stride > 1 else x
        missing = width - x.shape[1]
        if missing == 0:
            return x
        return functional.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2))


def _conv(before: int, after: int, size: int, stride: int, padding: int) -> nn.Module:
    return nn.Conv2d(before, after, size, stride, padding=padding, bias=False)


def trainable_copy_of(network: Network) -> WideResNet:
    """Returns the PyTorch copy of a Keras network."""
    kind = WideResNet if network.name.startswith("wrn-") else ReferenceWideResNet
    net = kind(network)
    move_weights(network, net)
    return net


def copy_of(network: Network) -> WideResNet:
    """Returns the copy for inference only; see :func:`trainable_copy_of`."""
    return trainable_copy_of(network).eval().requires_grad_(False)


def move_weights(network: Network, net: WideResNet) -> None:
    """Copies the weights of a Keras network into its PyTorch copy, layer by layer.

    Raises:
        ValueError: If one of them has layers with weights, or shapes, that the other lacks.
    """
    if set(network.weights) != set(net.layers):
        only = sorted(set(network.weights) ^ set(net.layers))
        raise ValueError(f"Expected the same layers; only one of both has {only}.")
    for name, theirs in net.layers.items():
        weights = list(network.weights[name])
        if isinstance(theirs, nn.BatchNorm2d):
            theirs.eps = network.epsilons[name]
            targets = [theirs.weight, theirs.bias, theirs.running_mean, theirs.running_var]
        elif isinstance(theirs, nn.Linear):
            weights[0] = weights[0].T
            targets = [theirs.weight, theirs.bias]
        else:
            weights[0] = weights[0].transpose(3, 2, 0, 1)
            targets = [theirs.weight]
        for target, weight in zip(targets, weights):
            if target.shape != weight.shape:
                raise ValueError(
                    f"Layer {name} has a weight {tuple(target.shape)} in PyTorch and "
                    f"{weight.shape} in Keras."
                )
            target.data.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
