"""The view of an image that a network gets: squares of one size, of images of any size."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Shape, Tensor

VIEWS = ("squash", "centre")
MARGIN = 256 / 224  # short side by side of the square that is cut out, as usual on ImageNet


class View(NamedTuple):
    """How images become squares.

    Attributes:
        size: Side of the square; None leaves images as they are.
        kind: ``"squash"``: the whole image, its aspect ratio is not kept. ``"centre"``: the image
            is scaled so that its short side is ``size * 256 / 224``, and the square in its centre
            is cut out.
    """

    size: int | None = None
    kind: str = "squash"

    def check(self) -> None:
        """Raises ValueError if the kind is unknown, or there is one without a size."""
        if self.kind not in VIEWS:
            raise unknown("view", self.kind, VIEWS)
        if self.size is None and self.kind != VIEWS[0]:
            raise ValueError(
                f"--view={self.kind} needs the side of the square: --image_size=224, for instance."
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Returns squares of the images, bilinear and antialiased.

        Args:
            images: [..., H, W, C], uint8, or float32 in [0, 1].

        Returns:
            [..., size, size, C], of the same dtype and range.
        """
        if self.size is None:
            return images
        if self.kind == "squash":
            return resize(images, (self.size, self.size))
        return self._centre(images, self.size)

    def describe(self) -> str:
        """Says in words what the view does."""
        if self.size is None:
            return "images as they are stored"
        if self.kind == "squash":
            return f"the whole image, resized to {self.size} x {self.size} pixels"
        short = round(self.size * MARGIN)
        return (
            f"the short side resized to {short} pixels, of that the {self.size} x {self.size} "
            "pixels in the centre"
        )

    def _centre(self, images: Tensor, size: int) -> Tensor:
        sides = tf.shape(images)[-3:-1]
        short, shortest = round(size * MARGIN), tf.reduce_min(sides)
        resized = tf.maximum(short * sides // shortest, short)
        # Scaled and cut in one operation: of a very long image the whole is never made.
        batch = images if images.shape.rank == 4 else images[None]
        found = tf.raw_ops.ScaleAndTranslate(
            images=batch,
            size=[size, size],
            scale=tf.cast(resized, tf.float32) / tf.cast(sides, tf.float32),
            translation=-tf.cast((resized - size) // 2, tf.float32),
            kernel_type="triangle",
            antialias=True,
        )
        found = as_before(found if images.shape.rank == 4 else found[0], images)
        return tf.ensure_shape(found, [*images.shape[:-3], size, size, images.shape[-1]])


def resize(images: Tensor, sides: Shape) -> Tensor:
    """Resizes bilinear and antialiased; the aspect ratio is not kept.

    Args:
        images: [..., H, W, C], uint8, or float32 in [0, 1].
        sides: Height and width.

    Returns:
        Images of the same dtype and range.
    """
    if tuple(images.shape[-3:-1]) == tuple(sides):
        return images
    return as_before(tf.image.resize(images, sides, antialias=True), images)


def as_before(changed: Tensor, images: Tensor) -> Tensor:
    """Brings what an operation made of images back to their dtype and range."""
    if images.dtype == tf.uint8:
        return tf.cast(tf.clip_by_value(tf.round(changed), 0.0, 255.0), tf.uint8)
    return tf.clip_by_value(changed, 0.0, 1.0)
