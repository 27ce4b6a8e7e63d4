"""Copies of functional models, layer by layer, cut where features become logits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional

from rlfat_tf.core import compat
from rlfat_tf.core.checks import logits_in
from rlfat_tf.core.compat import keras
from rlfat_tf.core.model_checks import activation_name, is_softmax, only_passes
from rlfat_tf.core.types import Layer, Model, Tensor

# From a layer with weights and its configuration to the configuration of its copy.
Change = Optional[Callable[[Layer, dict[str, Any]], dict[str, Any]]]
ENDS = ("linear", "softmax", "sigmoid")  # activations behind which there may be logits
# Activations between the layers of networks, never behind logits.
HIDDEN = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "swish", "hard_silu", "hard_swish")
# What Keras raises where a layer does not write its configuration (NotImplementedError too), or
# nothing can be made of it.
_NOT_MADE = (TypeError, ValueError, NotImplementedError)


class Parts(NamedTuple):
    """A classifier in two parts, both copies.

    Attributes:
        trunk: From images to features, or to everything, if the model ends in no layer that is
            known to make logits of features.
        head: The layers after it, in order, without the activation at the end; perhaps none.
        activation: The name of the activation that was left out; ``"linear"`` if none was.
    """

    trunk: Model
    head: list[Layer]
    activation: str


def is_functional(model: Any) -> bool:
    """Tells whether a model's layers can be seen: it is functional or a built Sequential model."""
    return isinstance(model, keras.Model) and bool(getattr(model, "outputs", None))


def split(model: Model, change: Change = None) -> Parts:
    """Copies a classifier with its weights, in two parts; the model stays as it is.

    Args:
        model: A functional or a built Sequential model, which may have others nested within.
        change: Of the configurations of layers with weights, for the copies.
    """
    end, activation = logits_in(compat.symbolic_outputs(model)), "linear"
    layer, inputs = compat.produced_by(end)
    while len(inputs) == 1 and (_only_activates(layer) or _changes_nothing(layer, inputs[0], end)):
        activation = "softmax" if _only_activates(layer) else activation
        end = inputs[0]
        layer, inputs = compat.produced_by(end)
    if is_functional(layer):
        inner = split(layer, change)
        known = inner.activation if activation == "linear" else activation
        return Parts(_copied(model, end, {id(layer): inner.trunk}, change), inner.head, known)
    chain = _head(end)
    if not chain:
        uncut = activation == "linear" and len(model.outputs) == 1
        trunk = whole(model, change) if uncut else _copied(model, end, {}, change)
        return Parts(trunk, [], activation)
    own = [activation_name(layer) for layer, _ in chain if activation_name(layer) != "linear"]
    activation = own[-1] if own and activation == "linear" else activation

    def linear(layer: Layer, config: dict[str, Any]) -> dict[str, Any]:
        config = change(layer, config) if change else config
        return {**config, "activation": None} if hasattr(layer, "activation") else config

    head = []
    for layer, tensor in chain:
        head.append(_copy_of(layer, linear))
        head[-1].build(tensor.shape)
        head[-1].set_weights(layer.get_weights())
    return Parts(_copied(model, chain[0][1], {}, change), head, activation)


def whole(model: Model, change: Change = None) -> Model:
    """Copies a functional or Sequential model with its weights; see :func:`split`.

    A model of a class that describes itself, such as a backbone of keras-hub, is made anew by that
    class: its layers need not have a description of their own that is complete. Only what has
    batch normalisation is copied by layers, so that this can change.
    """
    if _describes_itself(model) and not compat.batch_norm_layers(model):
        made = type(model).from_config(_config_of(model))
        compat.set_weights(made, model.get_weights())
        _freeze_alike(made, model)
        return made
    return _copied(model, logits_in(compat.symbolic_outputs(model)), {}, change)


def _freeze_alike(made: Model, model: Model) -> None:
    """Freezes the layers of a copy that are frozen in a model, which no configuration tells."""
    for ours, theirs in zip([made, *compat.layers_of(made)], [model, *compat.layers_of(model)]):
        ours.trainable = theirs.trainable  # parents come first: they change what is within them


def weighted_layers(model: Model) -> list[Layer]:
    """Returns the layers with weights in the order of the graph, nested models opened."""
    found: list[Layer] = []
    for layer in model.layers:
        if is_functional(layer):
            found += weighted_layers(layer)
        elif layer.weights:
            found.append(layer)
    return found


def ends_in_features(model: Model) -> bool:
    """Tells whether a model certainly lacks the layer that makes logits of features.

    It ends in an activation, a normalisation or flattened maps, or in a mean over the places of
    maps that no convolution made as its last.
    """
    end, pooled = logits_in(compat.symbolic_outputs(model)), False
    while True:
        layer, inputs = compat.produced_by(end)
        if is_functional(layer):
            return ends_in_features(layer)
        kind = type(layer).__name__
        if kind in ("ReLU", "BatchNormalization", "LayerNormalization", "Flatten"):
            return True
        if kind not in ("Dropout", "GlobalAveragePooling2D", "GlobalMaxPooling2D"):
            return activation_name(layer) in HIDDEN or (pooled and "Conv" not in kind)
        pooled = pooled or kind != "Dropout"
        end = inputs[0]


def _head(end: Tensor) -> list[tuple[Layer, Tensor]]:
    """Returns the layers that make logits of features, each with what it is called on.

    The first of them has a kernel; those that follow it only reshape, and what does not even do
    that is left out. A convolution counts where its maps are one pixel and become a row, as in
    MobileNet.
    """
    chain: list[tuple[Layer, Tensor]] = []
    reshaped = False
    while True:
        layer, inputs = compat.produced_by(end)
        kind, activation = type(layer).__name__, activation_name(layer)
        if len(inputs) != 1 or activation not in ENDS:
            return []
        if _changes_nothing(layer, inputs[0], end):
            end = inputs[0]
            continue
        chain.insert(0, (layer, inputs[0]))
        softmax = activation == "softmax" and layer.weights
        one_pixel = kind == "Conv2D" and reshaped and tuple(end.shape[1:3]) == (1, 1)
        if kind == "Dense" or softmax or one_pixel:
            return chain
        if kind not in ("Flatten", "Reshape", "Dropout", "Activation"):
            return []
        reshaped = reshaped or kind in ("Flatten", "Reshape")
        end = inputs[0]


def _describes_itself(model: Model) -> bool:
    """Tells whether a model's configuration is that of a class which is not Keras's own."""
    owner = next(each for each in type(model).__mro__ if "get_config" in vars(each))
    return owner.__module__.split(".")[0] != keras.Model.__module__.split(".")[0]


def _changes_nothing(layer: Layer, given: Tensor, returned: Tensor) -> bool:
    """Tells whether an operation, or an Identity, returns what it gets, perhaps in another dtype.

    Layers that only reshape, drop out in training, or tell a dtype are kept instead.
    """
    kept = ("Activation", "Dropout", "Flatten", "Reshape")
    is_kept = type(layer).__name__ in kept and isinstance(layer, keras.layers.Layer)
    return only_passes(layer) and not is_kept and tuple(given.shape) == tuple(returned.shape)


def _only_activates(layer: Any) -> bool:
    return is_softmax(layer) and not getattr(layer, "weights", None)


def _copy_of(layer: Layer, change: Change) -> Layer:
    if isinstance(layer, keras.layers.Lambda):  # whose configuration holds code, if anything
        return keras.layers.Lambda(layer.function, arguments=layer.arguments, name=layer.name)
    try:
        return type(layer).from_config(_config_of(layer, change))
    except _NOT_MADE as error:
        # Keras may have no name for its activation, such as another function of TensorFlow's.
        with contextlib.suppress(AttributeError, *_NOT_MADE):
            with _without_activation(layer) as activation:
                config = _config_of(layer, change)
                made = type(layer).from_config(config)
                if config.get("activation", "") is not None:  # else the change leaves it out
                    made.activation = activation
                return made
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"The layer {layer.name!r} ({type(layer).__name__}) cannot be copied: Keras does not "
            f"make another one of what its get_config() returns ({told[0][:200]}). adapt() copies "
            "a model layer by layer: give the class of the layer a get_config() with all that its "
            "__init__ takes."
        ) from error


@contextlib.contextmanager
def _without_activation(layer: Layer) -> Iterator[Any]:
    """Takes the function that a layer has as its activation away for a while, and yields it.

    Raises:
        AttributeError: If it has none.
        TypeError: If it is a layer, whose weights a copy must not share.
    """
    activation = layer.activation
    if isinstance(activation, keras.layers.Layer):
        raise TypeError(f"Expected a function as the activation; received {activation!r}.")
    layer.activation = keras.activations.linear
    try:
        yield activation
    finally:
        layer.activation = activation


def _config_of(layer: Layer, change: Change = None) -> dict[str, Any]:
    """Returns a layer's configuration for a copy: in float32, if it computes in float16."""
    narrow = getattr(layer, "compute_dtype", None) == "float16"
    config = {**layer.get_config(), **({"dtype": "float32"} if narrow else {})}
    return change(layer, config) if change else config


def _copied(model: Model, end: Tensor, replaced: dict[int, Model], change: Change) -> Model:
    """Copies the layers between a model's input and a tensor of its graph."""
    pairs: list[tuple[Layer, Layer]] = []

    def copy(layer: Layer) -> Layer:
        if id(layer) in replaced:
            return replaced[id(layer)]
        if is_functional(layer):
            return whole(layer, change)
        has_weights = bool(getattr(layer, "weights", None))
        made = _copy_of(layer, change if has_weights else None)
        pairs.extend([(layer, made)] if has_weights else [])
        return made

    part = keras.Model(model.inputs[0], end, name=model.name)
    made = keras.models.clone_model(part, clone_function=copy)
    for layer, other in pairs:
        compat.set_weights(other, layer.get_weights())
    return made
