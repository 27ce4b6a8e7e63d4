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

from typing import Any, Callable

from rlfat_tf.core import losses, random, transforms
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.methods.base import AdversarialModel, Batch, Objective
from rlfat_tf.methods.trades import TRADES


class BlockShuffled(AdversarialModel):
    """A method that block-shuffles its adversarial images.

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        num_blocks: k of Random Block Shuffle.
        block_shuffle: ``"batch"`` (one draw for the global batch, the reference), ``"image"`` or
            ``"equal"``; see :func:`rlfat_tf.core.transforms.draw_blocks`.
        **kwargs: Those of :class:`AdversarialModel`.
    """

    def __init__(
        self, model: Any, *, num_blocks: int = 2, block_shuffle: str = "batch", **kwargs: Any
    ):
        if block_shuffle not in transforms.BLOCK_SHUFFLES:
            raise unknown("block shuffle", block_shuffle, transforms.BLOCK_SHUFFLES)
        if int(num_blocks) != num_blocks or num_blocks < 1:
            raise ValueError(f"Expected num_blocks to be an integer >= 1; got {num_blocks}.")
        super().__init__(model, **kwargs)
        self.num_blocks = int(num_blocks)
        self.block_shuffle = block_shuffle

    def shuffle(self, images: Any, seed: random.SeedLike) -> Any:
        """Random Block Shuffle with the draw of the seed."""
        return transforms.random_block_shuffle(
            images, self.num_blocks, mode=self.block_shuffle, seed=seed
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"num_blocks": self.num_blocks, "block_shuffle": self.block_shuffle}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("rlfat_tf")
class RBSATP(BlockShuffled):
    """The RLFL part of RLFAT_P alone: CE(f(RBS(x')), y) (Eq. 7).

    ``adv_accuracy`` of training is measured on RBS(x'), the images that the loss sees.
    """

    terms = ("adv_loss",)

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
        """CE(f(RBS(x')), y)."""
        shuffled_logits = logits(batch.shuffle(batch.adversarial))
        adv_loss = losses.cross_entropy(batch.labels, shuffled_logits)
        return Objective(adv_loss, {"adv_loss": adv_loss}, adversarial_logits=shuffled_logits)


@keras.saving.register_keras_serializable("rlfat_tf")
class RBSATT(BlockShuffled, TRADES):
    """The RLFL part of RLFAT_T alone: CE(f(x), y) + lambda KL(p(x) || p(RBS(x'))) (Eq. 8).

    ``adv_accuracy`` of training is measured on RBS(x'), the images that the loss sees. Arguments
    as :class:`BlockShuffled` and :class:`TRADES`.
    """

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
        """CE(f(x), y) + lambda KL(p(x) || p(RBS(x')))."""
        clean_logits = logits(batch.images)
        shuffled_logits = logits(batch.shuffle(batch.adversarial))
        clean_loss = losses.cross_entropy(batch.labels, clean_logits)
        kl_loss = losses.kl_divergence(clean_logits, shuffled_logits)
        return Objective(
            clean_loss + self.trades_lambda * kl_loss,
            {"clean_loss": clean_loss, "kl_loss": kl_loss},
            clean_logits,
            shuffled_logits,
        )


@keras.saving.register_keras_serializable("rlfat_tf")
class RLFATP(BlockShuffled):
    """RLFAT_P (Eq. 10 with Eqs. 7 and 9).

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        eta: Weight of the logit alignment.
        **kwargs: Those of :class:`BlockShuffled`.
    """

    terms = ("adv_loss", "alignment_loss")

    def __init__(self, model: Any, *, eta: float = 0.5, **kwargs: Any):
        super().__init__(model, **kwargs)
        self.eta = float(eta)

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
        """CE(f(RBS(x')), y) + eta ||f(RBS(x')) - f(x')||^2."""
        shuffled_logits = logits(batch.shuffle(batch.adversarial))
        adversarial_logits = logits(batch.adversarial)
        adv_loss = losses.cross_entropy(batch.labels, shuffled_logits)
        alignment_loss = losses.squared_distance(shuffled_logits, adversarial_logits)
        return Objective(
            adv_loss + self.eta * alignment_loss,
            {"adv_loss": adv_loss, "alignment_loss": alignment_loss},
            adversarial_logits=adversarial_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "eta": self.eta}


@keras.saving.register_keras_serializable("rlfat_tf")
class RLFATT(RBSATT):
    """RLFAT_T (Eq. 10 with Eqs. 8 and 9).

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        eta: Weight of the logit alignment.
        **kwargs: Those of :class:`RBSATT`.
    """

    terms: tuple[str, ...] = ("clean_loss", "kl_loss", "alignment_loss")

    def __init__(self, model: Any, *, eta: float = 1.0, **kwargs: Any):
        super().__init__(model, **kwargs)
        self.eta = float(eta)

    def objective(self, logits: Callable[[Any], Any], batch: Batch) -> Objective:
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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "eta": self.eta}
