"""Transfer: examples made on one classifier, tried on another."""

from __future__ import annotations

from typing import Any

from rlfat_tf.attacks.base import Attack, LogitsFn
from rlfat_tf.core import random


class Transfer(Attack):
    """Runs an attack against a source classifier, whatever classifier it is called for.

    It needs no gradient of the target and shows when the target merely hides its own (Papernot et
    al., "Transferability in Machine Learning", 2016; Athalye et al., "Obfuscated Gradients Give a
    False Sense of Security", ICML 2018).

    Args:
        attack: The attack to run.
        source: The source, with attributes ``logits_fn`` and ``name``; for instance
            :class:`rlfat_tf.evaluation.Classifier`.
    """

    def __init__(self, attack: Attack, source: Any):
        super().__init__(**attack.get_config())
        self.attack, self.source = attack, source

    def __repr__(self) -> str:
        return f"Transfer({self.attack!r}, source={self.source.name!r} {self.source.fingerprint})"

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        return self.attack.run(self.source.logits_fn, images, labels, seed, unroll)
