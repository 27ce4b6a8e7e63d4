"""Random Block Shuffle (RBS), the transformation that breaks up the global structure of an image.

Along each spatial axis in turn an image is cut into ``num_blocks`` blocks at random places and the
blocks are put together again in random order (Song et al., "Robust Local Features for Improving
the Generalization of Adversarial Training", ICLR 2020, section 3.1). As in the paper's own code
the default is one draw for the whole batch, and a cut at 0 gives an empty block.

The draw (:func:`draw_blocks`) and its application (:func:`shuffle_blocks`) are separate, so that a
shuffle can be repeated. Everything is a gather with static shapes: it runs inside ``tf.function``,
``tf.while_loop`` and XLA.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from rlfat_tf.core import random
from rlfat_tf.core.compat import ONLY_FIRST_REPLICA, keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.structure import check_layout
from rlfat_tf.core.types import Images, Shape, Tensor

BLOCK_SHUFFLES = ("batch", "image", "equal")


class Blocks(NamedTuple):
    """One axis cut into k blocks and their new order.

    Attributes:
        starts: int32 [k] (or [batch, k]), ascending; the first is 0. Block j ends where block
            j + 1 starts, the last at the end of the axis.
        order: int32 [k] (or [batch, k]), a permutation: the i-th block of the result is block
            ``order[i]`` of the image.
    """

    starts: Tensor
    order: Tensor


def draw_blocks(
    size: int, num_blocks: int, mode: str, seed: random.SeedLike, batch: Tensor = None
) -> Blocks:
    """Draws cut points and an order for one axis.

    Args:
        size: Length of the axis.
        num_blocks: k, from 1 to ``size``.
        mode: ``"batch"``: k - 1 cut points uniform in {0, ..., size - 1}, one draw for the whole
            (global) batch. ``"image"``: the same, a draw of its own for every image. ``"equal"``:
            one order for the batch, blocks of equal length (up to one pixel).
        seed: See :mod:`rlfat_tf.core.random`. Replicas given the same seed value share a
            ``"batch"`` draw.
        batch: Number of images (of this replica); needed for ``"image"``.

    Raises:
        ValueError: If there are fewer than one or more than ``size`` blocks, or the mode is
            unknown.
    """
    if not 1 <= num_blocks <= size:
        raise ValueError(
            f"Expected 1 <= num_blocks <= {size}, the length of the axis; received {num_blocks}."
        )
    if mode not in BLOCK_SHUFFLES:
        raise unknown("block shuffle", mode, BLOCK_SHUFFLES)
    seed = random.as_seed(seed)
    if mode == "image":
        shape = tf.stack([batch, num_blocks - 1])
        cuts = random.uniform(seed.fold(0), shape, 0, size, tf.int32)
        keys = random.uniform(seed.fold(1), tf.stack([batch, num_blocks]), 0.0, 1.0)
    else:
        cuts = tf.random.stateless_uniform([num_blocks - 1], seed.fold(0).value, 0, size, tf.int32)
        keys = tf.random.stateless_uniform([num_blocks], seed.fold(1).value)
    if mode == "equal":
        starts = tf.constant([i * size // num_blocks for i in range(num_blocks)], tf.int32)
    else:
        starts = tf.concat([tf.zeros_like(keys[..., :1], tf.int32), tf.sort(cuts, axis=-1)], -1)
    return Blocks(starts, tf.cast(tf.argsort(keys, axis=-1), tf.int32))


def block_indices(blocks: Blocks, size: int) -> Tensor:
    """Returns where each position of the shuffled axis comes from.

    Args:
        blocks: The draw.
        size: Length of the axis.

    Returns:
        int32 [size] (or [batch, size]), a permutation of 0 ... size - 1.
    """
    starts, order = tf.cast(blocks.starts, tf.int32), tf.cast(blocks.order, tf.int32)
    ends = tf.concat([starts[..., 1:], tf.fill(tf.shape(starts[..., :1]), size)], -1)
    old_starts = tf.gather(starts, order, axis=-1, batch_dims=order.shape.rank - 1)
    old_ends = tf.gather(ends, order, axis=-1, batch_dims=order.shape.rank - 1)
    new_ends = tf.cumsum(old_ends - old_starts, axis=-1)
    # Position p lies in the block whose end is the first beyond p; empty blocks are passed over.
    positions = tf.range(size)
    passed = tf.cast(positions[:, None] >= new_ends[..., None, :], tf.int32)
    block = tf.reduce_sum(passed, axis=-1)
    shift = tf.gather(old_ends - new_ends, block, axis=-1, batch_dims=order.shape.rank - 1)
    return positions + shift


def shuffle_blocks(images: Images, rows: Blocks, columns: Blocks) -> Images:
    """Applies a draw: first along the rows (axis 1), then along the columns (axis 2).

    Args:
        images: [batch, height, width, channels], any dtype.
        rows: Blocks of the height.
        columns: Blocks of the width.

    Returns:
        The shuffled images, of the same shape and dtype.
    """
    for axis, blocks in ((1, rows), (2, columns)):
        index = block_indices(blocks, images.shape[axis])
        images = tf.gather(images, index, axis=axis, batch_dims=index.shape.rank - 1)
    return images


def check_images(images: Any) -> None:
    """Refuses images that cannot be cut: it takes a known height and width.

    Args:
        images: A tensor, an array or a specification.

    Raises:
        ValueError: If they are not [batch, height, width, channels] with both known.
    """
    check_layout(images)
    if None in tuple(images.shape)[1:3]:
        raise ValueError(
            "Expected images of a known height and width, as Random Block Shuffle needs; received "
            f"shape {tuple(images.shape)}. Resize them in the map, tf.image.resize(image, [height, "
            "width]); if all have one size already, state it: "
            "tf.ensure_shape(image, [height, width, channels])."
        )


def random_block_shuffle(
    images: Images, num_blocks: int = 2, *, mode: str = "batch", seed: random.SeedLike
) -> Images:
    """Random Block Shuffle of a batch of images.

    Args:
        images: [batch, height, width, channels], any dtype; height and width static.
        num_blocks: k. 1 is the identity; 2, the value for training, is a cyclic roll.
        mode: ``"batch"`` (the reference), ``"image"`` or ``"equal"``; see :func:`draw_blocks`.
        seed: See :mod:`rlfat_tf.core.random`.

    Returns:
        The shuffled images, of the same shape and dtype.

    Raises:
        ValueError: If the images have no static height and width, or ``num_blocks`` exceeds them.
    """
    images = tf.convert_to_tensor(images)
    check_images(images)
    if num_blocks == 1:
        return images
    seed = random.as_seed(seed)
    batch = tf.shape(images)[0]
    _, height, width, _ = images.shape
    rows = draw_blocks(height, num_blocks, mode, seed.fold(1), batch)
    columns = draw_blocks(width, num_blocks, mode, seed.fold(2), batch)
    return shuffle_blocks(images, rows, columns)


@keras.saving.register_keras_serializable("rlfat_tf")
class RandomBlockShuffle(keras.layers.Layer):
    """Random Block Shuffle as a layer: shuffles in training, is the identity at inference.

    Each call in training draws anew from a counter that is part of the layer's state.

    Args:
        num_blocks: k, from 1 to the smaller spatial side.
        mode: ``"batch"``, ``"image"`` or ``"equal"``; see :func:`draw_blocks`.
        seed: Integer.
        **kwargs: Those of ``keras.layers.Layer``.
    """

    def __init__(self, num_blocks: int = 2, mode: str = "batch", seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        if mode not in BLOCK_SHUFFLES:
            raise unknown("block shuffle", mode, BLOCK_SHUFFLES)
        self.num_blocks, self.mode, self.seed = num_blocks, mode, seed

    def build(self, input_shape: Shape) -> None:
        """Creates the counter of draws."""
        self.draws = self.add_weight(
            name="draws",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation=ONLY_FIRST_REPLICA,
        )
        self.built = True

    def call(self, inputs: Images, training: bool | None = None) -> Images:
        """Returns the images, shuffled if ``training``."""
        if not training:
            return inputs
        draw = tf.convert_to_tensor(self.draws)
        seed = random.replica_seed(self.seed, draw)
        shuffled = random_block_shuffle(inputs, self.num_blocks, mode=self.mode, seed=seed)
        self.draws.assign(draw + 1)
        return shuffled

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"num_blocks": self.num_blocks, "mode": self.mode, "seed": self.seed}
        return {**super().get_config(), **own}
