"""What is evaluated: anything that maps images to logits, behind one face.

A Keras model, a SavedModel (of this library, of Keras or of anyone), a function. Of a SavedModel
no Python class is needed; whether it gives gradients is tried out.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core import losses
from rlfat_tf.core.checks import check_logits, logits_in
from rlfat_tf.core.compat import keras
from rlfat_tf.core.float16 import without_underflow
from rlfat_tf.core.model_checks import check_ending, check_model, image_shape
from rlfat_tf.core.types import Images, Logits, LogitsFn, Model
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.models import zoo
from rlfat_tf.storage import checkpoint as checkpoints

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours, in messages of Keras


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A classifier that is evaluated.

    Attributes:
        logits_fn: From float32 images [batch, ...] in [0, 1] to logits [batch, classes].
        name: For reports.
        image_shape: Of one image, with None for any size; None if that is not known.
        keeper: What must stay alive for ``logits_fn`` to work.
    """

    logits_fn: LogitsFn
    name: str
    image_shape: Any = None
    keeper: Any = None

    def has_gradients(self, images: Images) -> bool:
        """Tells whether the logits can be differentiated by the images.

        Args:
            images: One or more images to try it on, float32 [batch, ...].
        """
        images = tf.convert_to_tensor(images)
        try:
            with tf.GradientTape() as tape:
                tape.watch(images)
                total = tf.reduce_sum(self.logits_fn(images))
            return tape.gradient(total, images) is not None
        except (LookupError, TypeError, ValueError, tf.errors.OpError):
            return False


def check_alike(what: str, other: Any, image: Images, classes: int) -> None:
    """Refuses a further classifier of an evaluation that is not one for the same images.

    Args:
        what: What it is for, in words: "a model to compare".
        other: A :class:`Classifier`, or what has its ``logits_fn`` and ``name``.
        image: An image of the evaluated classifier, float32 [1, ...].
        classes: How many that one tells apart.

    Raises:
        ValueError: If it takes other images or tells other classes apart.
    """
    shape = list(image.shape[1:])
    taken = tf.TensorShape(getattr(other, "image_shape", None))
    if not taken.is_compatible_with(shape):
        raise ValueError(
            f"Expected {what} that takes images of shape {shape}, as the evaluated classifier "
            f"does; {other.name} takes images of shape {taken}."
        )
    try:
        logits = losses.as_float(logits_in(other.logits_fn(tf.convert_to_tensor(image))))
    except (LookupError, TypeError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"Expected {what} that takes images of shape {shape}, as the evaluated classifier "
            f"does; {other.name} does not ({ESCAPES.sub('', str(error))[:200]})."
        ) from error
    if logits.shape[-1] != classes:
        raise ValueError(
            f"Expected {what} with the {classes} classes of the evaluated classifier; "
            f"{other.name} has {logits.shape[-1]}."
        )


def as_classifier(model: Model | Classifier | LogitsFn) -> Classifier:
    """Makes a :class:`Classifier` of a Keras model, a loaded SavedModel or a function.

    Args:
        model: A Keras model (batch statistics as in inference), the result of
            ``tf.saved_model.load``, or a function of TensorFlow operations, one of its signatures
            for instance; from float images in [0, 1] to logits. A Classifier is returned as it is.

    Raises:
        TypeError: If it is nothing of that.
        ValueError: If a Keras model has not one input and logits as its output (a softmax is cut
            off by :func:`rlfat_tf.adapt`), or a SavedModel no signature from one to the other. What
            does not say so is refused when it is called.
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, keras.Model):
        network = model.model if isinstance(model, AdversarialModel) else model
        check_model(network)
        check_ending(network)
        logits_fn = _logits_of(
            lambda images: model(images, training=False), f"The model {model.name!r}"
        )
        return Classifier(logits_fn, model.name, image_shape(network), model)
    if hasattr(model, "signatures"):
        logits_fn, shape = _signature(model)
        return Classifier(logits_fn, "SavedModel", shape, model)
    if callable(model):
        name = getattr(model, "__name__", "function")
        return Classifier(_logits_of(model, f"The function {name!r}"), name)
    loading = ""
    if isinstance(model, (str, os.PathLike)):
        loading = f" Load it: rlfat_tf.evaluation.load_classifier({os.fspath(model)!r})."
    raise TypeError(
        "Expected a Keras model, a loaded SavedModel or a function from images to logits; "
        f"received {type(model).__name__}.{loading}"
    )


def _logits_of(function: Callable[[Images], Any], name: str) -> LogitsFn:
    """Returns the function to the logits in what a classifier returns, which are checked.

    Few classifiers say whether something in them computes in float16, so gradients are kept from
    underflowing through all of them; where all is float32 that rounds nothing.
    """

    def logits_fn(images: Images) -> Logits:
        logits = losses.as_float(logits_in(function(images)))
        check_logits(logits, name)
        return logits

    return without_underflow(logits_fn)


def load_classifier(path: str | os.PathLike[str], checkpoint: str = "best") -> Classifier:
    """Loads what is to be evaluated from disk.

    Args:
        path: The folder of a run, a ``.keras`` file, the folder of a SavedModel, or
            ``pretrained:<name>`` of a network that comes with the library.
        checkpoint: Of a run: ``"best"`` or ``"last"``.

    Raises:
        FileNotFoundError: If there is nothing of the kind.
        ValueError: If a SavedModel has no fitting signature, or no network of this name comes with
            the library.
    """
    path = os.path.expanduser(path)
    if path.startswith(zoo.PREFIX):
        found = as_classifier(zoo.load_pretrained(path))
    elif (Path(path) / "saved_model.pb").is_file():
        found = as_classifier(tf.saved_model.load(path))
    else:
        found = as_classifier(checkpoints.load(path, checkpoint))
    return dataclasses.replace(found, name=path)


def _signature(loaded: Any) -> tuple[LogitsFn, Any]:
    """Returns the function from images to logits of a SavedModel, and the shape of an image."""
    serve = loaded.signatures.get("serving_default")
    if serve is None:
        raise ValueError(
            "Expected a SavedModel with the signature serving_default; it has "
            f"{sorted(loaded.signatures) or 'none'}."
        )
    inputs, outputs = serve.structured_input_signature[1], serve.structured_outputs
    output = "logits" if "logits" in outputs else next(iter(outputs))
    if len(inputs) != 1 or (len(outputs) > 1 and output != "logits"):
        raise ValueError(
            "Expected a signature from one tensor of images to one output, or to one that is "
            f"named logits; serving_default takes {sorted(inputs)} and returns {sorted(outputs)}."
        )
    ((name, spec),) = inputs.items()
    if not spec.dtype.is_floating:
        raise ValueError(
            f"Expected a signature that takes float images; serving_default takes {spec.dtype.name}"
            ", through which no attack can pass."
        )
    if spec.shape.rank is not None and spec.shape[0] is not None:
        raise ValueError(
            f"Expected a signature for any number of images; serving_default takes {spec.shape[0]} "
            "at once, neither more nor less. Export the model with a batch size of None."
        )

    def served(images: Images) -> Logits:
        logits = serve(**{name: tf.cast(images, spec.dtype)})[output]
        return tf.ensure_shape(logits, outputs[output].shape)

    shape = None if spec.shape.rank is None else spec.shape[1:]
    return _logits_of(served, "The SavedModel"), shape
