"""Adversarial weight perturbation, AWP (Wu, Xia & Wang, NeurIPS 2020).

Every kernel w is moved up the loss of the step before its gradient is taken, and back before it is
updated:

    u = gamma ||w|| g / ||g||,   g = gradient of the loss by w,   w <- w - rate * gradient at w + u

with Frobenius norms of each kernel. Biases, scales and offsets stay. The step is that of the
authors' code, whose learning rate for the ascent cancels; they compute it on a copy of the network,
here it is computed on the network itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core import compat, norms
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Model, Tensor
from rlfat_tf.methods.finite import finite_gradients, finite_or_stop


@keras.saving.register_keras_serializable("rlfat_tf")
@dataclasses.dataclass(frozen=True)
class AWP:
    """Adversarial weight perturbation: ``PGDAT(model, weight_perturbation=rlfat_tf.AWP(0.01))``.

    It composes with every method; a step makes each pass to the weights twice, in the warm-up too.
    What is logged is the objective at the perturbed weights.

    Args:
        gamma: Length of a perturbation, relative to the kernel's: 0.01 for PGDAT and 0.005 for
            TRADES in the paper.
        warmup: First steps in which nothing is perturbed. The authors' code begins TRADES in its
            tenth epoch, PGDAT at once.

    Raises:
        ValueError: If an argument is out of its range.
    """

    gamma: float = 0.005
    warmup: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"Expected gamma of AWP to be at least 0; received {self.gamma}.")
        if self.warmup < 0 or self.warmup != int(self.warmup):
            raise ValueError(
                f"Expected warmup to be a number of steps, 0 or more; received {self.warmup}."
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AWP:
        """Makes a perturbation of :meth:`get_config`'s result."""
        return cls(**config)

    @contextlib.contextmanager
    def perturbed(
        self, model: Model, loss_of: Callable[[], Tensor], step: Tensor
    ) -> Iterator[None]:
        """Has the kernels at w + u inside, and at w to the last bit outside.

        Args:
            model: The classifier.
            loss_of: Computes the loss, a number: this replica's part of the global batch's.
            step: Steps before this one.
        """
        kernels = [v for v in model.trainable_variables if len(v.shape) > 1]
        trained = {id(variable) for variable in model.trainable_variables}
        # Moving statistics, and the draws of Dropout: the second pass is to see what the first saw.
        others = [v for v in compat.variables_of(model) if id(v) not in trained]
        before = [tf.identity(variable) for variable in others]
        with tf.GradientTape() as tape:
            loss = loss_of()
        with finite_or_stop(loss, step):
            gradients = finite_gradients(tape.gradient(loss, kernels), step)
        pairs = [(v, tf.convert_to_tensor(g)) for v, g in zip(kernels, gradients) if g is not None]
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [g for _, g in pairs])
            pairs = [(variable, gradient) for (variable, _), gradient in zip(pairs, summed)]
        for variable, value in zip(others, before):
            variable.assign(value)
        length = tf.where(step < self.warmup, 0.0, self.gamma)
        old = [tf.identity(variable) for variable, _ in pairs]
        for (variable, gradient), value in zip(pairs, old):
            variable.assign(value + self.direction(value, gradient) * tf.cast(length, value.dtype))
        try:
            yield
        finally:
            for (variable, _), value in zip(pairs, old):
                variable.assign(value)

    def direction(self, kernel: Tensor, gradient: Tensor) -> Tensor:
        """Returns ||w|| g / ||g||; 0 where the gradient is 0."""
        axes = list(range(len(kernel.shape)))
        return norms.length(kernel, axes, keepdims=True) * norms.normalise(gradient, axes)
