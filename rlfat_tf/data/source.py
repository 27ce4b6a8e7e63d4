"""What examples are to the pipeline: labels in memory, and images that are read by their numbers.

Only how an image is read differs between sources. Which example comes when, and how it is
augmented, is decided before, so that a stream gives the very batches that memory gives.
"""

from __future__ import annotations

import abc
import copy
import functools
import os
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from rlfat_tf.core.types import Array, Images, Tensor
from rlfat_tf.data.reading import Unreadable, unreadable

PARALLEL_READS = min(16, os.cpu_count() or 1)

Reader = Callable[[Tensor], Tensor]


def as_counted(labels: Any) -> Array:
    """Returns labels as an array that can be counted: uint64 becomes int64, others stay."""
    labels = np.asarray(labels)
    return labels.astype(np.int64) if labels.dtype == np.uint64 else labels


class Source(abc.ABC):
    """Labelled images, of which any can be read at any time.

    Attributes:
        labels: Integers [N].
        images: The images [N, H, W, C], an array or something like it, see :class:`Pixels`.
        by_example: Whether images are read one by one, several at a time, because each has a file
            or a record of its own; else a batch at once.
    """

    labels: Array
    images: Any
    by_example = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abc.abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image, after :meth:`view`."""

    @abc.abstractmethod
    def reader(self) -> Reader:
        """Returns the function of a graph that reads images as they are stored.

        It takes the number of an example, an integer tensor, and returns [h, w, C], of any size;
        or, unless ``by_example``, numbers [b], and returns [b, H, W, C]. Images are uint8, or
        float32 in [0, 1]. Call this method outside of the graph.
        """

    @abc.abstractmethod
    def at(self, numbers: Array) -> Array:
        """Returns the images of some examples: [n, H, W, C], NumPy, uint8 or float32."""

    def view(self, image: Tensor) -> Tensor:
        """Brings an image as it is stored to ``image_shape``; of most sources it has it already."""
        return image

    @abc.abstractmethod
    def take(self, index: Array | slice) -> Source:
        """Returns the examples of an index vector, a mask or a slice."""

    @abc.abstractmethod
    def relabelled(self, labels: Array) -> Source:
        """Returns the same images with other labels, [N]."""


class Stored(Source):
    """Images on disk; :meth:`take` makes a view of them and reads nothing.

    Args:
        labels: Integers [N].
        image_shape: Of every image, after :meth:`view`.
    """

    def __init__(self, labels: Array, image_shape: Sequence[int]):
        self.labels = as_counted(labels)
        height, width, channels = (int(side) for side in image_shape)
        self._image_shape = height, width, channels
        self._places: Any = None  # in the store, of the examples of a view

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self._image_shape

    @property
    def images(self) -> Pixels:
        """The images as something like an array [N, H, W, C], read where it is indexed."""
        return Pixels(self)

    def reader(self) -> Reader:
        """Returns the function that reads; see :class:`Source`."""
        if self._places is None:
            return self._read
        with tf.device("CPU"):
            places = tf.constant(self._places, tf.int64)
        return lambda index: self._read(tf.gather(places, index))

    @abc.abstractmethod
    def _read(self, place: Tensor) -> Tensor:
        """Reads the images of places in the store."""

    def at(self, numbers: Array) -> Array:
        """Returns the images of some examples, uint8 [n, H, W, C].

        Raises:
            Unreadable: If one cannot be read; its file is named.
        """
        if not len(numbers):
            return np.empty((0, *self.image_shape), np.uint8)
        try:
            return self._some(tf.constant(numbers, tf.int64)).numpy()
        except tf.errors.InvalidArgumentError as error:
            said = unreadable(error)
            if said is None:
                raise
            raise Unreadable(said) from None

    @functools.cached_property
    def _some(self) -> Reader:
        """The reading of some examples, traced once; it runs where the data are."""
        read = self.reader()

        def some(numbers: Tensor) -> Tensor:
            with tf.device("CPU"):
                if not self.by_example:
                    return self.view(read(numbers))
                return tf.map_fn(
                    lambda number: self.view(read(number)),
                    numbers,
                    fn_output_signature=tf.TensorSpec(self.image_shape, tf.uint8),
                    parallel_iterations=PARALLEL_READS,
                )

        compiled = tf.function(some, input_signature=[tf.TensorSpec([None], tf.int64)])
        traced: Reader = compiled.get_concrete_function()
        return traced

    def take(self, index: Array | slice) -> Stored:
        """Returns a view of the examples of an index vector, a mask or a slice."""
        places = np.arange(len(self)) if self._places is None else self._places
        return self._with(self.labels[index], places[index])

    def relabelled(self, labels: Array) -> Stored:
        """Returns a view with other labels, [N]."""
        return self._with(np.asarray(labels), self._places)

    def _with(self, labels: Array, places: Any) -> Stored:
        view = copy.copy(self)
        view.__dict__.pop("_some", None)  # it reads the places of this one
        view.labels, view._places = labels, places
        return view


class Pixels:
    """The images of a source like an array of which only what is asked for is in memory.

    ``pixels[rows]`` of an integer, a slice, an index vector or a mask is a NumPy array.

    Args:
        source: The examples.
        scaled: Whether 8-bit images become float32 in [0, 1].
    """

    def __init__(self, source: Source, *, scaled: bool = False):
        self._source, self._scaled = source, scaled
        self.shape = (len(source), *source.image_shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Images:
        if isinstance(rows, (int, np.integer)):
            return self[np.array([range(len(self))[rows]])][0]
        images = self._source.at(np.arange(len(self))[rows])
        if self._scaled and images.dtype == np.uint8:
            return images.astype(np.float32) / np.float32(255)
        return images

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.asarray(self[:], dtype)
