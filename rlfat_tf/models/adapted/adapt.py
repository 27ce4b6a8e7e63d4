"""Makes a classifier of others a network of this library's kind: from images in [0, 1] to logits.

    network = keras.applications.MobileNetV2()          # from [-1, 1] to probabilities
    robust = rlfat_tf.PGDAT(rlfat_tf.adapt(network, classes=5), attack=...)

What the network wants of its pixels stands inside of it then, so that epsilon, clipping and
gradients are those of images in [0, 1]; a softmax is cut off, the weights stay the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.checks import ONE_LOGIT, are_probabilities, logits_in
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Array, Layer, Model, Tensor
from rlfat_tf.models import common
from rlfat_tf.models.adapted import copies
from rlfat_tf.models.adapted.layers import LogOfProbabilities, Pixels
from rlfat_tf.models.adapted.scaling import Scaling, find

LOGITS = ("auto", "before_sigmoid", "log_softmax")
TRAINABLE = ("all", "head", "last:<n>")
# How far the adapted model may be from the original one: probabilities, and other outputs relative
# to the largest; in 16-bit layers the rounding of another scaling shows.
TOLERANCE, TOLERANCE_OF_16_BITS = 1e-5, 5e-2
CUT_OFF = (
    "seems to return probabilities (no entry is negative, rows sum to 1), by a softmax that cannot "
    "be seen. Build it without one (classifier_activation=None in keras.applications), replace "
    "its head (classes=...), or accept their logarithm with logits='log_softmax', which has no "
    "gradient where the model is very sure."
)


def adapt(
    model: Model,
    *,
    input: str | Sequence[Any] = "auto",
    logits: str = "auto",
    classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    trainable: str | None = None,
    bn_momentum: float | None = None,
) -> Model:
    """Returns a copy of a classifier that maps images in [0, 1] to logits.

    The copy is tried out on two random images: its softmax (or whatever else the model returns)
    must be what the model itself returns under its own preprocessing. Batch normalisation of the
    copy is synchronised when it is made in the scope of a strategy with several replicas. What
    computes in float16 computes in float32 in the copy, since gradients of images underflow.

    Args:
        model: A functional or built Sequential model, for instance of ``keras.applications`` or
            keras-hub, with or without its classification layer. It is not changed.
        input: What it was trained on: ``"0-255"``, ``"unit"`` (images in [0, 1]), ``"tf"`` (to
            [-1, 1]), ``"torch"``, ``"caffe"`` (these three as in
            ``keras.applications.imagenet_utils.preprocess_input``), or (scale, offset) or (scale,
            offset, "bgr") of images in [0, 1]. ``"auto"``: by keras-hub's preprocessor, by what the
            model does to images first, or by the name of a network of ``keras.applications``, which
            is printed; it is never guessed.
        logits: ``"auto"``: what the last softmax receives. ``"before_sigmoid"``: what the last
            sigmoid receives, of a model that was trained with one for each class although every
            image has one class. ``"log_softmax"``: the logarithm of probabilities, for a softmax
            that cannot be seen.
        classes: Number of classes of a new classification layer in place of the model's own; None:
            the model's own.
        image_size: Pixels a side, or (height, width), of a model that takes any size.
        trainable: ``"head"``: the classification layer only; ``"last:<n>"``: it and the last n
            layers with weights before it; ``"all"``; None: as in the model. Frozen batch
            normalisation works as in inference, also in training.
        bn_momentum: Of batch normalisation, in place of its own; with short training 0.99 leaves
            the moving statistics those of the old task.

    Returns:
        A Keras model from images [batch, height, width, channels] in [0, 1] to logits [batch,
        classes]. It is saved, loaded and exported as any other.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If its layers cannot be seen, its input cannot be told, it returns probabilities
            by other means than a softmax at the end, or an argument is wrong.
    """
    _check_arguments(logits, classes, trainable, bn_momentum)
    if getattr(model, "is_its_classifier", False):  # a method, as a run saves it
        model = model.model
    shape = _image_shape(model, image_size)
    if logits == "log_softmax" and classes is not None:
        raise ValueError("Expected one of classes and logits='log_softmax'; received both.")
    scaling = find(model, input, shape)
    numbers = (scaling.scale, scaling.offset, scaling.std)
    channels = max(map(np.size, numbers))
    if shape[0] == channels != shape[2]:
        raise ValueError(
            f"{model.name!r} seems to take images [channels, height, width]: its input is {shape}, "
            f"and its scaling is of {channels} channels. Put keras.layers.Permute((3, 1, 2)) in "
            "front of it: keras.Sequential([keras.Input((height, width, channels)), "
            "keras.layers.Permute((3, 1, 2)), model])."
        )
    if any(np.shape(part) not in ((), shape[-1:]) for part in numbers):
        raise ValueError(
            f"{model.name!r} takes images of {shape[-1]} channel(s), which does not fit its input "
            f"of {channels}: scale {scaling.scale}, offset {scaling.offset}."
        )
    change = _of_batch_norm(bn_momentum)
    if logits == "log_softmax":
        parts = copies.Parts(copies.whole(model, change), [], "linear")
    else:
        parts = copies.split(model, change)
    images = keras.Input(shape, name="images", dtype=common.outer_dtype())
    features = parts.trunk(_scaled(images, scaling))
    outputs = features
    for layer in parts.head:
        outputs = layer(outputs)
    _check(model, keras.Model(images, outputs), parts.activation, scaling)
    head = list(parts.head)
    if classes is not None:
        with compat.channels_last():
            outputs = common.logits(_row(features), classes, scale=1 / 3)
        head = [compat.produced_by(outputs)[0]]
    elif logits == "log_softmax":
        outputs = LogOfProbabilities(dtype=common.outer_dtype(), name="log")(outputs)
    adapted = keras.Model(images, outputs, name=f"adapted_{model.name}")
    if logits == "before_sigmoid" and parts.activation != "sigmoid":
        raise ValueError(
            f"Expected a sigmoid at the end of {model.name!r} for logits='before_sigmoid'; its "
            f"last activation is {parts.activation}."
        )
    if classes is None and logits == "auto":
        features_only = not head and parts.activation == "linear" and copies.ends_in_features(model)
        _check_logits(adapted, parts.activation, features_only)
    if trainable is not None:
        freeze(adapted, head, trainable)
    return adapted


def freeze(model: Model, head: Sequence[Layer], trainable: str) -> None:
    """Freezes all layers but some.

    Args:
        model: The adapted model.
        head: Its classification layer and those after it; if empty, the last layer with weights.
        trainable: See :func:`adapt`.

    Raises:
        ValueError: If it is to train more layers than there are.
    """
    layers = copies.weighted_layers(model)
    ids = {id(layer) for layer in head}
    body = [layer for layer in layers if id(layer) not in ids] if head else layers[:-1]
    count = last_layers(trainable)
    count = len(body) if count is None else count
    if count > len(body):
        raise ValueError(
            f"Expected trainable='last:<n>' with n of at most {len(body)}, the layers with weights "
            f"of {model.name!r} before its classification layer; received {count}."
        )
    frozen = {id(layer) for layer in body[: len(body) - count]}
    for layer in layers:
        layer.trainable = id(layer) not in frozen


def last_layers(trainable: str) -> int | None:
    """Returns how many layers before the head are trained; None: all.

    Raises:
        ValueError: If it is none of :data:`TRAINABLE`.
    """
    found = re.fullmatch(r"last:([1-9][0-9]{0,5})", str(trainable))
    if not found and trainable not in ("all", "head"):
        raise unknown("trainable", trainable, TRAINABLE, hint="n is at least 1.")
    if found:
        return int(found.group(1))
    return 0 if trainable == "head" else None


def _check_arguments(
    logits: str, classes: int | None, trainable: str | None, bn_momentum: float | None
) -> None:
    if logits not in LOGITS:
        raise unknown("logits", logits, LOGITS)
    if classes is not None and not (isinstance(classes, (int, np.integer)) and classes > 1):
        raise ValueError(f"Expected classes to be an integer of at least 2; received {classes!r}.")
    if trainable is not None:
        last_layers(trainable)
    if bn_momentum is not None and not 0 <= bn_momentum < 1:
        raise ValueError(f"Expected bn_momentum in [0, 1); received {bn_momentum}.")


def _image_shape(model: Model, image_size: int | tuple[int, int] | None) -> tuple[int, ...]:
    """Returns height, width and channels of the images that the adapted model takes."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model; received {type(model).__name__}.")
    if isinstance(model, keras.Sequential) and not copies.is_functional(model):
        raise ValueError(
            f"The Sequential model {model.name!r} is not built yet. Call it on a batch of images "
            "first: model(images)."
        )
    if not copies.is_functional(model):
        raise ValueError(
            f"Expected a functional or Sequential model; {model.name!r} is none, so that its "
            "layers cannot be seen. Put rlfat_tf.models.Pixels(scale, offset) in front of it "
            "yourself, and let it end without a softmax."
        )
    if len(model.inputs) != 1:
        raise ValueError(
            f"Expected a model with one input, the images; {model.name!r} has {len(model.inputs)}. "
            "Fix the others inside of a model that takes images only."
        )
    shape = tuple(model.inputs[0].shape)[1:]
    if len(shape) != 3:
        raise ValueError(
            f"Expected a model of images [height, width, channels]; {model.name!r} takes {shape}."
        )
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is None and None in shape[:2]:
        raise ValueError(
            f"{model.name!r} takes images of any size. Say which: rlfat_tf.adapt(model, "
            "image_size=224)."
        )
    sides = shape[:2] if size is None else tuple(size)
    if len(sides) != 2:
        raise ValueError(
            f"Expected image_size to be pixels a side or (height, width); received {image_size!r}."
        )
    if any(s not in (None, side) for s, side in zip(shape, sides)):
        raise ValueError(
            f"{model.name!r} takes images of {shape[0]}x{shape[1]} pixels; received "
            f"image_size={image_size}. Build it for another size: input_shape=(height, width, 3)."
        )
    return (*sides, shape[-1] or 3)


def _of_batch_norm(momentum: float | None) -> copies.Change:
    """Returns the change of batch normalisation: its momentum, and shared statistics."""
    changes: dict[str, Any] = {} if momentum is None else {"momentum": momentum}
    if compat.synchronized_batch_norm():
        changes["synchronized"] = True

    def change(layer: Layer, config: dict[str, Any]) -> dict[str, Any]:
        return {**config, **changes} if compat.is_batch_norm(layer) else config

    return change


def _scaled(images: Tensor, scaling: Scaling) -> Tensor:
    if scaling == Scaling():
        return images
    layer = Pixels(*scaling[:4], dtype=common.outer_dtype(), name="pixels")
    return layer(images)


def _row(features: Tensor) -> Tensor:
    """Returns one row of features for each image: the mean over the places of a map."""
    if len(features.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(name="pool")(features)
    if len(features.shape) == 2:
        return features
    raise ValueError(
        "Expected a model that ends in maps or in one row of features for each image; its features "
        f"have the shape {tuple(features.shape)}. Build it with include_top=False, pooling='avg'."
    )


def _check_logits(adapted: Model, activation: str, features_only: bool) -> None:
    """Refuses outputs that are no logits."""
    shape = tuple(adapted.outputs[0].shape)
    if len(shape) != 2 or features_only:
        raise ValueError(
            f"{adapted.name!r} has no classification layer: it returns {shape[1:]} for an image. "
            "Give the number of classes: rlfat_tf.adapt(model, classes=...)."
        )
    if shape[-1] == 1:
        raise ValueError(f"{adapted.name!r} {ONE_LOGIT} Or replace it: adapt(model, classes=2).")
    if activation == "sigmoid":
        raise ValueError(
            f"{adapted.name!r} ends in a sigmoid for each class, of which several may be true; "
            "expected one class for an image. If that holds all the same, give "
            "logits='before_sigmoid'; else replace the head: rlfat_tf.adapt(model, classes=...)."
        )
    if are_probabilities(adapted(_noise(adapted), training=False)):
        raise ValueError(f"{adapted.name!r} {CUT_OFF}")


def _noise(model: Model) -> Array:
    shape = tuple(model.inputs[0].shape)[1:]
    bits = np.random.default_rng(0).integers(0, 257, (2, *shape))
    return bits.astype(np.float32) / 256  # scaled without rounding, in whatever order


def _check(model: Model, copy: Model, activation: str, scaling: Scaling) -> None:
    """Compares a copy with the model itself under its own preprocessing, on random images.

    Raises:
        ValueError: If they differ.
    """
    noise = _noise(copy)
    seen = tf.constant(scaling.reference(noise.copy()))
    expected, found = (
        np.asarray(tf.cast(logits_in(net(images, training=False)), tf.float32))
        for net, images in ((model, seen), (copy, tf.constant(noise)))
    )
    if activation == "softmax":
        found = np.asarray(tf.nn.softmax(found))
    elif activation == "sigmoid":
        found = np.asarray(tf.sigmoid(found))
    kinds = compat.compute_dtypes(model) - {"float32", "float64"}
    allowed = TOLERANCE_OF_16_BITS if kinds else TOLERANCE
    if activation == "linear":
        allowed *= 10 * max(1.0, float(np.abs(expected).max()))
    apart = float(np.abs(expected - found).max())
    best = np.take_along_axis(expected, found.argmax(-1)[..., None], -1)[..., 0]
    if not apart <= allowed or not np.all(expected.max(-1) - best <= allowed):
        raise ValueError(
            f"The copy of {model.name!r} is {apart:.2g} away from it on random images (expected at "
            f"most {allowed:.1g}), so that it does not compute the same. Does the model draw at "
            "random in inference?"
        )
