"""The running means of an epoch: the loss, its named terms, and adversarial accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.base import predicted_class
from rlfat_tf.core import losses
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Labels, Tensor
from rlfat_tf.methods.objective import Objective, weighted


class EpochMeans:
    """Hides the running means from Keras, which would save them among the model's weights."""

    def __init__(self) -> None:
        self.trackers: dict[str, Any] = {}

    def track(self, names: Sequence[str]) -> None:
        """Drops the running means of other names, and makes those that there are not yet."""
        new = {name: keras.metrics.Mean(name=name) for name in names if name not in self.trackers}
        self.trackers = {name: {**new, **self.trackers}[name] for name in names}

    def update(self, result: Objective, loss: Tensor, labels: Labels, weights: Any) -> None:
        """Adds a batch to the running means of the epoch."""
        self.trackers["loss"].update_state(loss)
        for name, values in result.terms.items():
            self.trackers[name].update_state(weighted(values, weights))
        if result.adversarial_logits is not None:
            predicted = predicted_class(result.adversarial_logits)
            self.trackers["adv_accuracy"].update_state(predicted == losses.class_ids(labels))

    def decide_modes(self, callbacks: Any) -> None:
        """Says of running means what is better, where callbacks leave it open (``mode="auto"``).

        Keras 3 asks its compiled metrics only, and raises after the first epoch.
        """
        for each in tf.nest.flatten(getattr(callbacks, "callbacks", callbacks)):
            name = str(getattr(each, "monitor", "")).removeprefix("val_")
            if name in self.trackers and getattr(each, "mode", None) == "auto":
                each.mode = "max" if name == "adv_accuracy" else "min"
