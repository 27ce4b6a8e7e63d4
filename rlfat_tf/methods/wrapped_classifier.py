"""A Keras model that is another one: its logits, its weights, its SavedModel."""

from __future__ import annotations

from typing import Any

from rlfat_tf.core import compat, losses
from rlfat_tf.core.checks import logits_in
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Logits, Optimizer, Shape
from rlfat_tf.methods import checks
from rlfat_tf.methods.checked_model import CheckedModel
from rlfat_tf.methods.metrics import of_any_labels
from rlfat_tf.storage.saved_model import export_saved_model


class WrappedClassifier(CheckedModel):
    """What a method has of the classifier ``.model`` around which it is.

    Attributes:
        is_its_classifier: That ``.model`` computes the same, by which :func:`rlfat_tf.adapt` tells
            a method from whatever else has such an attribute.
    """

    is_its_classifier = True
    _is_being_loaded = False

    def build(self, input_shape: Shape = None) -> None:
        """Builds the classifier, if it is not built yet."""
        if not self.model.built:
            self.model.build(input_shape)
        self.built = True

    @property
    def trainable_variables(self) -> list[Any]:
        """What the compiled optimizer trains: the classifier's, and of no other part."""
        return list(self.model.trainable_variables)

    @property
    def trainable_weights(self) -> list[Any]:
        """See :attr:`trainable_variables`; Keras asks under both names."""
        return list(self.model.trainable_weights)

    def call(self, inputs: Images, training: bool | None = None) -> Logits:
        """Returns the classifier's logits [batch, classes] for images [batch, ...] in [0, 1]."""
        return logits_in(self.model(inputs, training=training))

    def logits(self, images: Images, *, training: bool) -> Logits:
        """Returns the classifier's logits [batch, classes], at least float32."""
        return losses.as_float(logits_in(self.model(images, training=training)))

    def compile(
        self, optimizer: Optimizer = "rmsprop", loss: Any = None, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Configures training as ``keras.Model.compile`` does; ``loss`` must stay None.

        The metric ``"accuracy"`` takes integer labels and label rows alike, also of different data
        of one run. ``jit_compile`` is False unless given: Keras 3 would turn XLA on where it finds
        a GPU, and XLA neither checks values nor draws the same numbers.

        Raises:
            ValueError: If a loss is given or a weight of it, a metric with the name of what the
                method logs itself, or an optimizer that scales the loss for float16.
        """
        checks.check_compile(self, optimizer, loss=loss, metrics=metrics, **kwargs)
        if not self._is_being_loaded:
            checks.check_on_replicas(self, optimizer)
        kwargs.setdefault("jit_compile", False)
        kwargs["metrics"] = metrics
        with self.distribute_strategy.scope():
            for kind in ("metrics", "weighted_metrics"):
                kwargs[kind] = of_any_labels(kwargs.get(kind))
        super().compile(optimizer=optimizer, loss=None, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as it was compiled when it was saved.

        An optimizer that cannot work under the strategy is refused when training begins, and not
        here: a model that is loaded need not be trained.
        """
        self._is_being_loaded = True
        try:
            self.compile(**keras.saving.deserialize_keras_object(config))
        finally:
            self._is_being_loaded = False
        compat.build_optimizer(self.optimizer, self.trainable_variables)

    def export(self, filepath: Any, **kwargs: Any) -> None:
        """Writes a SavedModel for serving; see :func:`rlfat_tf.export_saved_model`."""
        export_saved_model(self.model, filepath, **kwargs)
