"""What goes into the objective of a method and what comes out."""

from __future__ import annotations

from typing import Callable, NamedTuple

import tensorflow as tf

from rlfat_tf.core import random
from rlfat_tf.core.structure import check_weights_structure
from rlfat_tf.core.types import Images, Labels, Logits, Tensor


class Batch(NamedTuple):
    """What an objective is computed from.

    Attributes:
        images: Clean images x, float32 [batch, ...] in [0, 1].
        adversarial: x', of the same shape; None if the method makes none.
        labels: Integers [batch], or one-hot rows [batch, classes].
        shuffle: Random Block Shuffle, RBS in the equations: a function from images to images. A
            step has one draw of it: whatever is shuffled in it is cut and put together alike.
        seed: For whatever else a method draws.
        scale: By which lengths of the ball are multiplied in this step, see :meth:`scaled`.
        attack_bn: How batch normalisation behaves in what an objective attacks itself, see
            :func:`rlfat_tf.methods.batch_norm.attack_forward`; evaluation never changes it.
    """

    images: Images
    adversarial: Images | None
    labels: Labels
    shuffle: Callable[[Images], Images]
    seed: random.SeedLike = 0
    scale: Tensor | None = None
    attack_bn: str = "eval"

    def scaled(self, length: float) -> float | Tensor:
        """Returns a length in the space of images as this step of training has it."""
        return length if self.scale is None else length * self.scale


class Objective(NamedTuple):
    """What a method computes of a batch; every loss is a vector [batch].

    Attributes:
        loss: The per-example objective whose mean over the global batch is minimised.
        terms: The named parts of it, unweighted, for the logs.
        clean_logits: f(x), if the method computes it.
        adversarial_logits: The logits of the adversarial images as the loss sees them.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    clean_logits: Logits | None = None
    adversarial_logits: Logits | None = None


def weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Multiplies per-example values with their sample weights, if there are any.

    Raises:
        ValueError: If there is not one weight for every example.
    """
    if weights is None:
        return values
    check_weights_structure(weights)
    return values * tf.cast(tf.reshape(weights, [-1]), values.dtype)


def global_batch_size(per_example: Tensor) -> Tensor:
    """Returns the number of examples of all replicas together, in the dtype of the losses."""
    size = tf.cast(tf.shape(per_example)[0], per_example.dtype)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return size
    if per_example.shape[0] is not None:
        return size * replicas
    # The last batch of an uneven data set: replicas differ in size.
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, size)
