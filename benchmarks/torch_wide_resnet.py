"""Our ``wrn-<depth>-<width>`` in PyTorch, so that peers written for PyTorch judge the same network.

    net = copy_of(model)        # float32, inference mode, images NCHW

Every layer has the name that it has in Keras, and weights move by name. The strided convolutions
of this network pad both sides by one pixel in Keras too (``ZeroPadding2D``), so PyTorch's own
``padding=1`` is the same; TensorFlow's asymmetric "SAME" would be another network.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import nn

from rlfat_tf.models.common import units


class WideResNet(nn.Module):
    """The pre-activation network of :mod:`rlfat_tf.models.preact_resnet` with three stages.

    Args:
        depth: 6n + 4 for n units in each stage.
        width: Multiplies the widths 16, 32 and 64 of the stages.
        num_classes: Number of logits.
        channels: Channels of an image.
    """

    def __init__(self, *, depth: int, width: int, num_classes: int, channels: int = 3):
        super().__init__()
        self.units = list(units((16 * width, 32 * width, 64 * width), (depth - 4) // 6))
        layers: dict[str, nn.Module] = {"stem_conv": _conv(channels, 16, 3, 1)}
        before = 16
        for name, after, stride in self.units:
            layers[f"{name}_1_bn"] = nn.BatchNorm2d(before)
            if stride != 1 or before != after:
                layers[f"{name}_shortcut"] = _conv(before, after, 1, stride)
            layers[f"{name}_conv1"] = _conv(before, after, 3, stride)
            layers[f"{name}_2_bn"] = nn.BatchNorm2d(after)
            layers[f"{name}_conv2"] = _conv(after, after, 3, 1)
            before = after
        layers["last_bn"] = nn.BatchNorm2d(before)
        layers["logits"] = nn.Linear(before, num_classes)
        self.layers = nn.ModuleDict(layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps images [batch, channels, height, width] in [0, 1] to logits [batch, classes]."""
        layers = self.layers
        x = layers["stem_conv"](images)
        for name, _, _ in self.units:
            activated = torch.relu(layers[f"{name}_1_bn"](x))
            residual = layers[f"{name}_conv1"](activated)
            residual = torch.relu(layers[f"{name}_2_bn"](residual))
            shortcut = layers[f"{name}_shortcut"](activated) if f"{name}_shortcut" in layers else x
            x = shortcut + layers[f"{name}_conv2"](residual)
        return layers["logits"](torch.relu(layers["last_bn"](x)).mean((2, 3)))


def _conv(before: int, after: int, size: int, stride: int) -> nn.Module:
    return nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)


def copy_of(model: Any) -> WideResNet:
    """Returns the PyTorch copy of a Keras ``wrn-<depth>-<width>``, for inference only.

    Raises:
        ValueError: If the model is another network.
    """
    match = re.fullmatch(r"wrn-([0-9]+)-([0-9]+)", model.name)
    if match is None:
        raise ValueError(f"Expected a network wrn-<depth>-<width>; received {model.name!r}.")
    depth, width = map(int, match.groups())
    channels, classes = model.input_shape[-1], model.output_shape[-1]
    net = WideResNet(depth=depth, width=width, num_classes=classes, channels=channels)
    move_weights(model, net)
    return net.eval().requires_grad_(False)


def move_weights(model: Any, net: WideResNet) -> None:
    """Copies the weights of a Keras model into its PyTorch copy, layer by layer.

    Raises:
        ValueError: If one of them has layers with weights, or shapes, that the other lacks.
    """
    ours = {layer.name: layer for layer in model.layers if layer.weights}
    if set(ours) != set(net.layers):
        raise ValueError(
            f"Expected the same layers; only one of both has {sorted(set(ours) ^ set(net.layers))}."
        )
    for name, theirs in net.layers.items():
        weights = ours[name].get_weights()
        if isinstance(theirs, nn.BatchNorm2d):
            theirs.eps = ours[name].epsilon
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
