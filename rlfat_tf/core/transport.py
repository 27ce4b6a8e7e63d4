"""Entropic optimal transport between the examples of two batches, differentiable."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core import norms
from rlfat_tf.core.types import Tensor


def cosine_cost(a: Tensor, b: Tensor) -> Tensor:
    """Returns max(0, 1 - cos(a_i, b_j)) of two sets of vectors [n, d] and [m, d], as [n, m]."""
    a, b = norms.normalise(a), norms.normalise(b)
    return tf.nn.relu(1.0 - tf.matmul(a, b, transpose_b=True))


def sinkhorn(
    cost: Tensor, *, regularization: float = 0.01, iterations: int = 100, tolerance: float = 0.1
) -> Tensor:
    """Returns the transport plan between two uniform distributions.

    Minimises sum_ij T_ij C_ij - regularization * entropy(T) over the plans T with row sums 1 / n
    and column sums 1 / m, by Sinkhorn's iterations on the logarithms (Cuturi, "Sinkhorn Distances",
    NeurIPS 2013). Gradients flow through all iterations.

    Args:
        cost: C, float [n, m]; without examples the plan is empty.
        regularization: Weight of the entropy.
        iterations: At most so many.
        tolerance: Stops when the row potentials change by less, summed over the rows.

    Returns:
        T, [n, m].
    """
    cost = tf.convert_to_tensor(cost)
    rows, columns = (tf.cast(size, cost.dtype) for size in tf.unstack(tf.shape(cost)))

    def plan(u: Tensor, v: Tensor) -> Tensor:
        return (u[:, None] + v[None, :] - cost) / regularization

    def iterate(u: Tensor, v: Tensor, change: Tensor) -> Tensor:
        new_u = u - regularization * (tf.math.log(rows) + tf.reduce_logsumexp(plan(u, v), axis=1))
        new_v = v - regularization * (
            tf.math.log(columns) + tf.reduce_logsumexp(plan(new_u, v), axis=0)
        )
        return new_u, new_v, tf.reduce_sum(tf.abs(new_u - u))

    # Not from a row of the cost: a replica without examples has none.
    u, v = (tf.zeros([size], cost.dtype) for size in tf.unstack(tf.shape(cost)))
    start = u, v, tf.constant(float("inf"), cost.dtype)
    u, v, _ = tf.while_loop(
        lambda u, v, change: change >= tolerance, iterate, start, maximum_iterations=iterations
    )
    return tf.exp(plan(u, v))


def transport_distance(a: Tensor, b: Tensor, **settings: Any) -> Tensor:
    """Returns sum_ij T_ij C_ij between two sets of vectors, C their cosine cost, T by sinkhorn."""
    cost = cosine_cost(a, b)
    return tf.reduce_sum(sinkhorn(cost, **settings) * cost)
