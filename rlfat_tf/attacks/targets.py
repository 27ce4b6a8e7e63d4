"""Which wrong classes a targeted attack tries, and in what order."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.passes import gradient_of
from rlfat_tf.core import losses, norms
from rlfat_tf.core.types import Images, Labels, Logits, LogitsFn, Tensor


def wrong_classes(logits: Logits, labels: Labels) -> Tensor:
    """Returns the wrong classes from the greatest logit to the least, integers [n, classes - 1].

    A class to be reached, see :func:`rlfat_tf.core.losses.towards`, comes first.
    """
    classes, marked = losses.goal(labels)
    own = tf.one_hot(classes, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    place = tf.where(marked, logits.dtype.max, logits.dtype.min)[:, None]
    order = tf.argsort(tf.where(own, place, logits), -1, "DESCENDING", stable=True)
    return order[:, :-1]


def target_class(logits: Logits, labels: Labels, rank: Tensor) -> Tensor:
    """Returns the wrong class with the (rank + 1)-th greatest logit, integers [n]."""
    return tf.gather(wrong_classes(logits, labels), rank, axis=1)


def nearest_first(
    logits_fn: LogitsFn, images: Images, labels: Labels, order: Labels, **options: Any
) -> Tensor:
    """Returns target classes, the one with the nearest border first.

    Args:
        logits_fn: See :meth:`rlfat_tf.attacks.Attack.__call__`.
        images: Clean images [n, ...].
        labels: Integers [n].
        order: Target classes, integers [n, targets]; of equal distances the earlier one stays so.
        **options: Of :func:`linear_distances`.
    """

    def by_distance() -> Tensor:
        distances = linear_distances(logits_fn, images, labels, order, **options)
        return tf.gather(order, tf.argsort(distances, stable=True), axis=1, batch_dims=1)

    # Of no examples TensorFlow 2.15 cannot compute the gradient of a chosen logit.
    return tf.cond(tf.shape(images)[0] > 0, by_distance, lambda: tf.identity(order))


def linear_distances(
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    targets: Labels,
    *,
    norm: str,
    eot: int = 1,
) -> Tensor:
    """Returns how far the borders to target classes are, if the network were linear.

        (z_y - z_t) / || grad (z_y - z_t) ||,   in the dual norm

    (Melamed, Yehudai & Shamir, "MALT Powers Up Adversarial Attacks", NeurIPS 2024. Their code
    leaves a class without a gradient at 0, so that it comes first; here it comes last.)

    Args:
        logits_fn: See :meth:`rlfat_tf.attacks.Attack.__call__`.
        images: [n, ...].
        labels: Integers [n].
        targets: Wrong classes, integers [n, targets].
        norm: Of the distance.
        eot: Passes over a randomised classifier.

    Returns:
        float32 [n, targets]; infinite where the gradient is 0, because there is no way to go.
    """
    linf = norms.get("linf")

    def distance(number: Tensor) -> Tensor:
        target = tf.gather(targets, number, axis=1)
        gradient, lead = gradient_of(
            logits_fn,
            lambda logits: losses.targeted_negative_margin(labels, target, logits),
            images,
            eot=eot,
        )
        # Divided by its greatest entry first, the gradient has sums and squares that are finite.
        largest = linf.length(gradient)
        found = -lead / largest / norms.get(norm).dual_length(linf.normalise(gradient))
        return tf.where(largest > 0, found, math.inf)

    count = targets.shape[1]
    distances = tf.map_fn(
        distance, tf.range(count), parallel_iterations=1, fn_output_signature=tf.float32
    )
    return tf.transpose(distances)
