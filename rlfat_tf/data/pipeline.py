"""Batches of a source: shuffled, augmented and endless, or one pass in order.

The order of an epoch and every augmentation draw are pure functions of the seed, the epoch and the
example; so is the partner with which CutMix mixes it, which looks as it does in this epoch itself.
Hence a run can go on at any step: the stream is computed from there, nothing is skipped by
computing it.

Images are read last, by their numbers. So whether they are in memory or on disk changes no batch.
"""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core.compat import has_several_workers
from rlfat_tf.core.types import Labels, Strategy, Tensor
from rlfat_tf.data import augment as augmentations
from rlfat_tf.data.mixture import Mixture
from rlfat_tf.data.source import PARALLEL_READS, Source
from rlfat_tf.data.stream import PARALLEL_CALLS, Stream, to_float

PREFETCHED = 2


def steps_per_epoch(source: Source | Mixture, batch_size: int) -> int:
    """Returns the number of whole batches in an epoch; the partial last batch is dropped.

    Args:
        source: The training examples; with extra ones an epoch is one of the real ones.
        batch_size: Size of the (global) batch.

    Raises:
        TypeError: If the examples are no :class:`Source`.
        ValueError: If ``batch_size`` is not positive or there are fewer examples.
    """
    if isinstance(source, Mixture):
        _check(source.real, batch_size)
        return steps_per_epoch(source.real, int((~source.places(batch_size)).sum()))
    _check(source, batch_size)
    if batch_size > len(source):
        raise ValueError(
            f"batch_size is {batch_size}, but there are {len(source)} training examples: not one "
            f"whole batch. Use a batch_size of at most {len(source)}, or more examples."
        )
    return len(source) // batch_size


def training_batches(
    source: Source | Mixture,
    *,
    batch_size: int,
    seed: int,
    augment: str = "flip",
    start_step: int = 0,
    num_classes: int | None = None,
    strategy: Strategy = None,
) -> tf.data.Dataset:
    """Makes an endless stream of shuffled, augmented batches.

    Args:
        source: The training examples, or these and extra ones.
        batch_size: Size of the (global) batch.
        seed: Seed of the order and the augmentations.
        augment: Names from ``AUGMENTATIONS`` joined by ``+``, applied from left to right.
        start_step: Global step of the first batch; the stream is that of ``start_step=0`` without
            its first ``start_step`` batches.
        num_classes: K of the label rows; needed where an augmentation mixes labels (``cutmix``) or
            labels of extra examples are smoothed.
        strategy: That of the training. With several machines each then reads its slice of every
            batch and nothing else, and what is returned is distributed already. Without it each
            reads every batch whole; the batches are the same.

    Returns:
        Pairs of images, float32 [batch_size, H, W, C] in [0, 1], and labels: int32 [batch_size],
        or of mixed or smoothed labels float32 [batch_size, K], rows that sum to 1. Under a strategy
        every replica gets its slice of each batch, on several machines too.

    Raises:
        ImportError: If an augmentation needs TensorFlow Addons, and they cannot be imported.
        TypeError: If the examples are no :class:`Source`.
        ValueError: If there are fewer examples than ``batch_size``, ``start_step`` is negative, an
            augmentation is unknown or ``num_classes`` is missing or too small.
    """
    steps_per_epoch(source, batch_size)
    if start_step < 0:
        raise ValueError(f"Expected a start_step of at least 0; received {start_step}.")
    chain = augmentations.parse(augment)
    examples = source if isinstance(source, Mixture) else Mixture(source)
    classes = 0
    if chain.mixing is not None or examples.label_smoothing:
        classes = _checked_classes(examples, augment, num_classes)
    if num_classes is not None:
        examples.check_classes(num_classes)
    stream = Stream(examples, batch_size, seed, chain, classes)
    if strategy is None or not has_several_workers(strategy):
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return _finish(stream.batches(start_step).apply(endless))

    def of_worker(context: Any) -> tf.data.Dataset:
        worker, workers = context.input_pipeline_id, context.num_input_pipelines
        batches = stream.batches(start_step, worker, workers)
        replicas = context.num_replicas_in_sync // workers
        return _finish(batches if replicas == 1 else batches.flat_map(_parted(replicas)))

    return strategy.distribute_datasets_from_function(of_worker)


def _parted(count: int) -> Callable[..., tf.data.Dataset]:
    """Returns the function from a batch to a data set of its equal parts."""

    def parts(*batch: Tensor) -> tf.data.Dataset:
        split = [tf.reshape(x, [count, x.shape[0] // count, *x.shape[1:]]) for x in batch]
        return tf.data.Dataset.from_tensor_slices(tuple(split))

    return parts


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
    scaled = batches.map(lambda images, labels: (to_float(images), labels), PARALLEL_CALLS)
    return _finish(scaled)


def _check(source: Source, batch_size: int) -> None:
    if not isinstance(source, Source):
        raise TypeError(
            f"Expected rlfat_tf.data.Arrays; received {type(source).__name__}. Make them of NumPy "
            "arrays: rlfat_tf.data.Arrays(images, labels)."
        )
    if batch_size < 1:
        raise ValueError(f"Expected a batch_size of at least 1; received {batch_size}.")


def _checked_classes(examples: Mixture, augment: str, num_classes: int | None) -> int:
    if num_classes is None:
        raise ValueError(
            f"augment={augment!r} or smoothing makes labels rows of as many numbers as there are "
            "classes. Say how many: num_classes=10."
        )
    highest = examples.real.labels.max()
    if num_classes <= highest:
        raise ValueError(
            f"Expected labels in 0 ... {num_classes - 1}, since num_classes is {num_classes}; "
            f"received labels up to {highest}."
        )
    return num_classes


def _labels(source: Source) -> Labels:
    """Puts the labels into host memory once; tf.data captures tensors by reference."""
    with tf.device("CPU"):
        return tf.constant(source.labels, tf.int32)


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    # The autotuner sleeps ever longer, and an iterator's end waits for it to wake: every pass over
    # the data, of validation for one, took up to twice its time.
    options.autotune.enabled = False
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(PREFETCHED).with_options(options)
