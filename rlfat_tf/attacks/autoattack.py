"""AutoAttack: four attacks, one after the other, on what still stands.

    attack = rlfat_tf.attacks.AutoAttack(epsilon=8 / 255)
    adversarial = attack(logits_fn, images, labels, seed=0)        # like any attack

(Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Callable

from rlfat_tf.attacks.apgd import APGD, APGDT
from rlfat_tf.attacks.arguments import argument, choice, count, number
from rlfat_tf.attacks.base import Attack
from rlfat_tf.attacks.ensemble import Ensemble
from rlfat_tf.attacks.fab import FABT
from rlfat_tf.attacks.square import Square
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown

STANDARD = ("apgd_ce", "apgd_t", "fab_t", "square")
RAND = ("apgd_ce", "apgd_dlr")
VERSIONS = ("standard", "rand", "custom")
RAND_PASSES = 20

Make = Callable[[dict[str, Any], float, int], Attack]


def _times(budget: float, count: int) -> int:
    return max(1, round(budget * count))


# From (norm and epsilon, budget, passes over a randomised classifier) to an attack.
COMPONENTS: dict[str, Make] = {
    "apgd_ce": lambda ball, b, eot: APGD(**ball, loss="ce", steps=_times(b, 100), eot=eot),
    "apgd_dlr": lambda ball, b, eot: APGD(**ball, loss="dlr", steps=_times(b, 100), eot=eot),
    "apgd_t": lambda ball, b, eot: APGDT(**ball, steps=_times(b, 100), eot=eot),
    "fab_t": lambda ball, b, eot: FABT(**ball, steps=_times(b, 100)),
    # The schedule is that of 10,000 queries, cut off: so do the authors.
    "square": lambda ball, b, eot: Square(**ball, queries=_times(b, 5000), rescale_schedule=False),
}


def _check_names(attack: Attack, name: str, value: Sequence[str]) -> tuple[str, ...] | None:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(
            "Expected the parts of AutoAttack as a tuple of names, ('apgd_ce', 'square'); received "
            f"{value!r}."
        )
    for part in value:
        if part not in COMPONENTS:
            raise unknown("part of AutoAttack", part, COMPONENTS)
    return tuple(value) or None


@keras.saving.register_keras_serializable("rlfat_tf")
class AutoAttack(Ensemble):
    """AutoAttack, the ensemble of attacks by which the literature compares robust accuracies.

    ``"standard"`` is APGD-CE (100 steps), APGD-T (9 targets, 100 steps each), FAB-T (9 targets) and
    Square (5,000 queries). ``"rand"`` is for classifiers whose predictions are random: APGD-CE and
    APGD-DLR, which average every gradient over 20 passes. Each attack runs only on the examples
    that are robust under those before it. With fewer than 4 (3) classes the targeted (untargeted)
    DLR loss is replaced by the plain difference of logits; there are at most K - 1 targets.
    """

    version: str = choice(
        "standard", VERSIONS, "Version of AutoAttack: 'standard', 'rand' or 'custom'."
    )
    attacks: tuple[str, ...] | None = argument(
        None, "Parts of the version 'custom', in their order: names of COMPONENTS.", _check_names
    )
    budget: float = number(
        1.0,
        "Factor on all numbers of steps and queries. Below 1 the attack is faster, but it is no "
        "longer AutoAttack as defined in the literature.",
        above=0,
    )
    eot: int | None = count(
        None,
        "For randomised classifiers: number of passes over which the APGD parts average every "
        "loss and gradient. Not for 'standard', which is for deterministic classifiers. "
        "Default: 20 with 'rand', otherwise 1.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.version == "custom") != bool(self.attacks):
            raise ValueError(
                f"Expected names of attacks with version='custom' and only there; received "
                f"version={self.version!r} and attacks={self.attacks!r}. Known: "
                f"{', '.join(COMPONENTS)}."
            )
        if self.eot is not None and self.version == "standard":
            raise ValueError(
                f"AutoAttack's version 'standard' looks at single passes; received eot={self.eot}. "
                "For randomised classifiers use version='rand'."
            )

    @property
    def components(self) -> dict[str, Attack]:
        """The attacks in their order, by name."""
        names = self.attacks or (RAND if self.version == "rand" else STANDARD)
        eot = self.eot or (RAND_PASSES if self.version == "rand" else 1)
        ball = {"norm": self.norm, "epsilon": self.epsilon}
        return {name: COMPONENTS[name](ball, self.budget, eot) for name in names}
