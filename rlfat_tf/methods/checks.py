"""What a classifier, a compile call and a batch must be, and the messages when they are not.

The checks of values are operations of the compiled step: they stop the first step that sees a bad
batch, before it changes a weight. XLA drops them.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from rlfat_tf.core import compat, losses
from rlfat_tf.core.checks import guarded

BATCH_NORM_PAGE = "docs/batch_normalization.md"
RANDOM_LAYERS_PAGE = "docs/methods.md"
NON_FINITE = "The loss is not finite:"
SOFTMAX = (
    "ends in a softmax, but logits are needed: attacks on probabilities find no gradient and look "
    "harmless. Drop the softmax (Dense without an activation); for probabilities apply "
    "tf.nn.softmax to the output of predict, or use export(), whose SavedModel returns both."
)
ONE_LOGIT = (
    "has one output, but a logit for each class is needed. For two classes end in Dense(2), "
    "without a sigmoid, and give labels 0 and 1."
)


def check_classifier(model: Any, attack_bn: str) -> None:
    """Refuses models that cannot be trained here, and warns of those that train badly.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If it has several outputs or one logit, ends in a softmax or computes in
            float16.
    """
    if not isinstance(model, compat.keras.Model):
        raise TypeError(
            f"Expected a Keras model that maps images to logits; received {type(model).__name__}. "
            "A model of another Keras (tf_keras and keras are two) does not count as one."
        )
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) > 1:
        raise ValueError(
            f"Expected a classifier with one output, the logits; {model.name!r} has "
            f"{len(outputs)}. An attack needs one loss: pass a model of the output to defend, "
            "keras.Model(model.inputs, model.outputs[0])."
        )
    if outputs and len(outputs[0].shape) != 2:
        raise ValueError(
            f"Expected logits of shape [batch, classes]; the output of {model.name!r} has shape "
            f"{tuple(outputs[0].shape)}."
        )
    if outputs and outputs[0].shape[-1] == 1:
        raise ValueError(f"The model {model.name!r} {ONE_LOGIT}")
    if ends_in_softmax(model):
        raise ValueError(f"The model {model.name!r} {SOFTMAX}")
    if "float16" in compat.compute_dtypes(model):
        raise ValueError(
            f"The model {model.name!r} computes in float16, where the gradients of an attack "
            "underflow to zero. Build it under the policy 'mixed_bfloat16' or 'float32'."
        )
    norms = compat.batch_norm_layers(model)
    if attack_bn == "eval" and any(layer.momentum > 0.9 for layer in norms):
        warnings.warn(
            f"{model.name!r} has batch normalisation with momentum above 0.9: its moving "
            "statistics, which the attack uses, lag behind the weights and weaken the attack. Use "
            f"BatchNormalization(momentum=0.9) or attack_bn='batch'. See {BATCH_NORM_PAGE}.",
            stacklevel=4,
        )
    if compat.synchronized_batch_norm() and not all(
        getattr(layer, "synchronized", False) for layer in norms
    ):
        warnings.warn(
            f"{model.name!r} has batch normalisation that is not synchronised, on several "
            "replicas: each uses the statistics of its own part of the batch, and what is saved "
            "may be those of one replica. Use BatchNormalization(synchronized=True). See "
            f"{BATCH_NORM_PAGE}.",
            stacklevel=4,
        )


def warn_of_random_layers(model: Any) -> None:
    """Warns of augmentation inside of the model: its passes see different images."""
    kinds = sorted({type(layer).__name__ for layer in compat.layers_of(model)})
    found = [kind for kind in kinds if kind.startswith("Rand")]
    if found:
        warnings.warn(
            f"{model.name!r} augments within itself ({', '.join(found)}): every forward pass of an "
            "objective draws anew, so that it compares different images, and the attack is not on "
            "any of them. Augment the data instead: --augment, "
            f"data.training_batches(augment=...) or a map over tf.data. See {RANDOM_LAYERS_PAGE}.",
            stacklevel=4,
        )


def ends_in_softmax(model: Any) -> bool:
    """Tells whether the last layer is a softmax, in a model whose layers can be listed."""
    last = compat.last_layer(model)
    if isinstance(last, compat.keras.Model):
        return ends_in_softmax(last)
    activation = getattr(last, "activation", None)
    # Keras 2 names the layer that it makes of a function after it: "tf.nn.softmax_1".
    function = getattr(last, "name", "").split(".")[-1] if "OpLambda" in type(last).__name__ else ""
    return (
        type(last).__name__ == "Softmax"
        or getattr(activation, "__name__", "") == "softmax"
        or function.startswith("softmax")
    )


def count_classes(model: Any) -> int:
    """Returns the number of logits of a classifier.

    Raises:
        ValueError: If it is not known yet.
    """
    outputs = getattr(model, "outputs", None)
    if outputs:
        return int(outputs[0].shape[-1])
    shape = compat.input_shape(model)
    if shape is None:
        raise ValueError(
            f"Expected a model whose number of classes is known, but {type(model).__name__} is not "
            "built. Call it on a batch of images first: model(images)."
        )
    return int(model(compat.keras.Input(shape[1:]), training=False).shape[-1])


def check_compile(model: Any, optimizer: Any, **others: Any) -> None:
    """Refuses what ``compile`` would take and the step does not heed.

    Raises:
        ValueError: If there is a loss or a weight of it (the method has its own), a metric with the
            name of what the method logs itself, or an optimizer that adapts a scale of the loss.
    """
    for name in ("loss", "loss_weights"):
        if others.get(name) is not None:
            raise ValueError(
                f"compile() received {name}={others[name]!r}, but {type(model).__name__} defines "
                f"its own objective. Leave the {name.replace('_', ' ')} out: "
                "compile(optimizer=..., metrics=['accuracy'])."
            )
    for metric in tf.nest.flatten([others.get("metrics"), others.get("weighted_metrics")]):
        name = getattr(metric, "name", getattr(metric, "__name__", metric))
        if name in model.trackers:
            raise ValueError(
                f"compile() received a metric called {name!r}, but {type(model).__name__} logs a "
                "value of its own under that name. Give the metric another name."
            )
    if compat.is_loss_scaling(optimizer):
        raise ValueError(
            "compile() received an optimizer that scales the loss. That is for float16, in which "
            "attacks underflow; bfloat16 and float32 need none. Pass the inner optimizer."
        )


def checked_images(images: Any) -> Any:
    """Returns the images as float32 and stops the step if they are not in [0, 1].

    Raises:
        ValueError: While tracing, if they are not floats.
    """
    if isinstance(images, (dict, list, tuple)) or not images.dtype.is_floating:
        received = type(images).__name__ if not hasattr(images, "dtype") else images.dtype.name
        raise ValueError(
            f"Expected one batch of float images in [0, 1]; received {received}. Convert 8-bit "
            "images: tf.cast(images, tf.float32) / 255."
        )
    images = tf.cast(images, tf.float32)
    message = "Expected images in [0, 1] (divide 8-bit images by 255); received values from"
    inside = tf.reduce_all((images >= 0) & (images <= 1))
    return guarded(images, inside, [message, tf.reduce_min(images), "to", tf.reduce_max(images)])


def checked_labels(labels: Any, model: Any) -> Any:
    """Returns the labels and stops the step if an integer label is not one of the classes.

    Args:
        labels: Integers [batch] or [batch, 1], or one-hot rows [batch, classes].
        model: The classifier; its output shape tells the number of classes.

    Raises:
        ValueError: While tracing, if there are no labels or they have a wrong shape.
    """
    if labels is None:
        raise ValueError("Expected batches of (images, labels); received images only.")
    if labels.shape.rank not in (1, 2):
        raise ValueError(
            "Expected labels of shape [batch] (integers) or [batch, classes] (one-hot); received "
            f"shape {labels.shape}."
        )
    outputs = getattr(model, "outputs", None)
    classes = outputs[0].shape[-1] if outputs else None
    if classes is None:
        return labels
    if losses.is_one_hot(labels):
        if labels.shape[-1] != classes:
            raise ValueError(
                f"Expected one-hot labels with {classes} columns, as many as the model has "
                f"logits; received {labels.shape[-1]}."
            )
        return labels
    ids = losses.class_ids(labels)
    inside = tf.reduce_all((ids >= 0) & (ids < classes))
    message = f"Expected labels in 0 ... {classes - 1}; received values from"
    return guarded(labels, inside, [message, tf.reduce_min(ids), "to", tf.reduce_max(ids)])


def checked_logits(logits: Any, model: Any) -> Any:
    """Returns the logits and stops the step if they are probabilities.

    That is for models whose last layer does not tell: subclassed ones, and functions in a Lambda.

    Raises:
        ValueError: While tracing, if there is one logit only.
    """
    if logits.shape[-1] == 1:
        raise ValueError(f"The model {model.name!r} {ONE_LOGIT}")
    if isinstance(compat.last_layer(model), compat.keras.layers.Dense):
        return logits
    # In bfloat16 probabilities add up to 1 only roughly; two rows of logits do not by chance.
    sums_to_one = tf.abs(tf.reduce_sum(logits, -1) - 1) < 1e-2
    several = tf.shape(logits)[0] > 1
    probabilities = tf.reduce_all(logits >= 0) & tf.reduce_all(sums_to_one) & several
    return guarded(logits, ~probabilities, [f"The model {model.name!r} {SOFTMAX}"])


@contextlib.contextmanager
def finite_or_stop(loss: Any, step: Any) -> Iterator[None]:
    """Stops the step if the loss is not finite, before anything made inside this context runs."""
    finite = tf.math.is_finite(loss)
    data = [NON_FINITE, loss, "at step", tf.convert_to_tensor(step)]
    guard = tf.debugging.Assert(finite, data)
    with tf.control_dependencies([] if guard is None else [guard]):
        yield
