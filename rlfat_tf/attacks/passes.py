"""What an attack sees of its points: loss, gradient and correctness, by one or by several passes.

Of a randomised classifier one pass is one draw. An attack on it ascends the expectation over
transformations (EOT): the mean of the gradients of several passes (Athalye et al., "Obfuscated
Gradients Give a False Sense of Security", ICML 2018; "Synthesizing Robust Adversarial Examples").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.attacks.base import is_correct
from rlfat_tf.attacks.points import comparable
from rlfat_tf.core.types import Images, Labels, LogitsFn, LossFn, Tensor

Objective = LossFn


def repeat(
    body: Callable[..., Tensor], times: int, state: Sequence[Any], unroll: bool
) -> Sequence[Any]:
    """Applies ``body`` to the state, as one graph loop or laid out."""
    if unroll:
        for _ in range(times):
            state = body(*state)
        return state
    return tf.while_loop(
        lambda *_: True, body, state, maximum_iterations=times, parallel_iterations=1
    )


def exact_gradient_by(tape: tf.GradientTape, target: Tensor, points: Images) -> Tensor:
    """Returns the gradient of what the logits led to by the points, of their shape, as it is.

    Raises:
        ValueError: If there is none.
    """
    gradient = tape.gradient(target, points)
    if gradient is None:
        raise ValueError(
            "Expected logits with a gradient by the images; there is none. The model must be made "
            "of differentiable TensorFlow operations (no predict(), no NumPy, no rounding); or "
            "use an attack without gradients: Square, SPSA, NAttack."
        )
    return gradient


def gradient_by(tape: tf.GradientTape, target: Tensor, points: Images) -> Tensor:
    """Returns the gradient of what the logits led to by the points, of their shape, all finite.

    An entry of NaN says nothing and counts as 0. An infinite one, as the square root has it at 0,
    keeps its sign and is as great as the greatest finite entry of its example.

    Raises:
        ValueError: If there is none.
    """
    gradient = exact_gradient_by(tape, target, points)
    all_finite = tf.reduce_all(tf.math.is_finite(gradient))
    return tf.cond(all_finite, lambda: gradient, lambda: _made_finite(gradient))


def _made_finite(gradient: Tensor) -> Tensor:
    finite = tf.where(tf.math.is_finite(gradient), gradient, 0.0)
    axes = list(range(1, gradient.shape.rank))
    largest = tf.reduce_max(tf.abs(finite), axes, keepdims=True)
    infinite = tf.where(largest > 0, largest, 1.0) * tf.sign(gradient)
    return tf.where(tf.math.is_inf(gradient), infinite, finite)


def gradient_of(
    logits_fn: LogitsFn,
    objective: Objective,
    points: Images,
    *,
    labels: Labels = None,
    eot: int = 1,
    stops: bool = True,
    unroll: bool = False,
) -> tuple[Tensor, ...]:
    """Looks at points by passes forward and back.

    Args:
        logits_fn: See :meth:`rlfat_tf.attacks.Attack.__call__`.
        objective: From logits to the loss per example.
        points: [batch, ...].
        labels: As given to the attack; None if nobody asks what is correct.
        eot: Passes; with 1 nothing is added to what one pass needs.
        stops: See :class:`rlfat_tf.attacks.Attack`; else every point counts as correct.
        unroll: See :meth:`rlfat_tf.attacks.Attack.__call__`.

    Returns:
        The mean gradient [batch, ...], each pass's by :func:`gradient_by`; the mean loss [batch] in
        float32, -inf where it is NaN, so that such a point is better than none; and, with labels,
        what is correct in at least one pass, bool [batch]: wrong by luck is not enough.
    """

    def once() -> tuple[Tensor, ...]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = logits_fn(points)
            loss = objective(logits)
        gradient = gradient_by(tape, loss, points)
        correct = () if labels is None else (is_correct(logits, labels) | (not stops),)
        return (gradient, tf.cast(loss, tf.float32), *correct)

    def nothing() -> tuple[Tensor, ...]:
        loss = tf.zeros([tf.shape(points)[0]])
        correct = () if labels is None else (tf.cast(loss, tf.bool),)
        return (tf.zeros_like(points), loss, *correct)

    gradient, loss, *correct = _mean(once, nothing, eot, unroll)
    return gradient, comparable(loss), *correct


def value_of(
    logits_fn: LogitsFn,
    objective: Objective,
    points: Images,
    labels: Labels,
    *,
    eot: int = 1,
    stops: bool = True,
    unroll: bool = False,
) -> tuple[Tensor, Tensor]:
    """Returns mean loss and correctness of points by passes forward; see :func:`gradient_of`."""

    def once() -> tuple[Tensor, Tensor]:
        logits = logits_fn(points)
        correct = is_correct(logits, labels) | (not stops)
        return tf.cast(objective(logits), tf.float32), correct

    def nothing() -> tuple[Tensor, Tensor]:
        loss = tf.zeros([tf.shape(points)[0]])
        return loss, tf.cast(loss, tf.bool)

    loss, correct = _mean(once, nothing, eot, unroll)
    return comparable(loss), correct


def _mean(
    once: Callable[[], tuple[Tensor, ...]],
    nothing: Callable[[], tuple[Tensor, ...]],
    eot: int,
    unroll: bool,
) -> Sequence[Tensor]:
    """The mean of numbers over the passes, and "in any pass" of truth values."""
    if eot == 1:
        return once()

    def add(*totals: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            total | value if value.dtype == tf.bool else total + value / eot
            for total, value in zip(totals, once())
        )

    return repeat(add, eot, nothing(), unroll)
