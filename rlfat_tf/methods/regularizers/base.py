"""What every regulariser is: a named per-example term that goes with any method."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import choice, number, radius
from rlfat_tf.attacks.declared import Declared
from rlfat_tf.core import norms, random
from rlfat_tf.core.types import Images, Model, Tensor
from rlfat_tf.methods.objective import Batch


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    raise AttributeError(
        f"{name} of a regulariser cannot be set, since compiled steps have read it. Set another on "
        f"the method: method.regularizer = {type(self).__name__}({name}=...)."
    )


class Regularizer(Declared):
    """Base of the terms that compose with every method.

    A subclass names its ``term``, declares its arguments as annotated fields and implements
    :meth:`__call__`. From the command line the arguments are flags that begin with its name there,
    but for the ball, which is that of the run.
    """

    term = "regularizer_loss"

    weight: float = number(1.0, "Weight of the regulariser in the objective.", at_least=0)
    norm: str = choice("linf", norms.NORMS, "Of the ball from which it draws points, or 'l2'.")
    epsilon: float = radius()

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        cls.__setattr__ = _refuse_to_set  # type: ignore[method-assign]

    def __call__(self, model: Model, batch: Batch, *, training: bool) -> Tensor:
        """Returns the term, per example [batch].

        Args:
            model: The classifier.
            batch: The images and labels of a step.
            training: Whether the classifier uses batch statistics.
        """
        raise TypeError(f"{type(self).__name__} does not implement __call__().")

    def check(self, model: Model) -> None:
        """Refuses a classifier on which the term cannot be computed, before the first step."""

    def noise(self, batch: Batch, seed: random.SeedLike) -> Images:
        """Draws a perturbation of every image, uniform in the ball as this step has it."""
        draw = norms.get(self.norm).random_start(
            batch.images, batch.scaled(self.epsilon), "uniform", seed
        )
        return tf.cast(draw, batch.images.dtype)
