"""Which weights the L2 penalty, or an optimizer's decoupled decay, leaves out."""

from __future__ import annotations

from typing import Any

from rlfat_tf.core import compat
from rlfat_tf.core.types import Model

DECAY_EXCLUDE = ("none", "batch_norm", "vectors")


def excluded_from_decay(model: Model, exclude: str) -> list[Any]:
    """Returns the trainable variables of a classifier that are not decayed.

    Args:
        model: The classifier.
        exclude: ``"none"``: all are decayed, as in the code of most papers. ``"batch_norm"``: not
            the scales and offsets of batch normalisation, as in that of Rebuffi et al. (2021).
            ``"vectors"``: no scale, offset or bias.
    """
    if exclude == "none":
        return []
    if exclude == "vectors":
        return [v for v in model.trainable_variables if len(v.shape) <= 1]
    return [v for layer in compat.batch_norm_layers(model) for v in layer.trainable_variables]
