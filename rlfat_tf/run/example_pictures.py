"""Adversarial examples of a running training in TensorBoard's tab of images."""

from __future__ import annotations

import os

import tensorflow as tf

from rlfat_tf import data
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, Labels, Logs, Tensor

SHOWN = 8  # examples, side by side
TITLE = "clean, adversarial, and their difference"


class ExamplePictures(keras.callbacks.Callback):
    """Shows what the attack of validation does to a few validation images, every few epochs.

    Args:
        folder: Of TensorBoard's files.
        examples: The first of these are shown, the same ones throughout.
        every: After every so many epochs.
        seed: Of the attack.
    """

    def __init__(
        self, folder: str | os.PathLike[str], examples: data.Source, *, every: int, seed: int
    ):
        super().__init__()
        self._every, self._seed = every, seed
        batches = data.evaluation_batches(examples, batch_size=min(SHOWN, len(examples)))
        self._images, self._labels = next(iter(batches))[:2]
        self._writer = tf.summary.create_file_writer(os.path.join(os.fspath(folder), "examples"))
        self._attack = tf.function(self._attacked)

    def _attacked(self, images: Images, labels: Labels) -> Images:
        return self.model.eval_attack(self.model.model, images, labels, seed=self._seed)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Attacks the images and writes the picture, if it is time for one."""
        if (epoch + 1) % self._every:
            return
        picture = side_by_side(self._images, self._attack(self._images, self._labels))
        with self._writer.as_default():
            tf.summary.image(TITLE, picture[None], step=epoch)
        self._writer.flush()


def side_by_side(images: Images, adversarial: Images) -> Tensor:
    """Returns one picture of three rows: images, adversarial images, and what was changed.

    Args:
        images: [n, height, width, channels] in [0, 1].
        adversarial: The same, changed.

    Returns:
        [3 height, n width, 3 or 1] in [0, 1], in grey the mean of the channels unless they are 3;
        of the changes, grey is none and the greatest one of all is black or white.
    """
    if images.shape[-1] != 3:
        images, adversarial = (
            tf.reduce_mean(one, -1, keepdims=True) for one in (images, adversarial)
        )

    change = adversarial - images
    greatest = tf.maximum(tf.reduce_max(tf.abs(change)), 1e-6)
    rows = [images, adversarial, 0.5 + 0.5 * change / greatest]
    return tf.concat([tf.concat(tf.unstack(row), axis=1) for row in rows], axis=0)
