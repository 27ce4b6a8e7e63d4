"""A Keras model that looks at what it is given before it traces, and complains in one sentence."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core.checks import in_words
from rlfat_tf.core.model import Model
from rlfat_tf.core.model_checks import symbolic_logits
from rlfat_tf.core.structure import check_weights_structure
from rlfat_tf.methods import first_batch
from rlfat_tf.methods.checks import check_on_replicas, check_trainable


class CheckedModel(Model):
    """``keras.Model`` around a classifier ``.model``; its steps are a subclass's."""

    model: Any
    takes_soft_labels = True  # whether label rows may share an example among several classes
    _found_classes: int | None = None  # by running the classifier once

    @property
    def num_classes(self) -> int | None:
        """The number of logits; None of a subclassed classifier that has not been run yet."""
        logits = symbolic_logits(self.model)
        return self._found_classes if logits is None else int(logits.shape[-1])

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as ``keras.Model.fit`` does.

        Raises:
            ValueError: If the examples are no batches of float images in [0, 1] and labels, the
                classifier returns no logits or is frozen, or the loss is not finite.
        """
        self._look_at(x, y, kwargs.get("sample_weight"), read=self.train_function is None)
        validation = kwargs.get("validation_data")
        if validation is not None:
            several = validation if isinstance(validation, (tuple, list)) else (validation,)
            self._look_at(*several[:3], read=self.test_function is None)
        self._check_training()
        with in_words():
            return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates as ``keras.Model.evaluate`` does; raises as :meth:`fit`."""
        self._look_at(x, y, kwargs.get("sample_weight"), read=self.test_function is None)
        with in_words():
            return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns logits as ``keras.Model.predict`` does; warns of images not in [0, 1]."""
        first_batch.look_before_predicting(self.model, x)
        return super().predict(x, *args, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains on one batch as ``keras.Model.train_on_batch`` does; raises as :meth:`fit`."""
        self._look_at(x, y, kwargs.get("sample_weight"))
        self._check_training()
        with in_words():
            return super().train_on_batch(x, y, *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates one batch as ``keras.Model.test_on_batch`` does; raises as :meth:`fit`."""
        self._look_at(x, y, kwargs.get("sample_weight"))
        with in_words():
            return super().test_on_batch(x, y, *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the logits of one batch; warns of images not in [0, 1]."""
        first_batch.look_before_predicting(self.model, x)
        return super().predict_on_batch(x)

    def _check_training(self) -> None:
        """Refuses a classifier or an optimizer by which nothing can be trained."""
        check_trainable(self.model)
        check_on_replicas(self, getattr(self, "optimizer", None))  # not checked in a loaded model

    def check_specification(self, images: tf.TensorSpec) -> None:
        """Refuses images that a method cannot use; a subclass's."""

    def _look_at(self, x: Any, y: Any = None, weights: Any = None, *, read: bool = True) -> None:
        """Checks the first examples, and once the classifier, by running it on their shape."""
        check_weights_structure(weights)
        shape = first_batch.check_examples(
            self.model, self.num_classes, x, y, read=read, soft=self.takes_soft_labels
        )
        if shape is not None:
            self.check_specification(first_batch.specification(self.model, x, shape))
        if shape is not None and self._found_classes is None:
            with self.distribute_strategy.scope():
                self._found_classes = first_batch.check_by_trial(self.model, shape)
