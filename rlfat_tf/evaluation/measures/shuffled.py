"""Accuracy on block-shuffled test images: a direct probe of local features.

Random Block Shuffle destroys the global structure of an image and keeps what is in its blocks. A
classifier that has learned local features stays correct where one that needs the whole picture
falls to chance (cf. Song et al., ICLR 2020, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks.base import LogitsFn, is_correct
from rlfat_tf.core import random
from rlfat_tf.core.transforms import draw_blocks, random_block_shuffle


def shuffled_accuracy(
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    *,
    blocks: Sequence[int] = (1, 2, 3, 4),
    block_shuffle: str = "image",
    seed: int = 0,
    batch_size: int = 128,
) -> dict[int, float]:
    """Measures the accuracy on test images whose blocks are shuffled.

    Args:
        logits_fn: From float32 images [batch, ...] to logits [batch, classes].
        images: float32 [n, height, width, channels] in [0, 1].
        labels: Integers [n].
        blocks: Numbers of blocks along each axis; 1 leaves the images whole.
        block_shuffle: ``"image"``: a draw for every image; ``"batch"`` and ``"equal"``: one draw
            for the whole test set. See :func:`rlfat_tf.core.transforms.draw_blocks`.
        seed: Of the draws; an image's own draw depends on its number in the test set only.
        batch_size: Changes speed and memory, not the result.

    Returns:
        For every number of blocks the accuracy, in [0, 1].

    Raises:
        ValueError: If there is no image, an image has no room for so many blocks, or
            ``block_shuffle`` is unknown.
    """
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int32)
    if not len(images) or len(images) != len(labels):
        raise ValueError(
            f"Expected as many labels as images, at least one; received {len(images)} images and "
            f"{len(labels)} labels."
        )
    for count in blocks:  # refuses what is wrong before anything is measured
        draw_blocks(min(images.shape[1:3]), count, block_shuffle, seed, batch=1)
    signature = [
        tf.TensorSpec([None, *images.shape[1:]]),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.int32),
    ]

    def compiled_for(count: int) -> Any:
        def correct(some: Any, their_labels: Any, numbers: Any) -> Any:
            draws = random.as_seed(seed).fold(count)._replace(examples=numbers)
            shuffled = random_block_shuffle(some, count, mode=block_shuffle, seed=draws)
            return is_correct(logits_fn(shuffled), their_labels)

        return tf.function(correct, input_signature=signature).get_concrete_function()

    numbers = np.arange(len(images), dtype=np.int32)
    batches = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]

    def accuracy(count: int) -> float:
        compiled = compiled_for(count)
        correct = [compiled(images[b], labels[b], numbers[b]).numpy() for b in batches]
        return float(np.concatenate(correct).mean())

    return {count: accuracy(count) for count in blocks}
