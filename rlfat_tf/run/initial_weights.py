"""The weights with which a run begins, where they are those of another training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.model_checks import activation_name
from rlfat_tf.core.types import Model
from rlfat_tf.methods.wrapped_classifier import WrappedClassifier
from rlfat_tf.models import zoo
from rlfat_tf.models.adapted.applications import PREFIX as OF_KERAS
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.storage import checkpoint

NAMES = ("imagenet", "none")  # of weights that are neither in a file nor of a network that ships


def is_path(weights: str | None) -> bool:
    """Tells whether a value of ``--weights`` is a folder or a file."""
    return weights not in (None, *NAMES) and not str(weights).startswith(zoo.PREFIX)


def source(config: TrainConfig) -> str:
    """Returns where the weights of a run are from: ``weights``, or the default of its network."""
    usual = "imagenet" if config.model.startswith(OF_KERAS) else "none"
    return config.weights or usual


def of_backbone(config: TrainConfig) -> str:
    """Returns what a ``keras:`` network is built with: Keras's weights, without its last layer.

    "none" where the whole network gets those of a run or of a model afterwards.
    """
    given = source(config)
    return given if given in NAMES or given.endswith(".h5") else "none"


def load(config: TrainConfig) -> Model | None:
    """Loads the network whose weights a run asks for.

    Args:
        config: The run; its ``weights`` are ``pretrained:<name>``, the folder of a run, of which
            the best checkpoint is taken, or a ``.keras`` file.

    Returns:
        The network; None if the run begins with random weights, or with those that Keras builds
        its network with (``keras:``).

    Raises:
        ValueError: If there are none, or their file must not be loaded or is damaged.
    """
    given = source(config)
    of_keras = config.model.startswith(OF_KERAS)
    if given == "none" or (of_keras and of_backbone(config) == given):
        return None
    if given.startswith(zoo.PREFIX):
        return zoo.load_pretrained(given)
    try:
        path = Path(given)
        model = checkpoint.load(checkpoint.model_path(path) if path.is_dir() else path)
    except FileNotFoundError as error:
        raise ValueError(
            f"--weights: {error} Give pretrained:<name> of a network that comes with the library, "
            "the folder of a run, or a .keras file"
            + ("; or imagenet, none or a .h5 file." if of_keras else ".")
        ) from error
    return model.model if isinstance(model, WrappedClassifier) else model


def put(network: Model, given: Model, source: str) -> None:
    """Gives a network the weights of another one.

    The classification layer, the last one, begins anew if the number of classes differs.

    Args:
        network: The network.
        given: The other, as :func:`load` returns it.
        source: Where it is from, for the message.

    Raises:
        ValueError: If their layers differ.
    """
    wrong = f"--weights={source} holds another network than --model names: "
    shapes, theirs = _shapes(network), _shapes(given)
    if shapes[:-1] != theirs[:-1]:
        raise ValueError(
            f"{wrong}{_different(shapes, theirs)}. Choose the --model that it was trained as."
        )
    here, there = _without_weights(network), _without_weights(given)
    if here != there:
        raise ValueError(
            f"{wrong}its weights fit, but it has {there} where this network has {here}. Choose the "
            "--model and the --normalize that it was trained with."
        )
    kept = zip(_weighted(network), _weighted(given), shapes, theirs)
    for layer, other, ours, of_it in kept:
        if ours == of_it:
            compat.set_weights(layer, other.get_weights())


def _weighted(model: Model) -> list[Any]:
    return [layer for layer in model.layers if layer.get_weights()]


def _shapes(model: Model) -> list[list[tuple[int, ...]]]:
    return [[part.shape for part in layer.get_weights()] for layer in _weighted(model)]


def _without_weights(model: Model) -> str:
    """Says what a network computes that its weights do not tell: activations, normalisation."""
    activations, scales = set(), []
    for layer in _all_layers(model):
        name, slope = activation_name(layer), getattr(layer, "negative_slope", 0.0)
        if name == "linear" and "relu" in type(layer).__name__.lower():
            name = f"relu with slope {float(slope):g}" if slope else "relu"
        if name not in ("linear", "softmax"):  # what follows the logits is left out
            activations.add("silu" if name == "swish" else name)
        if isinstance(layer, keras.layers.Rescaling):
            scales.append(f"{_rounded(layer.scale)} x + {_rounded(layer.offset)}")
    names = ", ".join(sorted(activations)) or "none"
    return f"the activations {names} and the normalisation {', '.join(scales) or 'none'}"


def _rounded(numbers: Any) -> list[float]:
    return [float(f"{number:.4g}") for number in np.ravel(numbers)]


def _all_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _all_layers(layer)
        else:
            yield layer


def _different(ours: list[Any], theirs: list[Any]) -> str:
    if len(ours) != len(theirs):
        return f"it has {len(theirs)} layers with weights, and this network {len(ours)}"
    number = next(n for n, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1])
    return f"layer {number + 1} has weights of shapes {theirs[number]} there, {ours[number]} here"
