"""The attacks of ``eval.py`` by name, with the settings that the literature gives them."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

from rlfat_tf.attacks import (
    CWL2,
    FGSM,
    MIM,
    PGD,
    SPSA,
    Attack,
    AutoAttack,
    CWTanh,
    Fast,
    NAttack,
    Targeted,
    Transfer,
)
from rlfat_tf.attacks.arguments import (
    argument,
    choice,
    complete,
    count,
    number,
    radius,
    step_length,
)
from rlfat_tf.attacks.autoattack import COMPONENTS, VERSIONS
from rlfat_tf.attacks.pixels import on_grid
from rlfat_tf.attacks.targeted import check_target
from rlfat_tf.core.errors import unknown, warn
from rlfat_tf.core.losses import ATTACK_LOSSES
from rlfat_tf.core.norms import NORMS

PIXELS = ("float", "8bit")


def step_size(norm: str, epsilon: float, steps: int) -> float:
    """Returns how long the steps of gradient attacks are in evaluations.

    In the maximum norm as in the literature, epsilon / 10, and longer where so few could not cross
    the ball. In the Euclidean norm a uniform start lies on the border and at a right angle to the
    gradient, and the steps must turn it: those of epsilon / 10 reach 96 % of what is within reach
    on a linear classifier in 20, those of epsilon / 5 reach 99.9 %.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        epsilon: Radius of the ball.
        steps: How many there are.
    """
    if norm == "l2":
        return 4 * epsilon / steps
    # No longer than from black to white.
    return epsilon / 10 if steps >= 10 else min(1.0, 2.5 * epsilon / steps)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the attacks of one evaluation have in common; ``eval.py`` takes its options from here.

    Raises:
        ValueError: If a setting is out of its range.
    """

    norm: str = choice("linf", NORMS, "Norm in which epsilon bounds the perturbation.")
    epsilon: float = radius()
    steps: int = count(20, "Number of steps of pgd, cw, mim and transfer.")
    step_size: float = step_length(
        "Length of these steps. Default: epsilon / 10, and 2.5 * epsilon / steps with fewer than "
        "10 steps, which could not cross the ball; in the norm l2 4 * epsilon / steps.",
        derive=lambda settings: step_size(settings.norm, settings.epsilon, settings.steps),
    )
    restarts: int = count(1, "Number of random starts of pgd and cw.")
    loss: str = choice("ce", ATTACK_LOSSES, "Loss that pgd ascends.")
    budget: float = number(
        1.0,
        "Factor on the numbers of steps and queries of autoattack, its parts, fast, nattack and "
        "spsa.",
        above=0,
    )
    eot: int | None = count(
        None,
        "For randomised classifiers: number of passes over which fgsm, mim, pgd, cw, transfer, "
        "fast and APGD average every loss and gradient. Default: 1, and 20 with the version "
        "rand of autoattack.",
    )
    version: str = choice("standard", VERSIONS, "Version of autoattack.")
    custom: tuple[str, ...] = argument((), "Parts of the version custom.")
    source: Any = argument(None, "The classifier on which transfer makes its examples.")
    targeted: Any = argument(
        None,
        "Run the attacks towards a class, instead of away from the label: its number, least_likely "
        "(the least logit of the clean image) or random (drawn for each example).",
        check_target,
    )
    pixels: str = choice(
        "float",
        PIXELS,
        "Pixels of adversarial images: float for any value in [0, 1], or 8bit for the values n "
        "/ 255 that image files hold.",
    )

    def __post_init__(self) -> None:
        complete(self)

    def times(self, count: int) -> int:
        """Returns a number of steps scaled by the budget."""
        return max(1, round(self.budget * count))

    @property
    def ball(self) -> dict[str, Any]:
        """The threat model as arguments of an attack."""
        return {"norm": self.norm, "epsilon": self.epsilon}

    @property
    def passes(self) -> int:
        """Over how many passes a gradient is averaged, where nothing else is the default."""
        return 1 if self.eot is None else self.eot

    @property
    def walk(self) -> dict[str, Any]:
        """Ball, steps and passes as arguments of an attack."""
        walk = {"steps": self.steps, "step_size": self.step_size, "eot": self.passes}
        return {**self.ball, **walk}


@dataclasses.dataclass(frozen=True)
class Entry:
    """An attack that ``--attacks`` knows.

    Attributes:
        make: From settings to the attack.
        about: One line of help.
        norms: The norms in which it exists.
        aims: Whether it can be run towards a class.
    """

    make: Callable[[Settings], Attack]
    about: str
    norms: tuple[str, ...] = ("linf", "l2")
    aims: bool = True


def _part(name: str) -> Callable[[Settings], Attack]:
    return lambda s: COMPONENTS[name](s.ball, s.budget, s.passes)


def _pgd(settings: Settings, loss: str, restarts: int) -> PGD:
    return PGD(**settings.walk, random_start="uniform", restarts=restarts, loss=loss, keep="best")


def _transfer(settings: Settings) -> Attack:
    if settings.source is None:
        raise ValueError(
            "The attack transfer makes its examples on another model: give it by --source_model "
            "(the folder of a run, a .keras file or a SavedModel)."
        )
    return Transfer(attack=_pgd(settings, settings.loss, restarts=1), source=settings.source)


EVALUATION_ATTACKS: dict[str, Entry] = {
    "fgsm": Entry(lambda s: FGSM(**s.ball, eot=s.passes), "one step"),
    "mim": Entry(lambda s: MIM(**s.walk), "momentum PGD"),
    "pgd": Entry(
        lambda s: _pgd(s, s.loss, s.restarts),
        "PGD-20, uniform start",
    ),
    "cw": Entry(
        lambda s: _pgd(s, "margin", s.restarts),
        "PGD on the Carlini-Wagner margin, confidence 50",
    ),
    "cw_tanh": Entry(
        lambda s: CWTanh(epsilon=s.epsilon),
        "Carlini-Wagner in the tanh variable, inside the ball",
        norms=("linf",),
    ),
    "cw_l2": Entry(
        # As near as the default's 1,000 steps on the nets tried, in a quarter of the time.
        lambda s: CWL2(steps=200, learning_rate=0.05),
        "unbounded Carlini-Wagner L2: its norm counts",
    ),
    "nattack": Entry(
        lambda s: NAttack(epsilon=s.epsilon, iterations=s.times(200)),
        "N-attack, gradient-free",
        norms=("linf",),
    ),
    "spsa": Entry(
        lambda s: SPSA(epsilon=s.epsilon, steps=s.times(100)),
        "SPSA, gradient-free",
        norms=("linf",),
    ),
    "transfer": Entry(_transfer, "PGD on --source_model, tried here"),
    "autoattack": Entry(
        lambda s: AutoAttack(
            **s.ball,
            version=s.version,
            attacks=s.custom or None,
            budget=s.budget,
            eot=None if s.version == "standard" else s.eot,
        ),
        "APGD-CE, APGD-T, FAB-T, Square",
        aims=False,
    ),
    "fast": Entry(
        lambda s: Fast(**s.ball, steps=s.times(50), eot=s.passes),
        "quick: apgd_ce, then apgd_t on 3 targets, 50 steps each; not AutoAttack",
        aims=False,
    ),
    "apgd_ce": Entry(_part("apgd_ce"), "of AutoAttack"),
    "apgd_dlr": Entry(_part("apgd_dlr"), "of AutoAttack's version rand"),
    "apgd_t": Entry(_part("apgd_t"), "of AutoAttack"),
    "fab_t": Entry(_part("fab_t"), "of AutoAttack"),
    "square": Entry(_part("square"), "of AutoAttack, gradient-free"),
}


def parse(names: str) -> list[str]:
    """Returns the names of ``--attacks``, without ``clean``, which is always measured.

    Raises:
        ValueError: If a name is unknown or there twice.
    """
    listed = [name.strip() for name in names.split(",") if name.strip()]
    for name in listed:
        if name != "clean" and name not in EVALUATION_ATTACKS:
            raise unknown("attack", name, ["clean", *EVALUATION_ATTACKS])
        if listed.count(name) > 1:
            raise ValueError(f"Expected every attack once in --attacks; {name!r} is there twice.")
    return [name for name in listed if name != "clean"]


def make(name: str, settings: Settings) -> Attack:
    """Makes the attack of that name; warns if it does not average over passes as asked.

    Raises:
        ValueError: If it does not exist in this norm, or a setting is out of its range.
    """
    entry = EVALUATION_ATTACKS[name]
    if settings.norm not in entry.norms:
        raise ValueError(
            f"The attack {name} exists in the norm {' and '.join(entry.norms)} only; received "
            f"norm={settings.norm!r}."
        )
    if settings.targeted is not None and not entry.aims:
        able = ", ".join(known for known, entry in EVALUATION_ATTACKS.items() if entry.aims)
        raise ValueError(
            f"The attack {name} cannot be targeted. Attacks that can are {able}; name them by "
            "attacks."
        )
    attack = entry.make(settings)
    if settings.pixels == "8bit":
        attack = on_grid(attack)
    if settings.targeted is not None:
        attack = Targeted(attack=attack, target=settings.targeted)
    parts = getattr(attack, "components", None) or {name: attack}
    single = [part for part, each in parts.items() if getattr(each, "eot", None) != settings.eot]
    if settings.passes > 1 and single:
        whole = len(single) == len(parts)
        which = f"The attack {name} does" if whole else f"{', '.join(single)} of {name} do"
        hint = " Its version rand does (--autoattack=rand)." if name == "autoattack" else ""
        warn(
            f"{which} not average over several passes: eot={settings.eot} changes nothing"
            f"{'.' if whole else ' there.'}{hint}"
        )
    return attack
