"""What a Keras model must be to be attacked: one image in, logits out, each in its full range.

:func:`check_model` reads what the model says of itself; :func:`try_out` runs it once, eagerly, on
three images, which also tells of models that say nothing (subclassed ones, functions in a Lambda).
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.checks import CUT_SIGMOID, SOFTMAX, SQUASHED, check_logits, logits_in
from rlfat_tf.core.types import Images, Layer, Logits, Model, Tensor

# Of what the first layer receives for black and white images: below this range, or this part of its
# greatest value, the images are lost. 1/255 is 0.004, a Normalization adapted on 0 ... 255 about
# 0.015; a network for images in [0, 1] has 1 to 5.
NARROW = 0.05
SCALING_PAGE = "docs/methods.md"
# What returns the numbers that it gets, in inference; by its kind, see `_kind`.
PASSING = (
    "cast", "copy", "dropout", "expanddims", "flatten", "identity", "reshape", "squeeze",
    "stopgradient",
)  # fmt: skip
BOUNDING = ("sigmoid", "hard_sigmoid", "tanh")


class Trial(NamedTuple):
    """What running a model on three images showed.

    Attributes:
        logits: Of a black, a white and a half black image, [3, classes].
        scaling: A sentence if the model makes almost nothing of images in [0, 1]; else None.
    """

    logits: Logits
    scaling: str | None


def check_model(model: Model) -> None:
    """Refuses models that have not one input and one output, the logits.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If it has several inputs or outputs, or its output cannot be logits.
    """
    if not isinstance(model, compat.keras.Model):
        raise TypeError(
            f"Expected a Keras model that maps images to logits; received {type(model).__name__}. "
            "A model of another Keras (tf_keras and keras are two) does not count as one."
        )
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) > 1:
        raise ValueError(
            f"Expected a classifier with one input, the images; {model.name!r} has {len(inputs)}. "
            "An attack moves one image: fix the other inputs inside of a model that takes images "
            "only."
        )
    logits = symbolic_logits(model)
    if logits is not None:
        check_logits(logits, f"The model {model.name!r}")


def symbolic_logits(model: Model) -> Any:
    """Returns the symbolic logits of a functional or Sequential model; None of any other."""
    outputs = compat.symbolic_outputs(model)
    try:
        return None if outputs is None else logits_in(outputs)
    except ValueError as error:
        raise ValueError(f"The model {model.name!r}: {error}") from None


def count_classes(model: Model) -> int:
    """Returns the number of logits of a classifier.

    Raises:
        ValueError: If it is not known yet.
    """
    logits = symbolic_logits(model)
    if logits is not None:
        return int(logits.shape[-1])
    shape = compat.input_shape(model)
    if shape is None:
        raise ValueError(
            f"Expected a model whose number of classes is known, but {type(model).__name__} is not "
            "built. Call it on a batch of images first: model(images)."
        )
    return int(logits_in(model(compat.keras.Input(shape[1:]), training=False)).shape[-1])


def image_shape(model: Model) -> tuple[int | None, ...] | None:
    """Returns height, width and channels of the images that a model takes; None if unknown."""
    shape = compat.input_shape(model)  # of several inputs a list
    return shape[1:] if isinstance(shape, tuple) else None


def try_out(model: Model, shape: Any) -> Trial:
    """Runs a model on a black, a white and a half black image and looks at what it does.

    It reads what the first layer with a kernel receives, so that it does not matter how the model
    scales: by layers, nested models, a Lambda or in its own call.

    Args:
        model: A Keras model; it is built by this if it was not.
        shape: Height, width and channels of an image.

    Raises:
        ValueError: If what it returns cannot be logits.
    """
    output, received = run(model, _black_and_white(tuple(shape)))
    logits = logits_in(output)
    check_logits(logits, f"The model {model.name!r}")
    for layer, values in received:
        spread = _spread(values)
        if spread:
            lost = spread < NARROW or spread < NARROW * float(tf.reduce_max(tf.abs(values)))
            return Trial(logits, _scaled_twice(model, layer, spread) if lost else None)
    return Trial(logits, None)


def run(model: Model, images: Images) -> tuple[Any, list[tuple[Layer, Tensor]]]:
    """Runs a model on images, eagerly and in inference mode.

    Returns:
        What it returned, and what each layer that has a kernel or normalises received, in order;
        float32. So what happens to the images before the first of them, by whatever means.
    """
    received: list[tuple[Layer, Tensor]] = []
    with _noting_inputs(compat.layers_of(model), received):
        output = model(images, training=False)
    return output, [(by, tf.cast(x, tf.float32)) for by, x in received if _reads_values(by)]


def check_ending(model: Model) -> None:
    """Refuses a last layer that turns logits into something else, where layers can be listed.

    Raises:
        ValueError: If it is a softmax, or bounds every class by itself as a sigmoid does.
    """
    last = _deciding_layer(model)
    if is_softmax(last):
        raise ValueError(f"The model {model.name!r} {SOFTMAX}")
    for name in BOUNDING:
        if _is(name, last):
            hint = CUT_SIGMOID if name == "sigmoid" else ""
            raise ValueError(f"The model {model.name!r} ends in a {name}, {SQUASHED}{hint}")


def _deciding_layer(model: Model) -> Any:
    """Returns the layer that makes the numbers of a model's output; None if it cannot be seen.

    What follows it only casts them, as networks in 16 bits end, or gives them another shape.
    """
    outputs = compat.symbolic_outputs(model)
    if outputs is None:
        last = compat.last_layer(model)
        return _deciding_layer(last) if isinstance(last, compat.keras.Model) else last
    layer, inputs = compat.produced_by(logits_in(outputs))
    while len(inputs) == 1 and only_passes(layer):
        layer, inputs = compat.produced_by(inputs[0])
    return _deciding_layer(layer) if isinstance(layer, compat.keras.Model) else layer


def only_passes(layer: Layer) -> bool:
    """Tells whether a layer, or an operation that Keras keeps as one, returns what it gets."""
    kind = _kind(layer)
    return kind in PASSING or (kind == "activation" and _is("linear", layer))


def is_softmax(layer: Layer) -> bool:
    """Tells whether a layer, or an operation that Keras keeps as one, ends in a softmax."""
    return _is("softmax", layer)


def _is(name: str, layer: Layer) -> bool:
    """Tells whether a layer, or an operation that Keras keeps as one, ends in this function."""
    return _kind(layer) == name.replace("_", "") or activation_name(layer) == name


def activation_name(layer: Any) -> str:
    """Returns what Keras calls a layer's activation: ``"linear"`` of a layer that has none.

    TensorFlow's functions may be called by a version of theirs: ``tf.nn.softmax`` is "softmax_v2".
    A layer as an activation is called by its class, and so is what has no name.
    """
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    while isinstance(activation, functools.partial):
        activation = activation.func
    name = getattr(activation, "__name__", type(activation).__name__.lower())
    return re.sub(r"_v\d+$", "", name)


def _kind(layer: Layer) -> str:
    """Returns what a layer does, in lower case and one word: "dense", "softmax", "expanddims"."""
    kind = type(layer).__name__
    if kind == "TFOpLambda":  # Keras 2 makes it of a function, and names it: "tf.nn.softmax_1"
        kind = re.sub(r"_\d+$", "", layer.name.split(".")[-1])
    return kind.lower().replace("_", "")


def _black_and_white(shape: tuple[int, ...]) -> Images:
    """Returns three images: blurring, pooling or a normalisation by image leaves some contrast."""
    axis = min(1, len(shape) - 1)  # columns, or what there is of a vector
    along = [-1 if number == axis else 1 for number in range(len(shape))]
    second = tf.cast(tf.range(shape[axis]) >= shape[axis] // 2, tf.float32)
    half = tf.broadcast_to(tf.reshape(second, along), shape)
    return tf.stack([tf.zeros(shape), tf.ones(shape), half])


@contextlib.contextmanager
def _noting_inputs(layers: list[Layer], received: list[tuple[Layer, Tensor]]) -> Iterator[None]:
    """Notes, in order, the layers that are called and the tensors that they are called with."""

    def noting(layer: Layer) -> Any:
        call = layer.call

        def noted(*args: Any, **kwargs: Any) -> Any:
            values: Any = args[0] if args else None
            if tf.executing_eagerly() and tf.is_tensor(values) and values.dtype.is_floating:
                received.append((layer, values))
            return call(*args, **kwargs)

        return noted

    # Past Keras's own __setattr__, which would look for something to track.
    own = {id(layer): layer for layer in layers if "call" not in vars(layer)}
    try:
        for layer in own.values():
            vars(layer)["call"] = noting(layer)
        yield
    finally:
        for layer in own.values():
            vars(layer).pop("call", None)


def _spread(values: Tensor) -> float:
    """Returns how far apart the values of a channel are, in the channel where that is most."""
    if not values.shape.rank or 0 in values.shape:
        return 0.0
    axes = list(range(values.shape.rank - 1))
    return float(tf.reduce_max(tf.reduce_max(values, axes) - tf.reduce_min(values, axes)))


def _reads_values(layer: Layer) -> bool:
    """Tells whether a layer does more than scale: it has a kernel, or normalises by the batch."""
    if compat.is_batch_norm(layer):
        return True
    inner = {id(w) for part in compat.layers_of(layer) for w in part.weights}
    shapes = [w.shape for w in layer.weights if id(w) not in inner]
    return any(sum(size > 1 for size in shape) >= 2 for shape in shapes)


def _scaled_twice(model: Model, layer: Layer, spread: float) -> str:
    return (
        f"{model.name!r} seems to scale images of 0 to 255 itself, as several of "
        f"keras.applications do: for a black and a white image the values that its layer "
        f"{layer.name!r} receives differ by {spread:.4f} only. Put keras.layers.Rescaling(255.0) "
        f"in front of the model, as model = rlfat_tf.adapt(model) does, or take its scaling out. "
        f"See {SCALING_PAGE}."
    )
