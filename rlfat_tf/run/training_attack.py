"""The attack of training that the flags describe."""

from __future__ import annotations

from typing import Any, Protocol

from rlfat_tf.attacks import FGSMRS, NFGSM, Attack
from rlfat_tf.attacks.arguments import check_epsilon
from rlfat_tf.attacks.pgd import PGD_IN_NORM
from rlfat_tf.core.errors import warn
from rlfat_tf.methods import METHODS
from rlfat_tf.methods.attack_defaults import check_norm, check_warmup, completed
from rlfat_tf.run import epsilon_warmup


class AttackFlags(Protocol):
    """What is read here of :class:`rlfat_tf.run.config.TrainConfig`, which checks itself by it."""

    @property
    def method(self) -> str: ...  # noqa: D102

    @property
    def attack(self) -> str: ...  # noqa: D102

    @property
    def attack_norm(self) -> str: ...  # noqa: D102

    @property
    def epsilon(self) -> float: ...  # noqa: D102

    @property
    def epsilon_warmup(self) -> str: ...  # noqa: D102


# Of each value of --attack, the attack of each norm in which it exists.
TRAINING_ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": PGD_IN_NORM,
    "fgsm_rs": {"linf": FGSMRS},
    "n_fgsm": {"linf": NFGSM},
}
SETTINGS = {
    "attack_steps": "steps",
    "attack_step_size": "step_size",
    "attack_random_start": "random_start",
}


def training_attack(config: AttackFlags) -> Attack:
    """Makes the attack of ``--attack``.

    Raises:
        ValueError: If it does not exist in ``--attack_norm``, or a setting is out of its range.
    """
    norms = TRAINING_ATTACKS[config.attack]
    if config.attack_norm not in norms:
        raise ValueError(
            f"--attack={config.attack} exists in the maximum norm only: its step is along the sign "
            f"of the gradient. Received --attack_norm={config.attack_norm}; use --attack=pgd."
        )
    kind = norms[config.attack_norm]
    settings = {SETTINGS[flag]: getattr(config, flag) for flag in read_by(kind)}
    attack: Attack = kind(epsilon=config.epsilon, **settings)
    return attack


def read_by(attack: Any) -> list[str]:
    """Returns the flags that an attack or a kind of attacks reads."""
    arguments = [name for name, field in attack.__dataclass_fields__.items() if field.init]
    return [flag for flag, argument in SETTINGS.items() if argument in arguments]


def check_attack(config: AttackFlags) -> None:
    """Refuses an attack that does not go with the method, or a radius with the norm.

    Raises:
        ValueError: If they do not.
    """
    method, norm = METHODS[config.method], config.attack_norm
    check_epsilon(config.epsilon, norm)
    check_norm(method, norm)
    if norm == "l2" and config.epsilon == 8 / 255:
        raise ValueError(
            "--attack_norm=l2 also needs --epsilon: its default is a radius of the maximum norm. "
            "Usual on CIFAR-10 is --epsilon=0.5."
        )
    attack = training_attack(config)
    taken = method.attacks_of_flags(attack).get("attack")
    if epsilon_warmup.parse(config.epsilon_warmup):
        check_warmup(method, taken)
    if taken is attack:
        completed(attack, method.attack_loss, method.attack_start)
    elif config.attack != "pgd":
        instead = method.instead_of_an_attack or f"its attack is {type(taken).__name__}"
        raise ValueError(
            f"--method={config.method} has no use for --attack={config.attack}: {instead}. Leave "
            "--attack out."
        )


def warn_of_short_steps(attack: Any) -> None:
    """Warns of steps that cannot lead to the border of the ball, as those of another radius."""
    if hasattr(attack, "step_size") and attack.steps * attack.step_size < attack.epsilon / 2:
        warn(
            f"The {attack.steps} attack steps of length {attack.step_size:g} together are shorter "
            f"than half of epsilon={attack.epsilon:g}. Are --attack_steps and --attack_step_size, "
            "on the command line or in the recipe, meant for another epsilon?"
        )
