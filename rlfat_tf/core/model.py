"""A Keras model whose compiled steps follow its attributes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core import compat

# Keras's callbacks and loops write these into a model while it trains, is evaluated or predicts.
WRITTEN_BY_KERAS = ("history", "stop_training", "stop_evaluating", "stop_predicting")


class Model(compat.Model):
    """``keras.Model`` in which setting an attribute has an effect, also after the first step.

    The functions that ``fit``, ``evaluate`` and ``predict`` call are traced once, and what they
    have read of the model is a constant in them. So they are made anew when a public attribute is
    set that is not one of Keras's own: the next batch sees it. A schedule that changes in every
    step should be a variable instead, which costs no new trace.

    Attributes of Keras's own behave as in any Keras model: ``trainable``, for instance, is read by
    ``compile``. Those with a leading underscore are what a class notes for itself.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._attributes_of_keras = frozenset((*vars(self), *dir(compat.Model), *WRITTEN_BY_KERAS))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        keras_has = getattr(self, "_attributes_of_keras", None)
        if keras_has is None or name.startswith("_") or name in keras_has:
            return
        if tf.executing_eagerly():  # else a step notes something while it is traced
            self._make_steps_anew()

    def _make_steps_anew(self) -> None:
        for step in ("train", "test", "predict"):
            # Not set to None: a callback may change an attribute while fit calls the function.
            if getattr(self, f"{step}_function", None) is not None:
                getattr(self, f"make_{step}_function")(force=True)
