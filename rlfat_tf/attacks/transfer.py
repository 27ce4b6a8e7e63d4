"""Transfer: examples made on one classifier, tried on another."""

from __future__ import annotations

from typing import Any

from rlfat_tf.attacks.arguments import argument
from rlfat_tf.attacks.base import Attack
from rlfat_tf.attacks.wrapping import Wrapping, innermost
from rlfat_tf.core import random
from rlfat_tf.core.errors import warn
from rlfat_tf.core.types import Images, Labels, LogitsFn


def warn_of_border(attack: Attack) -> None:
    """Warns of an attack that cannot be run for another classifier than the one at hand."""
    inner = innermost(attack)
    if inner.ends_at_border:
        warn(
            f"{type(inner).__name__} goes no further than the border of the source's classes, and "
            "leaves what the source misclassifies as it is: another classifier looks robust. For a "
            "transfer use PGD, MIM or APGD."
        )


class Transfer(Wrapping):
    """Runs an attack against a source classifier, whatever classifier it is called for.

    What the source misclassifies is no success, so that attacks which stop there go on, also for
    images that the source alone gets wrong: MIM, APGD, Square and the like return their point of
    the greatest loss. FAB and Carlini & Wagner's attacks, which look for the nearest example, and
    N-attack, which is content with any, cannot: they end at the border of the source's classes,
    tell little of another classifier, and are warned of.

    It needs no gradient of the target and shows when the target merely hides its own (Papernot et
    al., "Transferability in Machine Learning", 2016; Athalye et al., "Obfuscated Gradients Give a
    False Sense of Security", ICML 2018). Its ball is that of its attack.
    """

    source: Any = argument(
        None,
        "The source, with attributes logits_fn and name; for instance "
        "rlfat_tf.evaluation.Classifier.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self.source, "logits_fn"):
            raise ValueError(
                "Expected the classifier on which the attack is to run, "
                "Transfer(attack=LinfPGD(...), source=as_classifier(model)); received "
                f"source={self.source!r}."
            )
        warn_of_border(self.attack)

    def __repr__(self) -> str:
        return f"Transfer({self.attack!r}, source={self.source.name!r})"

    def run(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, unroll: bool
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        attack = self.attack.to_the_end()
        return attack.run(self.source.logits_fn, images, labels, seed, unroll)
