"""The endless stream of training batches, whole or a worker's slice of it.

An example is first a row of numbers: which one it is, and its draws. Rows are pure functions of the
seed and of the place in the run; what they name is read, augmented and mixed afterwards.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.core import random
from rlfat_tf.core.random import Seed
from rlfat_tf.core.types import Array, Images, Labels, Tensor
from rlfat_tf.data.augment import Chain
from rlfat_tf.data.augment.mixing import mixed_rows
from rlfat_tf.data.mixture import Mixture
from rlfat_tf.data.source import PARALLEL_READS, Source
from rlfat_tf.data.view import resize

PARALLEL_CALLS = 4

# Branches of the seed, so that the order, augmentations and mixtures draw different numbers.
_ORDER, _AUGMENT, _MIX, _EXTRA = 0, 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Stream:
    """Everything that decides which batch comes when.

    Attributes:
        examples: The training examples.
        batch_size: Of the global batch.
        seed: Of order and augmentations.
        chain: The augmentations.
        num_classes: K of the label rows; 0 where labels are numbers.
    """

    examples: Mixture
    batch_size: int
    seed: int
    chain: Chain
    num_classes: int

    def batches(self, start_step: int, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
        """Returns the batches from a step on.

        Args:
            start_step: Global step of the first batch.
            worker: Number of the worker whose slice of every batch this is.
            workers: How many equal slices there are.
        """
        is_extra = self.examples.places(self.batch_size)
        size = self.batch_size // workers
        own = slice(worker * size, (worker + 1) * size)
        if is_extra[own].all():
            return self._extra(self.examples.others, start_step, is_extra, own)
        real = self._real(start_step, ~is_extra, own)
        if not is_extra[own].any():
            return real
        extra = self._extra(self.examples.others, start_step, is_extra, own)
        # Which of (real ones, extra ones) each place of the batch gets.
        order = np.argsort(np.argsort(is_extra[own], kind="stable"))

        def laid_out(*parts: Any) -> tuple[Tensor, ...]:
            return tuple(tf.gather(tf.concat(pair, axis=0), order) for pair in zip(*parts))

        return tf.data.Dataset.zip((real, extra)).map(laid_out, PARALLEL_CALLS)

    def _real(self, start_step: int, places: Array, own: slice) -> tf.data.Dataset:
        """Batches of the real examples in their places of the batch, bool, as far as ``own``."""
        source, size, chosen = self.examples.real, int(places.sum()), _among(places, own)
        total, shape = len(source), source.image_shape
        start_epoch, start_batch = divmod(start_step, total // size)

        def epoch_rows(epoch: Tensor) -> tf.data.Dataset:
            root = random.as_seed(self.seed).fold(epoch)
            order = root.fold(_ORDER).value
            index = tf.random.experimental.stateless_shuffle(tf.range(total), order)
            first = tf.where(tf.equal(epoch, start_epoch), start_batch * size, 0)
            index = index[first : total // size * size]
            index = tf.reshape(tf.reshape(index, [-1, size])[:, chosen], [-1])
            looks = tf.range(total), self.chain.draw(total, shape, root.fold(_AUGMENT))
            mixture = self._partners(total, shape, root.fold(_MIX))
            return tf.data.Dataset.from_tensor_slices(self._rows(looks, mixture, index))

        epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
        return self._read(source, epochs.flat_map(epoch_rows), chosen.stop - chosen.start)

    def _extra(self, source: Source, start_step: int, places: Array, own: slice) -> tf.data.Dataset:
        """Batches of the extra examples in their places of the batch, bool, as far as ``own``.

        Place p of all steps together is example p mod M of pass p div M over the M examples. Every
        pass has an order of its own, in which one place is computed without the others.
        """
        size, chosen = int(places.sum()), _among(places, own)
        total, shape = len(source), source.image_shape
        root = random.as_seed(self.seed).fold(_EXTRA)

        def step_rows(step: Tensor) -> tf.data.Dataset:
            place = step * size + tf.range(size, dtype=tf.int64)
            first = step * size // total  # a batch is of at most two passes

            def in_pass(number: Tensor) -> Tensor:
                seed = tf.cast(root.fold(_ORDER, number).value, tf.int64)
                last = tf.constant(total - 1, tf.int64)
                return tf.random.experimental.index_shuffle(place % total, seed, last)

            index = tf.where(place // total == first, in_pass(first), in_pass(first + 1))
            looks = index, self.chain.draw(size, shape, root.fold(_AUGMENT, step))
            mixture = self._partners(size, shape, root.fold(_MIX, step))
            rows = self._rows(looks, mixture, tf.range(size)[chosen])
            return tf.data.Dataset.from_tensor_slices(rows)

        steps = tf.data.Dataset.range(start_step, tf.int64.max)
        count, smoothing = chosen.stop - chosen.start, self.examples.label_smoothing
        return self._read(source, steps.flat_map(step_rows), count, smoothing)

    def _partners(self, n: int, shape: tuple[int, int, int], seed: Seed) -> Any:
        """Returns the partners of n examples and how they are mixed; None if they are not."""
        return None if self.chain.mixing is None else self.chain.mixing.draw(n, shape, seed.value)

    def _rows(self, looks: Any, mixture: Any, chosen: Tensor) -> tuple[Any, ...]:
        """Returns the looks of the chosen ones; with a mixture those of their partners too."""
        rows: tuple[Any, ...] = (_take(looks, chosen),)
        if mixture is not None:
            partners, places = _take(mixture, chosen)
            rows = (*rows, _take(looks, partners), places)
        return rows

    def _read(
        self, source: Source, rows: tf.data.Dataset, size: int, smoothing: float = 0.0
    ) -> tf.data.Dataset:
        """Reads, augments and mixes what rows name: batches of images in [0, 1] and labels."""
        read, chain = source.reader(), self.chain
        with tf.device("CPU"):  # once: tf.data captures tensors by reference
            labels = tf.constant(source.labels, tf.int32)

        def with_image(index: Tensor, draws: Any) -> tuple[Any, ...]:
            image = read(index)
            if chain.cuts:
                image = resize(chain.cut(image, draws), source.image_shape[:2])
                return tf.ensure_shape(image, source.image_shape), index, draws
            return source.view(image), index, draws

        def with_images(own: Any, partner: Any = None, places: Any = None) -> tuple[Any, ...]:
            if chain.mixing is None:
                return (with_image(*own),)
            return with_image(*own), with_image(*partner), places

        def augmented(images: Tensor, index: Tensor, draws: Any) -> tuple[Tensor, Labels]:
            ids = tf.gather(labels, index)
            if self.num_classes:
                ids = tf.one_hot(ids, self.num_classes)
                ids = (1 - smoothing) * ids + smoothing / self.num_classes if smoothing else ids
            return chain.apply(images, draws), ids

        def batch(own: Any, partner: Any = None, places: Any = None) -> tuple[Images, Labels]:
            images, answers = augmented(*own)
            if chain.mixing is not None:
                others, their_answers = augmented(*partner)
                images, shares = chain.mixing.apply(images, others, places)
                answers = mixed_rows(answers, their_answers, shares)
            return to_float(images), answers

        if source.by_example or chain.cuts:
            examples = rows.map(with_images, PARALLEL_READS).batch(size, drop_remainder=True)
            return examples.map(batch, PARALLEL_CALLS)
        rows = rows.batch(size, drop_remainder=True)
        return rows.map(lambda *some: batch(*with_images(*some)), PARALLEL_CALLS)


def to_float(images: Tensor) -> Images:
    """Brings 8-bit images to [0, 1]; others stay as they are."""
    return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images


def _among(places: Array, own: slice) -> slice:
    """Returns which of the marked places, counted among themselves, are in a slice of all."""
    return slice(int(places[: own.start].sum()), int(places[: own.stop].sum()))


def _take(tensors: Any, index: Tensor) -> Any:
    """Returns the rows of an index of every tensor in a structure."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, index), tensors)
