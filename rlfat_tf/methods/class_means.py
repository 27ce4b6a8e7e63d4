"""The mean prediction of the examples of every class, over a number of steps."""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.core.types import Tensor


class ClassMeans:
    """A [classes, classes] matrix that stays the same for a number of steps and is then renewed.

    Row y is the mean prediction of the examples of class y in the steps before; in the first ones,
    and of a class that did not come up in them, what it was before, at the beginning 1 / classes.
    It hides its variables from Keras, which would save them among the classifier's weights: what
    goes on needs them in its state.
    """

    def __init__(self, classes: int):
        uniform = tf.fill([classes, classes], 1.0 / classes)
        self.means = tf.Variable(uniform, trainable=False, name="class_means")
        self.sums = tf.Variable(tf.zeros_like(uniform), trainable=False, name="class_sums")

    @property
    def variables(self) -> list[tf.Variable]:
        """What a run needs to go on."""
        return [self.means, self.sums]

    def of(self, rows: Tensor) -> Tensor:
        """Returns the mean predictions [batch, classes] of label rows [batch, classes]."""
        return tf.matmul(rows, tf.cast(self.means, rows.dtype))

    def add(self, rows: Tensor, predictions: Tensor, *, last: Tensor) -> None:
        """Adds a batch, of all replicas together.

        Args:
            rows: Label rows [batch, classes].
            predictions: Probabilities [batch, classes].
            last: bool []; whether the matrix is renewed after this batch.
        """
        added = tf.cast(tf.matmul(rows, predictions, transpose_a=True), self.sums.dtype)
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:  # each assigns to its own copy: all must be equal
            added = context.all_reduce(tf.distribute.ReduceOp.SUM, added)
        sums = self.sums + added
        totals = tf.reduce_sum(sums, axis=-1, keepdims=True)
        renewed = tf.where(totals > 0, tf.math.divide_no_nan(sums, totals), self.means)
        self.means.assign(tf.where(last, renewed, self.means))
        self.sums.assign(tf.where(last, tf.zeros_like(sums), sums))
