"""Augmentations by name, and chains of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.random import Seed
from rlfat_tf.core.types import Tensor
from rlfat_tf.data.augment.augmentation import Augmentation, Mixing, Shape
from rlfat_tf.data.augment.colour_shape import COLOR_SHAPE
from rlfat_tf.data.augment.erasing import CUTOUT, TFA_CUTOUT, random_erasing
from rlfat_tf.data.augment.geometric import CROP, CROP_SHIFT, FLIP
from rlfat_tf.data.augment.jitter import COLOR_JITTER
from rlfat_tf.data.augment.mixing import CUTMIX
from rlfat_tf.data.augment.resized_crop import RESIZED_CROP

AUGMENTATIONS: dict[str, tuple[Augmentation | Mixing, ...]] = {
    "none": (),
    "flip": (FLIP,),
    "crop_flip": (CROP, FLIP),
    "crop_shift": (CROP_SHIFT,),
    "resized_crop": (RESIZED_CROP,),
    "color_jitter": (COLOR_JITTER,),
    "cutout": (CUTOUT,),
    "tfa:cutout": (TFA_CUTOUT,),
    "random_erasing": (random_erasing(0.5),),
    "color_shape": (COLOR_SHAPE,),
    # The policies for CIFAR-10 of Li & Spratling.
    "idbh_weak": (FLIP, CROP_SHIFT, COLOR_SHAPE, random_erasing(0.5)),
    "idbh_strong": (FLIP, CROP_SHIFT, COLOR_SHAPE, random_erasing(1.0)),
    "cutmix": (CUTMIX,),
}


@dataclasses.dataclass(frozen=True)
class Chain:
    """Augmentations in the order in which they are applied, and a mixture of the results.

    Attributes:
        augmentations: Of single images.
        mixing: Comes last; None if images are not mixed.
    """

    augmentations: tuple[Augmentation, ...] = ()
    mixing: Mixing | None = None

    @property
    def mirrors(self) -> bool:
        """Whether images are mirrored left to right."""
        return FLIP in self.augmentations

    @property
    def cuts(self) -> bool:
        """Whether a window is cut out of every image before all images have one size."""
        return any(one.cut is not None for one in self.augmentations)

    def cut(self, image: Tensor, draws: tuple[Any, ...]) -> Tensor:
        """Returns the window [h, w, C] of an image of any size, by the draws of its example."""
        for augmentation, draw in zip(self.augmentations, draws):
            if augmentation.cut is not None:
                image = augmentation.cut(image, draw)
        return image

    def draw(self, n: int, image_shape: Shape, seed: Seed) -> tuple[Any, ...]:
        """Returns the draws of n examples, one entry for each augmentation."""
        return tuple(
            augmentation.draw(n, image_shape, seed.fold(position).value)
            for position, augmentation in enumerate(self.augmentations)
        )

    def apply(self, images: Tensor, draws: tuple[Any, ...]) -> Tensor:
        """Returns the augmented images [B, H, W, C], before they are mixed."""
        for augmentation, draw in zip(self.augmentations, draws):
            images = augmentation.apply(images, draw)
        return images


def parse(augment: str) -> Chain:
    """Returns the augmentations that a string names, in the order in which they are applied.

    Args:
        augment: Names from ``AUGMENTATIONS`` joined by ``+``, for instance ``"crop_flip+cutout"``.

    Raises:
        ImportError: If TensorFlow Addons is needed and cannot be imported.
        ValueError: If a name is unknown, or one that mixes images is not the last.
    """
    names = augment.split("+")
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown(
                "augmentation", name, AUGMENTATIONS, "Join several by '+': crop_flip+cutout."
            )
    parts = [part for name in names for part in AUGMENTATIONS[name]]
    single = tuple(part for part in parts if isinstance(part, Augmentation))
    mixing = [part for part in parts if isinstance(part, Mixing)]
    if mixing and (len(mixing) > 1 or parts[-1] is not mixing[0]):
        mixes = [name for name in names if any(isinstance(x, Mixing) for x in AUGMENTATIONS[name])]
        others = [name for name in names if name not in mixes]
        raise ValueError(
            f"Expected {mixes[0]} once and at the end, since it mixes images that are augmented "
            f"already; received {augment!r}. Write {'+'.join([*others, mixes[0]])}."
        )
    if any(part.cut is not None for part in single[1:]):
        raise ValueError(
            f"Expected resized_crop once and at the beginning, since it cuts a window out of the "
            f"image as it is stored; received {augment!r}."
        )
    for augmentation in single:
        augmentation.check()
    return Chain(single, mixing[0] if mixing else None)
