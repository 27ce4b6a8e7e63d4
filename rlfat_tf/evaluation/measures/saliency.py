"""What a classifier looks at: SmoothGrad maps and their pictures.

The maps by which Song et al. (ICLR 2020, Figure 3) compare what differently trained classifiers
have learned. They do not publish their noise and number of samples; the defaults here are those of
the SmoothGrad authors' own library (PAIR saliency).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks.passes import exact_gradient_by
from rlfat_tf.core import losses, random
from rlfat_tf.core.checks import checked_images, checked_labels, in_words
from rlfat_tf.core.errors import warn
from rlfat_tf.core.structure import check_layout
from rlfat_tf.core.types import Array, Images, Labels, LogitsFn, Model, Tensor
from rlfat_tf.evaluation.classifier import Classifier, as_classifier

PERCENTILE = 99.0


def smooth_grad(
    model: Model | Classifier | LogitsFn,
    images: Images,
    classes: Labels,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: random.SeedLike = 0,
    magnitude: bool = False,
) -> Tensor:
    """Averages the gradient of a class's logit over noisy copies of an image.

    M_c(x) = (1/n) sum grad_x S_c(x + N(0, s^2)), s = noise * (max x - min x) of each image (Smilkov
    et al., "SmoothGrad: removing noise by adding noise", 2017). Noisy copies are not clipped to
    [0, 1].

    Args:
        model: What :func:`rlfat_tf.evaluation.as_classifier` takes: a Keras model, a SavedModel or
            a function, from float32 images [batch, ...] to logits [batch, classes].
        images: Float images in [0, 1], [batch, height, width, channels].
        classes: Integers [batch]: the class whose logit is explained, true or predicted.
        samples: n; one copy of the batch is in memory at a time.
        noise: Standard deviation of the noise as a part of the image's range; 0 gives the plain
            gradient.
        seed: The noise of an image depends on the seed and on its place in the batch.
        magnitude: Average the squares of the gradients instead.

    Returns:
        float32, of the shape of the images. An entry is NaN or infinite, and there is a warning,
        where a gradient is.

    Raises:
        ValueError: If there is no sample or the noise is negative, images are not in [0, 1], or
            one of the classes is none of the model's.
    """
    if samples < 1:
        raise ValueError(f"Expected at least 1 sample; received {samples}.")
    if noise < 0:
        raise ValueError(f"Expected noise of at least 0; received {noise}.")
    logits_fn = as_classifier(model).logits_fn
    with in_words():
        images = checked_images(np.asarray(images))
        check_layout(images)
        classes = losses.class_ids(checked_labels(np.asarray(classes)))
    signature = [
        tf.TensorSpec([None, *images.shape[1:]]),
        tf.TensorSpec([None], tf.int32),
    ]

    def gradient(points: Images, chosen: Tensor) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = logits_fn(points)
            known = checked_labels(chosen, logits.shape[-1])
            score = tf.gather(logits, known, axis=1, batch_dims=1)
        return tf.cast(exact_gradient_by(tape, score, points), tf.float32)

    def average(images: Images, chosen: Tensor) -> Tensor:
        shape = tf.shape(images)
        each = random.as_seed(seed).of_examples(shape[0])
        pixels = tf.range(1, tf.rank(images))
        extent = tf.reduce_max(images, pixels, True) - tf.reduce_min(images, pixels, True)

        def add(number: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            draw = random.normal(each.fold(number), shape)
            found = gradient(images + noise * extent * draw, chosen)
            return number + 1, total + (tf.square(found) if magnitude else found)

        start = 0, tf.zeros_like(images)
        _, total = tf.while_loop(
            lambda *_: True, add, start, maximum_iterations=samples, parallel_iterations=1
        )
        return total / samples

    compiled = tf.function(average, input_signature=signature).get_concrete_function()
    with in_words():
        maps = compiled(images, classes)
    broken = int(np.sum(~np.isfinite(maps).all(axis=(1, 2, 3))))
    if broken:
        warn(
            f"The gradient of the logit is NaN or infinite somewhere on {broken} of {len(images)} "
            "images, whose salience maps have gaps there. Find the operation without a derivative "
            "(sqrt, norm, division at 0; a branch of where)."
        )
    return maps


def salience_picture(maps: Array) -> Array:
    """Makes gray pictures of salience maps.

    Per image: the absolute values summed over the channels, from the smallest (0) to the 99th
    percentile (1), so that a few extreme pixels do not darken the rest.

    Args:
        maps: [batch, height, width, channels], of :func:`smooth_grad`.

    Returns:
        float32 NumPy array [batch, height, width] in [0, 1]; 0 where a map is flat, and NaN where
        it is not finite.
    """
    strength = np.abs(np.asarray(maps, np.float32)).sum(-1)
    return np.stack([_gray(one) for one in strength])


def _gray(strength: Array) -> Array:
    """Returns the picture of one map."""
    known = strength[np.isfinite(strength)]
    if not known.size:
        return np.full_like(strength, np.nan)
    low, high = known.min(), np.percentile(known, PERCENTILE)
    spread = high - low if high > low else 1.0
    gray = np.clip((strength - low) / spread, 0.0, 1.0)
    return np.where(np.isfinite(strength), gray, np.nan).astype(np.float32)
