"""The arguments of an attack, each declared once: its default, what it means and its range.

    class Noise(Bounded, Search):
        tries: int = count(10, "How many corners are tried.")

Every function here makes a field of a frozen dataclass. Its metadata hold the help text, the
choices, the check and, where the default follows from other arguments, how. What is left open is
None: ``derive`` completes it, or whoever runs the attack does.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import textwrap
from collections.abc import Iterable
from typing import Any, Callable

from rlfat_tf.core import norms
from rlfat_tf.core.errors import unknown

Check = Callable[[Any, str, Any], Any]  # from (attack, name, value) to the value that is kept
Derive = Callable[[Any], Any]  # from an attack, of which all earlier fields are complete


def argument(
    default: Any,
    help: str,
    check: Check | None = None,
    *,
    choices: Iterable[str] | None = None,
    derive: Derive | None = None,
    length: bool = False,
) -> Any:
    """A field with its help text and its check; with the default None it may be left open.

    A ``length`` is one in the space of images, which grows with the ball.
    """
    metadata = {
        "help": help,
        "check": check,
        "choices": choices,
        "derive": derive,
        "length": length,
    }
    return dataclasses.field(default=default, metadata=metadata)


def fixed(value: Any) -> Any:
    """A field that is no argument, because the class says what it is."""
    return dataclasses.field(default=value, init=False)


def fixed_length(length: float | Derive) -> Any:
    """A length in the space of images that is no argument: a number, or how it follows."""
    derive = length if callable(length) else None
    metadata = {"derive": derive, "length": True}
    return dataclasses.field(default=None if derive else length, init=False, metadata=metadata)


def count(default: int | None, help: str) -> Any:
    """An integer of at least 1."""
    return argument(default, help, check_count)


def number(
    default: float | None,
    help: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """A finite number within bounds."""
    bounds = {"above": above, "of at least": at_least, "at most": at_most}
    words = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)

    def check(attack: Any, name: str, value: Any) -> float:
        kept = _float(name, value)
        if (
            not math.isfinite(kept)
            or (above is not None and kept <= above)
            or (at_least is not None and kept < at_least)
            or (at_most is not None and kept > at_most)
        ):
            raise ValueError(f"Expected {name} to be a finite number {words}; received {value}.")
        return kept

    return argument(default, help, check)


def size(default: float, help: str) -> Any:
    """A finite number above 0."""
    return number(default, help, above=0)


def switch(default: bool, help: str) -> Any:
    """True or False."""
    return argument(default, help, lambda attack, name, value: bool(value))


def choice(default: str | None, choices: Iterable[str], help: str) -> Any:
    """One of several names."""
    known = tuple(choices)

    def check(attack: Any, name: str, value: Any) -> str:
        if value not in known:
            raise unknown(name, value, known)
        return str(value)

    return argument(default, help, check, choices=known)


def radius() -> Any:
    """The radius of the ball of an attack that has a norm."""
    return argument(
        None,
        "Greatest perturbation, in the norm, for pixels in [0, 1]. Default: 8 / 255 in 'linf', "
        "0.5 in 'l2'.",
        lambda attack, name, value: check_epsilon(value, attack.norm),
        derive=lambda attack: check_epsilon(None, attack.norm),
        length=True,
    )


def step_length(help: str, derive: Derive) -> Any:
    """The length of a step in a ball; a ball of radius 0 has room for none."""

    def check(attack: Any, name: str, value: Any) -> float:
        kept = _float(name, value)
        if not math.isfinite(kept) or kept < 0 or kept == 0 < attack.epsilon:
            raise ValueError(f"Expected {name} to be a finite number above 0; received {value}.")
        if kept > 1 and getattr(attack, "norm", "linf") == "linf":
            raise ValueError(
                f"Expected {name} in units of pixels in [0, 1], at most 1; received {value}. Did "
                f"you mean {value} / 255?"
            )
        return kept

    return argument(None, help, check, derive=derive, length=True)


def start_kind(default: str | None, help: str) -> Any:
    """Where an attack starts; not every norm knows every start."""

    def check(attack: Any, name: str, value: Any) -> str:
        known = norms.get(attack.norm).starts
        having = [other for other, norm in norms.NORMS.items() if value in norm.starts]
        if having and value not in known:
            raise ValueError(
                f"The {name} {value!r} is for the norm {' and '.join(having)}; the norm "
                f"{attack.norm} has {', '.join(known)}."
            )
        if value not in known:
            raise unknown(f"{name} in the norm {attack.norm!r}", value, known)
        return str(value)

    return argument(default, help, check, choices=norms.STARTS)


def check_count(attack: Any, name: str, value: Any) -> int:
    """Returns a count; refuses what is not an integer of at least 1.

    Raises:
        ValueError: If it is not.
    """
    kept = _float(name, value)
    if not math.isfinite(kept) or kept != int(kept) or kept < 1:
        raise ValueError(f"Expected {name} to be an integer of at least 1; received {value}.")
    return int(value)


def check_epsilon(epsilon: float | None, norm: str) -> float:
    """Refuses a norm that does not exist and a radius that is not in units of [0, 1] pixels.

    Args:
        epsilon: The radius; None: the norm's usual one. A radius of one norm means something else
            in the other, so no number is the default of both.
        norm: ``"linf"`` or ``"l2"``.

    Returns:
        The radius.

    Raises:
        ValueError: If the norm is unknown, or if epsilon is negative or not finite, or above 1 in
            the maximum norm.
    """
    usual = norms.get(norm).usual_epsilon
    epsilon = _float("epsilon", usual if epsilon is None else epsilon)
    if not math.isfinite(epsilon) or epsilon < 0:
        raise ValueError(f"Expected a finite epsilon >= 0; received {epsilon}.")
    if norm == "linf" and epsilon > 1:
        raise ValueError(
            f"Expected epsilon in units of pixels in [0, 1]; received {epsilon}. "
            f"Did you mean {epsilon:g}/255?"
        )
    return epsilon


def complete(attack: Any) -> dict[str, Any]:
    """Checks the fields of a new frozen dataclass and derives those that were left open.

    Returns:
        The arguments as they were given, in the types in which they are kept.

    Raises:
        ValueError: If one is out of its range.
    """
    given = {}
    for field in fields_of(attack):
        value, argument = getattr(attack, field.name), field.metadata
        if argument.get("check") and not (value is None and field.default is None):
            value = argument["check"](attack, field.name, value)
        if field.init:
            given[field.name] = value
        if value is None and argument.get("derive"):
            value = argument["derive"](attack)
        object.__setattr__(attack, field.name, value)
    return given


def fields_of(attack: Any) -> tuple[dataclasses.Field[Any], ...]:
    """Returns the fields of an attack or of its class."""
    return dataclasses.fields(attack)


def by_keyword_only(cls: type[Any]) -> Any:
    """Returns the constructor of a dataclass, made to take its arguments by keyword only."""
    init, names = cls.__init__, [field.name for field in fields_of(cls) if field.init]

    @functools.wraps(init)
    def by_keyword(self: Any, *positional: Any, **arguments: Any) -> None:
        wrong = [repr(value) for value in positional] + [n for n in arguments if n not in names]
        if wrong:
            raise TypeError(
                f"{cls.__name__} takes these arguments, by keyword: {', '.join(names) or 'none'}; "
                f"received {', '.join(wrong)}."
            )
        init(self, **arguments)

    parameters = list(inspect.signature(init).parameters.values())
    for place, parameter in enumerate(parameters[1:], 1):
        parameters[place] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    by_keyword.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return by_keyword


def docstring_with_arguments(cls: type[Any]) -> str:
    """Returns the docstring of an attack and what its fields say of themselves."""
    told = [field for field in fields_of(cls) if field.init and "help" in field.metadata]
    indents: Any = {"initial_indent": " " * 4, "subsequent_indent": " " * 8}
    lines = [
        textwrap.fill(f"{field.name}: {field.metadata['help']}", 100, **indents) for field in told
    ]
    head = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    if not lines:
        return head
    error = "Raises:\n    ValueError: If an argument is out of its range."
    return "\n\n".join([head, "\n".join(["Args:", *lines]), error])


def _float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        hint = " Write a fraction without quotes: 8 / 255." if "/" in str(value) else ""
        raise ValueError(f"Expected {name} to be a number; received {value!r}.{hint}") from None
