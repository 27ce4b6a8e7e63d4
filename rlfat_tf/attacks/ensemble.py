"""Attacks one after the other, each on what those before it have left."""

from __future__ import annotations

from typing import Any

from rlfat_tf.attacks.base import Attack, Bounded, Search, attack_remaining, passes_of
from rlfat_tf.attacks.passes import value_of
from rlfat_tf.attacks.points import keep_better
from rlfat_tf.core import losses, random
from rlfat_tf.core.types import Images, Labels, Logits, LogitsFn, Tensor


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
        eot = passes_of(self)
        for name, attack in self.components.items():

            def attempt(
                images: Images,
                labels: Labels,
                before: Images,
                seed: random.Seed,
                attack: Attack = attack,
            ) -> Images:
                attack = attack if self.stops else attack.to_the_end()
                after = attack(logits_fn, images, labels, seed=seed, checked=True)
                if self.stops and eot == 1:  # what was there before is correctly classified
                    return after

                def margin(points: Images) -> Tensor:
                    def objective(logits: Logits) -> Tensor:
                        return losses.negative_margin(labels, logits)

                    return value_of(logits_fn, objective, points, labels, eot=eot)[0]

                return keep_better((before, margin(before)), (after, margin(after)))[0]

            some = seed.fold(random.number(name))
            how: dict[str, Any] = {"eot": eot, "stops": self.stops}
            found = attack_remaining(attempt, logits_fn, images, labels, some, found, **how)
        return found
