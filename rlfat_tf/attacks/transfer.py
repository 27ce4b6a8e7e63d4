"""Transfer: examples made on one classifier, tried on another."""

from __future__ import annotations

from typing import Any

from rlfat_tf.attacks.arguments import argument
from rlfat_tf.attacks.wrapping import Wrapping
from rlfat_tf.core import random
from rlfat_tf.core.types import Images, Labels, LogitsFn


class Transfer(Wrapping):
    """Runs an attack against a source classifier, whatever classifier it is called for.

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

    def __repr__(self) -> str:
        return f"Transfer({self.attack!r}, source={self.source.name!r})"

    def run(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, unroll: bool
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        return self.attack.run(self.source.logits_fn, images, labels, seed, unroll)
