"""Image files, decoded whenever they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from rlfat_tf.core.errors import warn
from rlfat_tf.core.types import Array, Tensor
from rlfat_tf.data.decode import decode
from rlfat_tf.data.reading import Unreadable
from rlfat_tf.data.source import Stored
from rlfat_tf.data.view import View

UNREADABLE = "cannot be read as an image"


class Files(Stored):
    """Image files of any size, each read and decoded when its example comes.

    Args:
        paths: N files.
        labels: Integers [N].
        channels: 3, or 1 for grey images.
        view: What becomes of images that differ in size.
        shape: (H, W) of all images, where the view leaves them as they are.
        background: The colour behind transparent pixels.
        substitute: Whether a file that cannot be read is replaced by the next of its class, see
            :func:`others_of_class`, with a warning that names it. No other example changes by it.
    """

    by_example = True

    def __init__(
        self,
        paths: Sequence[str],
        labels: Array,
        *,
        channels: int,
        view: View,
        shape: Sequence[int] = (),
        background: str = "white",
        substitute: bool = False,
    ):
        sides = (view.size, view.size) if view.size is not None else tuple(shape)
        super().__init__(labels, (*sides, channels))
        self._paths, self._view, self._background = paths, view, background
        self._classes, self._substitute = self.labels, substitute
        self._named: set[str] = set()

    def view(self, image: Tensor) -> Tensor:
        """Brings an image of any size to ``image_shape``."""
        return tf.ensure_shape(self._view(image), self.image_shape)

    def _read(self, place: Tensor) -> Tensor:
        image = tf.numpy_function(self._decode, [place], tf.uint8, stateful=False)
        return tf.ensure_shape(image, [None, None, self.image_shape[-1]])

    def _decode(self, place: Array) -> Array:
        path, image = self._stored(int(place))
        channels = self.image_shape[-1]
        if self._view.size is None and image.shape[:2] != self.image_shape[:2]:
            raise Unreadable(
                f"{path!r} has {image.shape[0]} x {image.shape[1]} pixels, and the first images "
                f"{self.image_shape[0]} x {self.image_shape[1]}. Say what size to bring them to: "
                f"--image_size={self.image_shape[0]}, for instance."
            )
        if channels == 1 and not is_grey(image):
            raise Unreadable(
                f"{path!r} has colours, and the first images are grey. Read the set into memory, "
                "where all of them are looked at (--memory=always)."
            )
        return image[..., :channels]

    def _stored(self, place: int) -> tuple[str, Array]:
        """Returns the file of a place, or that which stands in for it, and its pixels."""
        path = self._paths[place]
        try:
            return path, self._pixels(path)
        except Unreadable as fault:
            if not self._substitute:
                raise
            if path not in self._named:
                self._named.add(path)
                warn(f"{fault} The next image of its class takes its place.")
            for other in others_of_class(self._classes, place):
                try:
                    return self._paths[other], self._pixels(self._paths[other])
                except Unreadable:
                    continue  # it is named when its own turn comes
            raise

    def _pixels(self, path: str) -> Array:
        try:
            with open(path, "rb") as file:
                return decode(file.read(), self._background)
        except (Unreadable, OSError) as fault:
            reason = getattr(fault, "strerror", None) or str(fault)
            raise Unreadable(f"{path!r} {UNREADABLE} ({reason}).") from None


def others_of_class(classes: Array, place: int) -> Iterator[int]:
    """Yields the other places of the class of a place: those after it, then those before it."""
    same = np.flatnonzero(classes == classes[place])
    yield from same[same > place]
    yield from same[same < place]


def is_grey(images: Array) -> bool:
    """Tells whether the three channels of images [..., 3] are equal."""
    first = images[..., 0]
    return np.array_equal(first, images[..., 1]) and np.array_equal(first, images[..., 2])
