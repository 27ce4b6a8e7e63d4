"""Augmentations, as draws and their application.

Once per epoch every example gets its draw: row i of ``draw(n, ...)`` is a function of the seed, the
epoch and i alone. Later a batch gathers the rows of its examples and ``apply`` transforms all its
images at once. What an example looks like in an epoch depends neither on the size of the batches
nor on who computes them.
"""

from rlfat_tf.data.augment.augmentation import Augmentation, Mixing
from rlfat_tf.data.augment.chain import AUGMENTATIONS, Chain, parse

__all__ = ["AUGMENTATIONS", "Augmentation", "Chain", "Mixing", "parse"]
