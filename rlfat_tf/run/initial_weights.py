"""The weights with which a run begins, where they are those of another training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlfat_tf.core import compat
from rlfat_tf.core.types import Model
from rlfat_tf.methods.wrapped_classifier import WrappedClassifier
from rlfat_tf.models import zoo
from rlfat_tf.models.adapted.applications import PREFIX as OF_KERAS
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.storage import checkpoint

Layers = list[list[Any]]
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


def load(config: TrainConfig) -> Layers | None:
    """Loads the weights that a run asks for.

    Args:
        config: The run; its ``weights`` are ``pretrained:<name>``, the folder of a run, of which
            the best checkpoint is taken, or a ``.keras`` file.

    Returns:
        The arrays of each layer that has any; None if the run begins with random weights, or with
        those that Keras builds its network with (``keras:``).

    Raises:
        ValueError: If there are none, or their file must not be loaded or is damaged.
    """
    given = source(config)
    of_keras = config.model.startswith(OF_KERAS)
    if given == "none" or (of_keras and of_backbone(config) == given):
        return None
    if given.startswith(zoo.PREFIX):
        return _layers(zoo.load_pretrained(given))
    try:
        path = Path(given)
        model = checkpoint.load(checkpoint.model_path(path) if path.is_dir() else path)
    except FileNotFoundError as error:
        raise ValueError(
            f"--weights: {error} Give pretrained:<name> of a network that comes with the library, "
            "the folder of a run, or a .keras file"
            + ("; or imagenet, none or a .h5 file." if of_keras else ".")
        ) from error
    return _layers(model.model if isinstance(model, WrappedClassifier) else model)


def put(network: Model, given: Layers, source: str) -> None:
    """Gives a network the weights of another of the same layers.

    The classification layer, the last one, begins anew if the number of classes differs.

    Args:
        network: The network.
        given: The arrays of each layer, as :func:`load` returns them.
        source: Where they are from, for the message.

    Raises:
        ValueError: If the layers differ.
    """
    layers = [layer for layer in network.layers if layer.get_weights()]
    shapes, theirs = _shapes(_layers(network)), _shapes(given)
    if shapes[:-1] != theirs[:-1]:
        raise ValueError(
            f"--weights={source} holds another network than --model names: "
            f"{_different(shapes, theirs)}. Choose the --model that it was trained as."
        )
    kept = layers if shapes[-1] == theirs[-1] else layers[:-1]
    for layer, arrays in zip(kept, given):
        compat.set_weights(layer, arrays)


def _layers(model: Model) -> Layers:
    return [arrays for layer in model.layers if (arrays := layer.get_weights())]


def _shapes(layers: Layers) -> list[list[tuple[int, ...]]]:
    return [[part.shape for part in arrays] for arrays in layers]


def _different(ours: list[Any], theirs: list[Any]) -> str:
    if len(ours) != len(theirs):
        return f"it has {len(theirs)} layers with weights, and this network {len(ours)}"
    number = next(n for n, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1])
    return f"layer {number + 1} has weights of shapes {theirs[number]} there, {ours[number]} here"
