"""One batch of an evaluation as one graph: attack, look at the classifier again, measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks.base import Attack, is_correct
from rlfat_tf.core import norms, random
from rlfat_tf.core.types import Images, Labels, Tensor
from rlfat_tf.evaluation.classifier import Classifier

TOLERANCE = 1e-4


class AttackStep:
    """An attack on a classifier, compiled for batches of any size when it is first needed.

    Args:
        name: Of the attack, for messages.
        attack: The attack.
        classifier: The classifier that it attacks.
        image_shape: Of one image.
        seed: Of the attack.
    """

    def __init__(
        self, name: str, attack: Attack, classifier: Classifier, image_shape: Any, seed: random.Seed
    ):
        self._name, self._attack, self._classifier = name, attack, classifier
        self._shape, self._seed = image_shape, seed
        self._traced: Any = None

    def graph(self) -> Any:
        """Returns the traced function from (images, labels, numbers of the examples)."""
        if self._traced is None:
            signature = [
                tf.TensorSpec([None, *self._shape]),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ]
            # Traced by hand, because TensorFlow warns of many functions made by the same lines.
            compiled = tf.function(self._run, input_signature=signature)
            self._traced = compiled.get_concrete_function()
        return self._traced

    def _run(self, images: Images, labels: Labels, numbers: Tensor) -> tuple[Tensor, ...]:
        seed = self._seed._replace(examples=numbers)
        found = self._attack(self._classifier.logits_fn, images, labels, seed=seed)
        delta = tf.reshape(found - images, [tf.shape(images)[0], -1])
        sizes = [tf.reduce_max(tf.abs(delta), -1), norms.length(delta)]
        correct = is_correct(self._classifier.logits_fn(found), labels)
        return found, correct, tf.stack(sizes, -1)

    def __call__(self, images: Images, labels: Labels, numbers: Tensor) -> tuple[Any, Any, Any]:
        """Attacks a batch.

        Args:
            images: float32 [batch, H, W, C] in [0, 1], NumPy.
            labels: int32 [batch].
            numbers: Of the examples in their data set, on which their draws depend, [batch].

        Returns:
            Adversarial images, whether they are still correctly classified, bool [batch], and the
            lengths of the perturbations in the maximum and the Euclidean norm, [batch, 2].

        Raises:
            RuntimeError: If a point is outside of the threat model, so that it must not count.
        """
        arguments = map(tf.constant, (images, labels, np.asarray(numbers, np.int32)))
        found, correct, sizes = (tensor.numpy() for tensor in self.graph()(*arguments))
        size = sizes[:, 0 if getattr(self._attack, "norm", "linf") == "linf" else 1].max()
        inside = size <= getattr(self._attack, "epsilon", np.inf) + TOLERANCE
        if not (inside and found.min() >= 0 and found.max() <= 1):
            raise RuntimeError(
                f"The attack {self._name} left its ball or [0, 1]: perturbation {size:g}, pixels "
                f"from {found.min():g} to {found.max():g}. Its result would not count; this is an "
                f"error in {self._attack!r}."
            )
        return found, correct, sizes
