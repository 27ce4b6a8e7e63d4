"""What an augmentation is: draws for all examples of an epoch, and their application to a batch."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from rlfat_tf.core.types import Tensor

Draws = Any  # one tensor [n, ...], or a named tuple of such
Shape = tuple[int, int, int]  # of an image: height, width, channels


class Augmentation(NamedTuple):
    """A random transformation of images.

    Attributes:
        draw: ``(n, image_shape, seed) -> draws``: tensors [n, ...] for n examples. ``image_shape``
            is (H, W, C), ``seed`` an int32 tensor [2].
        apply: ``(images, draws) -> images``: [B, H, W, C] of any dtype with the draws of its B
            examples; shape and dtype stay.
        check: Called once, before training; raises if the augmentation cannot run here.
        cut: ``(image, draw) -> image``: cuts a window out of one image [h, w, C] of any size, with
            the draw of its example; the window is then resized to the size of all images.
    """

    draw: Callable[[int, Shape, Tensor], Draws]
    apply: Callable[[Tensor, Draws], Tensor]
    check: Callable[[], Any] = lambda: None
    cut: Callable[[Tensor, Tensor], Tensor] | None = None


class Mixing(NamedTuple):
    """A random mixture of every image with that of another example, its partner.

    Attributes:
        draw: ``(n, image_shape, seed) -> (partners, draws)``: int32 [n], the number of every
            example's partner, and draws as those of an :class:`Augmentation`.
        apply: ``(images, partners, draws) -> (images, shares)``: both [B, H, W, C], augmented
            already; of the result the part ``shares``, float32 [B], is of the first.
    """

    draw: Callable[[int, Shape, Tensor], tuple[Tensor, Draws]]
    apply: Callable[[Tensor, Tensor, Draws], tuple[Tensor, Tensor]]
