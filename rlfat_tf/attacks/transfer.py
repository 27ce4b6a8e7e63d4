"""Transfer: examples made on one classifier, tried on another."""

from __future__ import annotations

from typing import Any

from rlfat_tf.attacks.arguments import argument
from rlfat_tf.attacks.base import Attack
from rlfat_tf.core import random
from rlfat_tf.core.types import Images, Labels, LogitsFn


class Transfer(Attack):
    """Runs an attack against a source classifier, whatever classifier it is called for.

    It needs no gradient of the target and shows when the target merely hides its own (Papernot et
    al., "Transferability in Machine Learning", 2016; Athalye et al., "Obfuscated Gradients Give a
    False Sense of Security", ICML 2018). Its ball is that of its attack.
    """

    attack: Attack = argument(None, "The attack to run.")
    source: Any = argument(
        None,
        "The source, with attributes logits_fn and name; for instance "
        "rlfat_tf.evaluation.Classifier.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.attack, Attack) or not hasattr(self.source, "logits_fn"):
            raise ValueError(
                "Expected an attack and the classifier on which it is to run, "
                "Transfer(attack=LinfPGD(...), source=as_classifier(model)); received "
                f"attack={self.attack!r} and source={self.source!r}."
            )

    @property
    def norm(self) -> str:
        """The norm of the attack's ball."""
        return self.attack.norm  # type: ignore[attr-defined]

    @property
    def epsilon(self) -> float:
        """The radius of the attack's ball."""
        return self.attack.epsilon  # type: ignore[attr-defined]

    @property
    def reach(self) -> float:
        """How far an example of the attack may be from its image."""
        return getattr(self.attack, "reach", self.epsilon)

    @property
    def eot(self) -> int:
        """Over how many passes the attack averages."""
        return self.attack.eot  # type: ignore[attr-defined]

    def replace(self, **changes: Any) -> Transfer:
        """Returns the same with another attack or source, or with arguments of the attack changed.

        Args:
            **changes: ``attack``, ``source``, and arguments of the attack.
        """
        attack, source = changes.pop("attack", self.attack), changes.pop("source", self.source)
        return Transfer(attack=attack.replace(**changes), source=source)

    def __repr__(self) -> str:
        return f"Transfer({self.attack!r}, source={self.source.name!r})"

    def run(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, unroll: bool
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        return self.attack.run(self.source.logits_fn, images, labels, seed, unroll)
