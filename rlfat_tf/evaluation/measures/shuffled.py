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

from rlfat_tf.attacks.arguments import check_count
from rlfat_tf.attacks.base import is_correct
from rlfat_tf.core import random
from rlfat_tf.core.checks import checked_labels, in_words
from rlfat_tf.core.transforms import draw_blocks, random_block_shuffle
from rlfat_tf.core.types import Images, Labels, LogitsFn, Model, Tensor
from rlfat_tf.evaluation.classifier import Classifier, as_classifier
from rlfat_tf.evaluation.examples import as_arrays


def shuffled_accuracy(
    model: Model | Classifier | LogitsFn,
    images: Images,
    labels: Labels,
    *,
    blocks: Sequence[int] = (1, 2, 3, 4),
    block_shuffle: str = "image",
    seed: int = 0,
    batch_size: int = 128,
) -> dict[int, float]:
    """Measures the accuracy on test images whose blocks are shuffled.

    Args:
        model: What :func:`rlfat_tf.evaluation.as_classifier` takes: a Keras model, a SavedModel or
            a function, from float32 images [batch, ...] to logits [batch, classes].
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
        ValueError: If there is no image, images or labels are not what they must be, an image has
            no room for so many blocks, or ``block_shuffle`` is unknown.
    """
    images, labels = as_arrays((images, labels))
    logits_fn = as_classifier(model).logits_fn
    for count in blocks:  # refuses what is wrong before anything is measured
        draw_blocks(min(images.shape[1:3]), count, block_shuffle, seed, batch=1)
    signature = [
        tf.TensorSpec([None, *images.shape[1:]]),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.int32),
    ]

    def compiled_for(count: int) -> Any:
        def correct(some: Images, their_labels: Labels, numbers: Tensor) -> Tensor:
            draws = random.as_seed(seed).fold(count)._replace(examples=numbers)
            shuffled = random_block_shuffle(some, count, mode=block_shuffle, seed=draws)
            logits = logits_fn(shuffled)
            return is_correct(logits, checked_labels(their_labels, logits.shape[-1]))

        return tf.function(correct, input_signature=signature).get_concrete_function()

    numbers = np.arange(len(images), dtype=np.int32)
    batch_size = check_count(None, "batch_size", batch_size)
    batches = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]

    def accuracy(count: int) -> float:
        compiled = compiled_for(count)
        with in_words():
            correct = [compiled(images[b], labels[b], numbers[b]).numpy() for b in batches]
        return float(np.concatenate(correct).mean())

    return {count: accuracy(count) for count in blocks}
