"""One batch of an evaluation as one graph: attack, look at the classifier again, measure."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks.base import Attack, norm_of, predicted_class
from rlfat_tf.attacks.pixels import SAME, is_on_grid, off_grid
from rlfat_tf.core import norms, random
from rlfat_tf.core.types import Images, Labels, Tensor
from rlfat_tf.evaluation.classifier import Classifier
from rlfat_tf.evaluation.watching import Watch

TOLERANCE = 1e-4


class Judged(NamedTuple):
    """What an attack made of a batch, as NumPy arrays.

    Attributes:
        images: The adversarial images, float32 [batch, H, W, C].
        prediction: The classes predicted on them, int32 [batch]; -1 where a logit is NaN.
        size: Lengths of the perturbations in the norm of the attack, float32 [batch].
        l2: Their Euclidean lengths, float32 [batch].
    """

    images: Any
    prediction: Any
    size: Any
    l2: Any


class AttackStep:
    """An attack on a classifier, compiled for batches of any size when it is first needed.

    Args:
        name: Of the attack, for messages.
        attack: The attack.
        classifier: The classifier that it attacks.
        image_shape: Of one image.
        seed: Of the attack.

    Raises:
        ValueError: If the attack is of a norm that is not known, so that nobody could tell whether
            its points lie in its ball.
    """

    def __init__(
        self, name: str, attack: Attack, classifier: Classifier, image_shape: Any, seed: random.Seed
    ):
        self._name, self._attack, self._watch = name, attack, Watch()
        self._logits_fn = self._watch.watched(classifier.logits_fn)
        self._shape, self._seed = image_shape, seed
        self._size = norms.size(norm_of(attack))
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
        found = self._attack(self._logits_fn, images, labels, seed=seed)
        prediction = predicted_class(self._logits_fn(found))
        delta = found - images
        return found, prediction, self._size(delta), norms.length(delta)

    def __call__(
        self,
        images: Images,
        labels: Labels,
        numbers: Tensor,
        tell: Callable[[int], None] = lambda passes: None,
    ) -> Judged:
        """Attacks a batch.

        Args:
            images: float32 [batch, H, W, C] in [0, 1], NumPy.
            labels: int32 [batch].
            numbers: Of the examples in their data set, on which their draws depend, [batch].
            tell: Called every second with the number of passes that there were.

        Returns:
            The adversarial images and what the classifier says of them.

        Raises:
            RuntimeError: If a point is outside of the threat model, so that it must not count.
        """
        graph = self.graph()
        arguments = [tf.constant(a) for a in (images, labels, np.asarray(numbers, np.int32))]

        def work() -> Judged:
            return Judged(*(tensor.numpy() for tensor in graph(*arguments)))

        judged = self._watch.call(work, tell)
        size, low, high = judged.size.max(), judged.images.min(), judged.images.max()
        inside = size <= getattr(self._attack, "epsilon", np.inf) + TOLERANCE
        if is_on_grid(self._attack) and not off_grid(judged.images) <= SAME:
            raise RuntimeError(
                f"The attack {self._name} left the grid of 8-bit pixels. Its result would not "
                f"count; this is an error in {self._attack!r}."
            )
        if not (inside and low >= 0 and high <= 1):
            raise RuntimeError(
                f"The attack {self._name} left its ball or [0, 1]: perturbation {size:g}, pixels "
                f"from {low:g} to {high:g}. Its result would not count; this is an "
                f"error in {self._attack!r}."
            )
        return judged
