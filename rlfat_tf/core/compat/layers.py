"""The layers of a model, its shapes and parts, and the dtypes that it computes in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from rlfat_tf.core.checks import logits_in
from rlfat_tf.core.compat.stack import KERAS_3, keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Layer, Model, Tensor

OF_KERAS = ("keras", "tf_keras", "tensorflow")


def layers_of(model: Model) -> list[Layer]:
    """Returns every layer inside a model, nested models opened."""
    return list(model._flatten_layers(include_self=False, recursive=True))


def symbolic_outputs(model: Model) -> Any:
    """Returns what a functional or Sequential model returns, symbolically; None if unknown."""
    outputs = getattr(model, "outputs", None)
    if not outputs:
        return None
    return outputs[0] if len(outputs) == 1 else model.output  # a dictionary, if it was made so


def last_layer(model: Model) -> Any:
    """Returns the layer or operation that a model's output comes from; None if unknown."""
    outputs = symbolic_outputs(model)
    if outputs is not None:
        return logits_in(outputs)._keras_history[0]
    return model.layers[-1] if isinstance(model, keras.Sequential) and model.layers else None


def produced_by(tensor: Tensor) -> tuple[Layer, list[Tensor]]:
    """Returns the layer or operation that a symbolic tensor comes from, and what it was called on.

    A layer's own ``input`` is not unique where it is called several times.
    """
    layer, number = tensor._keras_history[:2]
    node = layer._inbound_nodes[number]
    return layer, list(node.input_tensors if KERAS_3 else node.keras_inputs)


def input_shape(model: Model) -> Any:
    """Returns the shape of a batch that a model takes; None if it is not built.

    A subclassed model tells it by what it was built on, which is one tensor's shape or it is
    unknown too.
    """
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, (dict, list)) and len(shape) == 1:
        (shape,) = shape.values() if isinstance(shape, dict) else shape
    if shape is not None:
        return shape
    shape = (model.get_build_config() or {}).get("input_shape")
    if shape is None or not all(size is None or isinstance(size, int) for size in shape):
        return None
    return (None, *shape[1:])


def part_of(model: Model, layer: str | None = None) -> Model:
    """Returns a model from the same inputs to a layer's output; it shares all weights.

    Args:
        model: A functional or Sequential model.
        layer: The layer's name; None for what feeds the last layer.

    Raises:
        ValueError: If the model's layers cannot be seen, or none has that name.
    """
    if not getattr(model, "outputs", None):
        raise ValueError(
            f"The layers of {model.name!r} cannot be seen: an embedding needs a functional or "
            "Sequential model."
        )
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    if layer is not None:
        names = [each.name for each in model.layers]
        if layer not in names:
            raise unknown("layer", layer, names)
        return keras.Model(inputs, model.get_layer(layer).output)
    last = last_layer(model)
    if isinstance(last, keras.Model):
        raise ValueError(
            f"The last layer of {model.name!r} is a model itself. Name the layer of the embedding."
        )
    return keras.Model(inputs, last.input)


def set_weights(layer: Layer, arrays: list[Any]) -> None:
    """Sets the weights of a layer or a model, and what its layers keep of them."""
    layer.set_weights(arrays)
    refresh_normalization(layer)


def refresh_normalization(layer: Layer) -> None:
    """Lets ``Normalization`` in a layer or a model see that its weights have been set.

    It computes with constants that it has made of them, and that nothing else makes anew.
    """
    for each in layer._flatten_layers(recursive=True):
        if isinstance(each, keras.layers.Normalization):
            each.finalize_state()


def batch_norm_layers(model: Model) -> list[Layer]:
    """Returns the batch-normalisation layers of a model, nested models opened."""
    return [layer for layer in layers_of(model) if is_batch_norm(layer)]


def is_batch_norm(layer: Layer) -> bool:
    """Tells whether a layer is one of Keras's batch normalisations, or a subclass of it."""
    return any(
        "BatchNormalization" in kind.__name__ and kind.__module__.startswith(OF_KERAS)
        for kind in type(layer).__mro__
    )


def variables_of(model: Model) -> list[Any]:
    """Returns every variable that a model's state consists of, in a fixed order."""
    return list(model.variables)


def compute_dtypes(model: Model) -> set[str]:
    """Returns the names of the dtypes that a model's layers compute in."""
    return {str(layer.compute_dtype) for layer in [model, *layers_of(model)]}


@contextlib.contextmanager
def channels_last() -> Iterator[None]:
    """Builds layers for images [height, width, channels], whatever ``keras.json`` says."""
    old = keras.backend.image_data_format()
    keras.backend.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.backend.set_image_data_format(old)


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Builds layers under a dtype policy such as ``"mixed_bfloat16"``, and restores the old."""
    old = keras.config.dtype_policy() if KERAS_3 else keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(old)


def synchronized_batch_norm() -> bool:
    """Tells whether batch statistics must be shared: more than one replica in this scope."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1
