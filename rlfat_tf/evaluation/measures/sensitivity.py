"""How strongly a classifier's loss reacts to its input when the light changes.

    loss_sensitivity(model, images, labels, transform="gamma", magnitudes=(0.5, 1.0, 2.0))

The measure of Song et al., "Robust Local Features for Improving the Generalization of Adversarial
Training", ICLR 2020: the less, the smoother the classifier is around images that it was not trained
on. Images may be clean or adversarial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks.arguments import check_count
from rlfat_tf.attacks.passes import exact_gradient_by
from rlfat_tf.core import losses, norms
from rlfat_tf.core.checks import checked_labels, in_words
from rlfat_tf.core.errors import unknown, warn
from rlfat_tf.core.structure import check_layout
from rlfat_tf.core.types import Images, Labels, LogitsFn, Model, Tensor
from rlfat_tf.evaluation.classifier import Classifier, as_classifier
from rlfat_tf.evaluation.examples import as_arrays


def brightness(images: Images, amount: Tensor) -> Images:
    """Adds to the V channel of HSV, clips it to [0, 1], and goes back to RGB.

    V is the largest channel of a pixel; hue and saturation are ratios between channels. With those
    kept, a new V scales the pixel, and makes gray of black. The one channel of a gray image is V.

    Args:
        images: Float [batch, height, width, channels] in [0, 1].
        amount: Number to add, from -1 to 1.

    Returns:
        The changed images, of the same shape and dtype.
    """
    images = tf.convert_to_tensor(images)
    value = tf.reduce_max(images, axis=-1, keepdims=True)
    new = tf.clip_by_value(value + tf.cast(amount, images.dtype), 0.0, 1.0)
    black = value == 0
    return tf.where(black, new, images / tf.where(black, 1.0, value) * new)


def gamma(images: Images, exponent: Tensor) -> Images:
    """Raises every pixel to a power: above 1 darkens, below 1 lightens.

    Args:
        images: Float [batch, height, width, channels] in [0, 1].
        exponent: Number above 0.

    Returns:
        The changed images, of the same shape and dtype.
    """
    images = tf.convert_to_tensor(images)
    return tf.pow(images, tf.cast(exponent, images.dtype))


Transform = Callable[[Images, Tensor], Images]
TRANSFORMS: dict[str, Transform] = {"brightness": brightness, "gamma": gamma}


def loss_sensitivity(
    model: Model | Classifier | LogitsFn,
    images: Images,
    labels: Labels,
    *,
    transform: str,
    magnitudes: Sequence[float],
    batch_size: int = 128,
) -> list[dict[str, Any]]:
    """Measures the mean length of the loss's gradient at transformed images.

    (1/m) sum_i ||grad_z L(f(z), y_i)||_2 at z = T(x_i), with T the brightness shift (Eq. 11 of the
    paper) or the gamma map (Eq. 12) and L the cross entropy. The derivative is by the transformed
    image itself and does not go through T.

    Args:
        model: What :func:`rlfat_tf.evaluation.as_classifier` takes: a Keras model, a SavedModel or
            a function, from float32 images [batch, ...] to logits [batch, classes].
        images: float32 [n, height, width, channels] in [0, 1]: clean images or adversarial ones.
        labels: Integers [n].
        transform: ``"brightness"`` or ``"gamma"``.
        magnitudes: Amounts of the transformation; 0 (brightness) and 1 (gamma) change nothing.
        batch_size: Changes speed and memory, not the result.

    Returns:
        For every magnitude, in the order given, ``{"magnitude": ..., "value": ...}``. A value is
        None, and there is a warning, where the gradient of an image is NaN or infinite.

    Raises:
        ValueError: If the transformation is unknown, a gamma is not above 0, there is no image,
            or images or labels are not what they must be.
    """
    if transform not in TRANSFORMS:
        raise unknown("transformation", transform, TRANSFORMS)
    lowest = 0.0 if transform == "gamma" else -math.inf
    if not all(lowest < magnitude < math.inf for magnitude in magnitudes):
        raise ValueError(
            f"Expected finite magnitudes, gamma exponents above 0; received {list(magnitudes)}."
        )
    batch_size = check_count(None, "batch_size", batch_size)
    images, labels = as_arrays((images, labels))
    logits_fn = as_classifier(model).logits_fn

    check_layout(images)

    def lengths(some: Images, their_labels: Labels, magnitude: Tensor) -> Tensor:
        seen = TRANSFORMS[transform](some, magnitude)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(seen)
            logits = logits_fn(seen)
            known = checked_labels(their_labels, logits.shape[-1])
            loss = losses.unsaturated_cross_entropy(known, logits)
        gradient = exact_gradient_by(tape, loss, seen)
        finite = tf.reduce_all(tf.math.is_finite(gradient), list(range(1, seen.shape.rank)))
        return tf.where(finite, norms.length(gradient), math.nan)

    # The magnitude is a tensor, so that all of them share one graph.
    signature = [
        tf.TensorSpec([None, *images.shape[1:]]),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([]),
    ]
    compiled = tf.function(lengths, input_signature=signature).get_concrete_function()
    batches = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]

    def mean(magnitude: float) -> float | None:
        with in_words():
            parts = [compiled(images[b], labels[b], magnitude).numpy() for b in batches]
        found = np.concatenate(parts)
        broken = int(np.isnan(found).sum())
        if broken:
            warn(
                f"The gradient of the loss is NaN or infinite on {broken} of {len(found)} images "
                f"at {transform} {magnitude:g}, where the sensitivity has no value. Find the "
                "operation without a derivative (sqrt, norm, division at 0; a branch of where)."
            )
            return None
        return float(found.mean(dtype=np.float64))

    return [{"magnitude": float(m), "value": mean(m)} for m in magnitudes]
