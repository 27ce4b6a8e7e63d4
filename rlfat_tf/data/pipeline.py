"""Batches of a source: shuffled, augmented and endless, or one pass in order.

The order of an epoch and every augmentation draw are pure functions of the seed, the epoch and the
example; so is the partner with which CutMix mixes it, which looks as it does in this epoch itself.
Hence a run can go on at any step: the stream is computed from there, nothing is skipped by
computing it.

Images are read last, by their numbers. So whether they are in memory or on disk changes no batch.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core import random
from rlfat_tf.core.types import Images, Labels, Tensor
from rlfat_tf.data import augment as augmentations
from rlfat_tf.data.augment.mixing import label_rows
from rlfat_tf.data.source import PARALLEL_READS, Source

PARALLEL_CALLS, PREFETCHED = 4, 2

# Branches of the seed, so that the order, augmentations and mixtures draw different numbers.
_ORDER, _AUGMENT, _MIX = 0, 1, 2


def steps_per_epoch(source: Source, batch_size: int) -> int:
    """Returns the number of whole batches in an epoch; the partial last batch is dropped.

    Args:
        source: The training examples.
        batch_size: Size of the (global) batch.

    Raises:
        TypeError: If the examples are no :class:`Source`.
        ValueError: If ``batch_size`` is not positive or there are fewer examples.
    """
    _check(source, batch_size)
    if batch_size > len(source):
        raise ValueError(
            f"batch_size is {batch_size}, but there are {len(source)} training examples: not one "
            f"whole batch. Use a batch_size of at most {len(source)}, or more examples."
        )
    return len(source) // batch_size


def training_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    augment: str = "flip",
    start_step: int = 0,
    num_classes: int | None = None,
) -> tf.data.Dataset:
    """Makes an endless stream of shuffled, augmented batches.

    Args:
        source: The training examples.
        batch_size: Size of the (global) batch.
        seed: Seed of the order and the augmentations.
        augment: Names from ``AUGMENTATIONS`` joined by ``+``, applied from left to right.
        start_step: Global step of the first batch; the stream is that of ``start_step=0`` without
            its first ``start_step`` batches.
        num_classes: K of the label rows; needed where an augmentation mixes labels (``cutmix``).

    Returns:
        Pairs of images, float32 [batch_size, H, W, C] in [0, 1], and labels: int32 [batch_size],
        or of mixed images float32 [batch_size, K], rows that sum to 1. Under a strategy every
        replica gets its slice of each batch, on several machines too.

    Raises:
        ImportError: If an augmentation needs TensorFlow Addons, and they cannot be imported.
        TypeError: If the examples are no :class:`Source`.
        ValueError: If there are fewer examples than ``batch_size``, ``start_step`` is negative, an
            augmentation is unknown or ``num_classes`` is missing or too small.
    """
    steps = steps_per_epoch(source, batch_size)
    if start_step < 0:
        raise ValueError(f"Expected a start_step of at least 0; received {start_step}.")
    chain = augmentations.parse(augment)
    classes = 0 if chain.mixing is None else _checked_classes(source, augment, num_classes)
    total, shape, labels = len(source), source.image_shape, _labels(source)
    start_epoch, start_batch = divmod(start_step, steps)

    def epoch_rows(epoch: Tensor) -> tf.data.Dataset:
        root = random.as_seed(seed).fold(epoch)
        index = tf.random.experimental.stateless_shuffle(tf.range(total), root.fold(_ORDER).value)
        first = tf.where(tf.equal(epoch, start_epoch), start_batch * batch_size, 0)
        index = index[first : steps * batch_size]
        looks = tf.range(total), chain.draw(total, shape, root.fold(_AUGMENT))
        rows: tuple[Any, ...] = (_rows(looks, index),)
        if chain.mixing is not None:
            mixture = chain.mixing.draw(total, shape, root.fold(_MIX).value)
            partners, places = _rows(mixture, index)
            rows = (*rows, _rows(looks, partners), places)
        return tf.data.Dataset.from_tensor_slices(rows)

    read = source.reader()

    def with_images(own: Any, partner: Any = None, places: Any = None) -> tuple[Any, ...]:
        if chain.mixing is None:
            return (with_image(*own),)
        return with_image(*own), with_image(*partner), places

    def with_image(index: Tensor, draws: Any) -> tuple[Tensor, ...]:
        return source.view(read(index)), index, draws

    def augmented(look: tuple[Tensor, ...]) -> tuple[Tensor, Labels]:
        images, index, draws = look
        return chain.apply(images, draws), tf.gather(labels, index)

    def batch(own: Any, partner: Any = None, places: Any = None) -> tuple[Images, Labels]:
        some, answers = augmented(own)
        if chain.mixing is not None:
            others, their_answers = augmented(partner)
            some, shares = chain.mixing.apply(some, others, places)
            answers = label_rows(answers, their_answers, shares, classes)
        return _to_float(some), answers

    rows = tf.data.Dataset.range(start_epoch, tf.int64.max).flat_map(epoch_rows)
    if source.by_example:
        rows = rows.map(with_images, PARALLEL_READS).batch(batch_size, drop_remainder=True)
        batches = rows.map(batch, PARALLEL_CALLS)
    else:
        rows = rows.batch(batch_size, drop_remainder=True)
        batches = rows.map(lambda *some: batch(*with_images(*some)), PARALLEL_CALLS)
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return _finish(batches.apply(endless))


def evaluation_batches(source: Source, *, batch_size: int) -> tf.data.Dataset:
    """Makes one pass over all examples in their order; the last batch may be smaller.

    Args:
        source: The examples.
        batch_size: Size of the (global) batch.

    Returns:
        Pairs of images, float32 [B, H, W, C] in [0, 1], and labels, int32 [B].

    Raises:
        TypeError: If the examples are no :class:`Source`.
        ValueError: If ``batch_size`` is not positive.
    """
    _check(source, batch_size)
    read, labels = source.reader(), _labels(source)

    def with_images(index: Tensor) -> tuple[Tensor, Labels]:
        return source.view(read(index)), tf.gather(labels, index)

    rows = tf.data.Dataset.range(len(source))
    if source.by_example:
        batches = rows.map(with_images, PARALLEL_READS).batch(batch_size)
    else:
        batches = rows.batch(batch_size).map(with_images, PARALLEL_CALLS)
    scaled = batches.map(lambda images, labels: (_to_float(images), labels), PARALLEL_CALLS)
    return _finish(scaled)


def _check(source: Source, batch_size: int) -> None:
    if not isinstance(source, Source):
        raise TypeError(
            f"Expected rlfat_tf.data.Arrays; received {type(source).__name__}. Make them of NumPy "
            "arrays: rlfat_tf.data.Arrays(images, labels)."
        )
    if batch_size < 1:
        raise ValueError(f"Expected a batch_size of at least 1; received {batch_size}.")


def _checked_classes(source: Source, augment: str, num_classes: int | None) -> int:
    if num_classes is None:
        raise ValueError(
            f"augment={augment!r} mixes labels into rows of as many numbers as there are classes. "
            "Say how many: num_classes=10."
        )
    if num_classes <= source.labels.max():
        raise ValueError(
            f"Expected labels in 0 ... {num_classes - 1}, since num_classes is {num_classes}; "
            f"received labels up to {source.labels.max()}."
        )
    return num_classes


def _rows(tensors: Any, index: Tensor) -> Any:
    """Returns the rows of an index of every tensor in a structure."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, index), tensors)


def _labels(source: Source) -> Labels:
    """Puts the labels into host memory once; tf.data captures tensors by reference."""
    with tf.device("CPU"):
        return tf.constant(source.labels, tf.int32)


def _to_float(images: Tensor) -> Images:
    return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    # The autotuner sleeps ever longer, and an iterator's end waits for it to wake: every pass over
    # the data, of validation for one, took up to twice its time.
    options.autotune.enabled = False
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(PREFETCHED).with_options(options)
