"""RLFAT, Robust Local Features for Adversarial Training (Song et al., ICLR 2020), and ablations.

The adversarial images x' are block-shuffled, so that the classifier must learn robust features
that are local (RLFL, Eqs. 7 and 8), and the logits of shuffled and whole images are aligned, so
that these features serve whole images (RLFT, Eq. 9):

    RLFAT_P = CE(f(RBS(x')), y)                            + eta ||f(RBS(x')) - f(x')||^2
    RLFAT_T = CE(f(x), y) + lambda KL(p(x) || p(RBS(x')))  + eta ||f(RBS(x')) - f(x')||^2

``RBSATP`` and ``RBSATT`` are the first parts alone. The norm sums over the logits. Gradients flow
through both branches of the alignment and through p(x), and each of f(x), f(RBS(x')) and f(x') is a
forward pass with batch statistics of its own, as in the authors' code. At inference nothing is
shuffled.
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks.arguments import choice, count, number
from rlfat_tf.core import losses, random, transforms
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Images, LogitsFn
from rlfat_tf.methods.base import AdversarialModel
from rlfat_tf.methods.objective import Batch, Objective
from rlfat_tf.methods.trades import TRADES


class BlockShuffled(AdversarialModel):
    """A method that block-shuffles its adversarial images."""

    num_blocks: int = count(2, "Number of blocks per axis in Random Block Shuffle.")
    block_shuffle: str = choice(
        "batch",
        transforms.BLOCK_SHUFFLES,
        "How Random Block Shuffle draws: batch once for the whole batch, image for every image, "
        "equal once and with blocks of equal length.",
    )

    def check_specification(self, images: tf.TensorSpec) -> None:
        """Refuses images that cannot be cut into blocks."""
        transforms.check_images(images)

    def shuffle(self, images: Images, seed: random.SeedLike) -> Images:
        """Random Block Shuffle with the draw of the seed."""
        return transforms.random_block_shuffle(
            images, self.num_blocks, mode=self.block_shuffle, seed=seed
        )


@keras.saving.register_keras_serializable("rlfat_tf")
class RBSATP(BlockShuffled):
    """The RLFL part of RLFAT_P alone: CE(f(RBS(x')), y) (Eq. 7).

    ``adv_accuracy`` of training is measured on RBS(x'), the images that the loss sees.
    """

    terms = ("adv_loss",)

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(RBS(x')), y)."""
        shuffled_logits = logits(batch.shuffle(batch.adversarial))
        adv_loss = self.cross_entropy(batch.labels, shuffled_logits)
        return Objective(adv_loss, {"adv_loss": adv_loss}, adversarial_logits=shuffled_logits)


@keras.saving.register_keras_serializable("rlfat_tf")
class RBSATT(BlockShuffled, TRADES):
    """The RLFL part of RLFAT_T alone: CE(f(x), y) + lambda KL(p(x) || p(RBS(x'))) (Eq. 8).

    ``adv_accuracy`` of training is measured on RBS(x'), the images that the loss sees.
    """

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(x), y) + lambda KL(p(x) || p(RBS(x')))."""
        clean_logits = logits(batch.images)
        shuffled_logits = logits(batch.shuffle(batch.adversarial))
        clean_loss = self.cross_entropy(batch.labels, clean_logits)
        kl_loss = losses.kl_divergence(clean_logits, shuffled_logits)
        return Objective(
            clean_loss + self.trades_lambda * kl_loss,
            {"clean_loss": clean_loss, "kl_loss": kl_loss},
            clean_logits,
            shuffled_logits,
        )


@keras.saving.register_keras_serializable("rlfat_tf")
class RLFATP(BlockShuffled):
    """RLFAT_P (Eq. 10 with Eqs. 7 and 9)."""

    terms = ("adv_loss", "alignment_loss")
    eta: float = number(0.5, "Weight of RLFAT's logit alignment.", at_least=0)

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(RBS(x')), y) + eta ||f(RBS(x')) - f(x')||^2."""
        shuffled_logits = logits(batch.shuffle(batch.adversarial))
        adversarial_logits = logits(batch.adversarial)
        adv_loss = self.cross_entropy(batch.labels, shuffled_logits)
        alignment_loss = losses.squared_distance(shuffled_logits, adversarial_logits)
        return Objective(
            adv_loss + self.eta * alignment_loss,
            {"adv_loss": adv_loss, "alignment_loss": alignment_loss},
            adversarial_logits=adversarial_logits,
        )


@keras.saving.register_keras_serializable("rlfat_tf")
class RLFATT(RBSATT):
    """RLFAT_T (Eq. 10 with Eqs. 8 and 9)."""

    terms: tuple[str, ...] = ("clean_loss", "kl_loss", "alignment_loss")
    eta: float = number(1.0, "Weight of RLFAT's logit alignment.", at_least=0)

    def objective(self, logits: LogitsFn, batch: Batch) -> Objective:
        """CE(f(x), y) + lambda KL(p(x) || p(RBS(x'))) + eta ||f(RBS(x')) - f(x')||^2."""
        transfer = super().objective(logits, batch)
        adversarial_logits = logits(batch.adversarial)
        alignment_loss = losses.squared_distance(transfer.adversarial_logits, adversarial_logits)
        return Objective(
            transfer.loss + self.eta * alignment_loss,
            {**transfer.terms, "alignment_loss": alignment_loss},
            transfer.clean_logits,
            adversarial_logits,
        )
