"""Gradients through a classifier that may compute in float16, where small ones become 0.

The cross entropy of a sure classifier has a gradient by the logits of 1e-9 and less, and the least
that float16 knows is 6e-8. An attack would find nothing to follow, and the classifier look robust.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core.types import Images, Logits, LogitsFn, Tensor


def without_underflow(logits_fn: LogitsFn) -> LogitsFn:
    """Returns a function through which gradients go back at a size near 1, of each example.

    They get their own size again behind it. That is a power of two, so that nothing is rounded.

    Args:
        logits_fn: From float32 images [batch, ...] to logits [batch, classes]; what it makes of an
            image does not depend on the others. What this function has returned is returned as it
            is.
    """
    if getattr(logits_fn, "keeps_small_gradients", False):
        return logits_fn

    def scaled(images: Images) -> Logits:
        sizes: list[Tensor] = []  # of the last gradient that came to the logits

        @tf.custom_gradient
        def enter(points: Images) -> Any:
            def back(gradient: Tensor) -> Tensor:
                shape = [-1] + [1] * (points.shape.rank - 1)
                return gradient * tf.reshape(tf.cast(sizes[-1], gradient.dtype), shape)

            return tf.identity(points), back

        @tf.custom_gradient
        def leave(logits: Logits) -> Any:
            def back(gradient: Tensor) -> Tensor:
                sizes.append(_power_of_two(gradient))
                return gradient / tf.cast(sizes[-1], gradient.dtype)[:, None]

            return tf.identity(logits), back

        return leave(logits_fn(enter(tf.convert_to_tensor(images))))

    scaled.keeps_small_gradients = True  # type: ignore[attr-defined]
    return scaled


def _power_of_two(gradient: Tensor) -> Tensor:
    """Returns the size of each row, float32 [batch], as a power of two; 1 where it has none."""
    size = tf.cast(tf.reduce_max(tf.abs(gradient), -1), tf.float32)
    power = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(size, tf.int32), 0x7F800000), tf.float32)
    return tf.where(tf.math.is_finite(power) & (power > 0), power, 1.0)
