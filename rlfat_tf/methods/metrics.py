"""The compiled metric ``"accuracy"``, which takes integer labels and label rows alike."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.base import predicted_class
from rlfat_tf.core import losses
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Labels, Logits, Tensor

NAMES = ("accuracy", "acc")


@keras.saving.register_keras_serializable("rlfat_tf")
class ClassAccuracy(keras.metrics.Mean):
    """How many examples have their greatest logit at their class.

    The class of a label row is its greatest entry; logits that are NaN have none. Keras chooses
    between its accuracies for integers and for rows by the first batch that it sees: it would
    measure a validation on integers as if they were rows, after the first training batch of mixed
    images.
    """

    _direction = "up"  # what Keras 3 asks when a callback monitors it with mode="auto"

    def update_state(self, y_true: Labels, y_pred: Logits, sample_weight: Any = None) -> Tensor:
        """Adds a batch: integers [batch] or rows [batch, classes], and logits [batch, classes]."""
        hit = predicted_class(y_pred) == losses.class_ids(y_true)
        return super().update_state(tf.cast(hit, tf.float32), sample_weight)


def of_any_labels(metrics: Any) -> Any:
    """Puts :class:`ClassAccuracy` in the place of the name "accuracy" in what is compiled."""

    def one(metric: Any) -> Any:
        named = isinstance(metric, str) and metric in NAMES
        return ClassAccuracy(name=metric) if named else metric

    return tf.nest.map_structure(one, metrics)
