"""Attacks one after the other, each on what those before it have left."""

from __future__ import annotations

from rlfat_tf.attacks.base import Attack, Bounded, Search, attack_remaining
from rlfat_tf.core import random
from rlfat_tf.core.types import Images, Labels, LogitsFn


class Ensemble(Bounded, Search):
    """Base of the attacks that are several; a subclass names its ``components``.

    Called, it runs as one graph. An evaluation runs part by part, and packs what a part has left
    into full batches.
    """

    @property
    def components(self) -> dict[str, Attack]:
        """The attacks in their order, by name."""
        raise TypeError(f"{type(self).__name__} does not name its components.")

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        found = images
        for name, attack in self.components.items():

            def attempt(
                images: Images,
                labels: Labels,
                _: Images,
                seed: random.Seed,
                attack: Attack = attack,
            ) -> Images:
                return attack(logits_fn, images, labels, seed=seed, checked=True)

            some = seed.fold(random.number(name))
            found = attack_remaining(attempt, logits_fn, images, labels, some, found)
        return found
