"""What a classifier must be that helps to train another, as HAT's does."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core.model_checks import check_model, count_classes, image_shape
from rlfat_tf.core.types import Model
from rlfat_tf.methods.wrapped_classifier import WrappedClassifier


def checked_helper(method: Any, name: str, helper: Model) -> Model:
    """Returns a classifier that helps a method; of another method the one that it wraps.

    Args:
        method: The method, whose ``.model`` it is to help.
        name: Of the argument, for the message.
        helper: A built Keras model from images in [0, 1] to logits or probabilities.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If it has other classes or takes other images than the classifier, or shares
            weights with it.
    """
    helper = helper.model if isinstance(helper, WrappedClassifier) else helper
    check_model(helper)
    model, ours, theirs = method.model, method.num_classes, count_classes(helper)
    if ours not in (None, theirs):
        raise ValueError(
            f"Expected {name} to tell {ours} classes, as the classifier {model.name!r}; "
            f"{helper.name!r} tells {theirs}."
        )
    images, others = image_shape(model), image_shape(helper)
    if not tf.TensorShape(images).is_compatible_with(others):
        raise ValueError(
            f"Expected {name} to take images of shape {images}, as the classifier {model.name!r}; "
            f"{helper.name!r} takes {others}."
        )
    if {id(weight) for weight in helper.weights} & {id(weight) for weight in model.weights}:
        raise ValueError(
            f"Expected {name} to be a classifier of its own; received one that shares weights with "
            "the classifier that is to be trained."
        )
    return helper
