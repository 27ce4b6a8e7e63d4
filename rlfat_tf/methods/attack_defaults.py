"""What a method makes of the attack of training that it is given: what it fills in and refuses."""

from __future__ import annotations

from typing import Any

from rlfat_tf.attacks import Attack, Targeted, Transfer
from rlfat_tf.attacks.base import check_attack, check_within_ball
from rlfat_tf.attacks.pgd import PGD_IN_NORM
from rlfat_tf.attacks.targeted import check_has_target
from rlfat_tf.attacks.wrapping import Wrapping, attacks_in, innermost

DISTANCES = {"kl": "KL(p(x) || p(x'))", "lse": "||p(x') - p(x)||^2"}  # from the clean prediction


def check_of_model(attack: Any) -> None:
    """Refuses what is no attack that a model can have and be saved with.

    Raises:
        TypeError: If it is no attack.
        ValueError: If it goes towards the labels, or has another classifier as its source.
    """
    check_attack(attack)
    check_has_target(attack)
    if any(isinstance(each, Transfer) for each in attacks_in(attack)):
        raise ValueError(
            f"Expected an attack that can be saved with the model; received {attack!r}, whose "
            "source is another classifier. Evaluate by rlfat_tf.evaluation.evaluate(model, "
            "data, attacks={'transfer': Transfer(...)})."
        )


def check_of_evaluation(attack: Any) -> None:
    """Refuses what cannot measure the robustness of the model that has it.

    Raises:
        TypeError: If it is no attack.
        ValueError: If :func:`check_of_model` refuses it, its examples may leave the ball of
            epsilon, or it goes towards a class.
    """
    check_of_model(attack)
    check_within_ball(attack)
    if any(isinstance(each, Targeted) for each in attacks_in(attack)):
        raise ValueError(
            f"Expected an attack after which an example that is still correctly classified is "
            f"robust; received {attack!r}, which fails for every example that it does not move to "
            "its target. Give the attack without Targeted, and evaluate towards a class by "
            "rlfat_tf.evaluation.evaluate(model, data, targeted=...)."
        )


def completed(attack: Attack, loss: str, start: str) -> Attack:
    """Returns the attack of training with what it leaves open filled in.

    An attack of one step starts uniformly where nothing else is said: next to the image, where the
    papers of the KL methods start, the first gradient of the divergence is close to its zero.

    Args:
        attack: The attack.
        loss: What the paper of the method ascends.
        start: Where it starts.

    Raises:
        TypeError: If it is no attack.
        ValueError: If it would ascend a distance from the clean prediction from where that has no
            gradient to follow.
    """
    check_attack(attack)
    config = innermost(attack).get_config()
    defaults = {"loss": loss, "random_start": "uniform" if has_one_step(attack) else start}
    attack = attack.replace(**{k: v for k, v in defaults.items() if config.get(k, v) is None})
    inner = innermost(attack)
    ascends, starts = getattr(inner, "loss", None), getattr(inner, "random_start", None)
    if ascends in DISTANCES and (
        starts == "none" or (starts == "gaussian" and has_one_step(attack))
    ):
        raise ValueError(
            f"{DISTANCES[ascends]} has its minimum at x' = x: the first step of {attack!r} has no "
            "gradient to follow, or next to none. Start uniformly in the ball: "
            "random_start='uniform', from the command line --attack_random_start=uniform."
        )
    return attack


def of_evaluation(attack: Any) -> Attack:
    """Returns the attack of evaluation that belongs to one of training.

    That is the same with cross entropy and a uniform start, so that methods can be compared; for an
    attack of one step, which a classifier may learn to withstand and no other, PGD with 10 steps.
    Of an attack towards a class it is the one that goes anywhere.
    """
    if isinstance(attack, Targeted):
        return of_evaluation(attack.attack)
    if has_one_step(attack):
        made: Attack = PGD_IN_NORM[attack.norm](
            epsilon=attack.epsilon, eot=attack.eot, loss="ce", random_start="uniform"
        )
        return around(attack, made)
    config = innermost(attack).get_config()
    defaults = {"loss": "ce", "random_start": "uniform"}
    same: Attack = attack.replace(**{k: v for k, v in defaults.items() if k in config})
    return same


def around(attack: Attack, inner: Attack) -> Attack:
    """Puts another attack into the place of the one that is run in the end."""
    if not isinstance(attack, Wrapping):
        return inner
    return attack.replace(attack=around(attack.attack, inner))


def has_one_step(attack: Any) -> bool:
    """Tells whether an attack takes one step of its gradient, whatever is around it."""
    attack = innermost(attack)
    return getattr(attack, "steps", None) == 1 and hasattr(attack, "random_start")


def check_warmup(method: type[Any], attack: Attack | None) -> None:
    """Refuses a radius that grows where there is none, or the attack could not follow.

    Raises:
        ValueError: If that is so.
    """
    own_radius = hasattr(method, "epsilon")  # by which the method itself makes its examples
    if attack is None and not own_radius:
        raise ValueError(
            f"{method.__name__} has no epsilon to warm up: {method.instead_of_an_attack}."
        )
    if attack is not None and not attack.scales:
        raise ValueError(
            f"epsilon_warmup needs an attack whose radius may grow: PGD, FGSMRS, NFGSM, "
            f"FeatureScatter, or one that sets scales = True. Received {attack!r}."
        )


def check_norm(method: type[Any], norm: str) -> None:
    """Refuses a ball of a norm that the method does not know.

    Raises:
        ValueError: If it does not.
    """
    if norm != "linf" and method.knows_linf_only is not None:
        raise ValueError(
            f"{method.__name__} knows the maximum norm only: {method.knows_linf_only}. Received "
            f"the norm {norm!r}; train in it by pgdat, trades or a method of RLFAT."
        )
