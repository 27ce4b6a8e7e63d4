"""CutMix: a rectangle of another training image, and the labels of both."""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.core.types import Labels, Tensor
from rlfat_tf.data.augment.augmentation import Mixing, Shape
from rlfat_tf.data.augment.rectangles import select, sides


def _draw(n: int, image_shape: Shape, seed: Tensor) -> tuple[Tensor, Tensor]:
    order, places = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    partners = tf.random.experimental.stateless_shuffle(tf.range(n), order)
    size = tf.constant(image_shape[:2], tf.float32)
    covered, *centre = tf.unstack(tf.random.stateless_uniform([n, 3], places), axis=1)
    half = tf.cast(size * tf.sqrt(covered)[:, None], tf.int32) // 2
    middle = tf.cast(size * tf.stack(centre, axis=1), tf.int32)
    corners = tf.maximum(middle - half, 0), tf.minimum(middle + half, image_shape[:2])
    return partners, tf.concat(corners, axis=1)


def cutmix(images: Tensor, partners: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Pastes a rectangle of the partner into each image, at the same place.

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", ICCV 2019, in the form of the adversarial training of Rebuffi et al. ("Data
    Augmentation Can Improve Robustness", NeurIPS 2021): lambda is uniform in [0, 1), the sides are
    H sqrt(1 - lambda) and W sqrt(1 - lambda), rounded down to even numbers, the centre is any
    pixel, and what sticks out of the image is cut off. The labels are mixed by the area that is
    left.

    Their code draws one rectangle for a batch, and pairs images within it. Here every example has
    its own rectangle, and its partner is any of the training set, each being a partner once in an
    epoch: so what an example looks like does not depend on the batch.

    Args:
        images: [B, H, W, C].
        partners: [B, H, W, C], of the same dtype.
        boxes: int32 [B, 4] within the image: first row, first column, last row + 1, last column
            + 1.

    Returns:
        The mixed images, and the share of the area that is of ``images``, float32 [B].
    """
    rows, columns = sides(images, boxes)
    area = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    share = 1 - tf.cast(area, tf.float32) / (images.shape[1] * images.shape[2])
    return select(rows, columns, partners, images), share


def mixed_rows(rows: Labels, partners: Labels, shares: Tensor) -> Labels:
    """Mixes the labels of two examples.

    Args:
        rows: float32 [B, K]; each is non-negative and sums to 1.
        partners: As ``rows``.
        shares: float32 [B]: how much of an example is of the first label.

    Returns:
        float32 [B, K]; every row is non-negative and sums to 1.
    """
    return shares[:, None] * rows + (1 - shares[:, None]) * partners


CUTMIX = Mixing(_draw, cutmix)
