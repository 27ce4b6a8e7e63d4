"""The arguments that a method adds to those of all methods, declared once, in its class.

    class RLFATP(BlockShuffled):
        eta: float = number(0.5, "Weight of the logit alignment.", at_least=0)

makes ``RLFATP(model, eta=0.25)``, the attribute ``eta``, its entry in ``get_config`` and its check.
The fields are those of the attacks, see :mod:`rlfat_tf.attacks.arguments`; ``train.py`` takes the
help text, the choices and the check of its flag from here. A flag has the name of the argument,
unless :func:`flag_of` gives it another, or none.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from rlfat_tf.attacks.arguments import argument, check_count
from rlfat_tf.core.errors import unknown


def flag_of(name: str | None, option: Any) -> Any:
    """Gives the flag of an option another name than the option's; None: it has no flag."""
    metadata = {**option.metadata, "flag": name}
    return dataclasses.field(default=option.default, metadata=metadata)


def label_smoothing() -> Any:
    """The s of smoothed labels, (1 - s) y + s / K; None: the method's own, see the base class."""

    def check(method: Any, name: str, value: Any) -> float:
        if isinstance(value, (int, float)) and 0 <= value < 1:
            return float(value)
        raise ValueError(f"Expected {name.lstrip('-')} in [0, 1); received {value!r}.")

    text = (
        "Label smoothing s in the cross entropies of the objective, never in the attack: each "
        "of the K classes gets s / K, and the true one 1 - s more. Default: 0; for "
        "feature_scattering and atld the wrong classes share 0.5, as in their code."
    )
    return argument(None, text, check)


def epsilon_warmup() -> Any:
    """Over how many steps the radius of training grows, which every method has; see ``train.py``.

    The command line counts in epochs, so that this is no flag.
    """

    def check(method: Any, name: str, value: Any) -> int:
        return 0 if value == 0 else check_count(method, name, value)

    text = (
        "Number of optimizer steps over which epsilon, the random start and the steps of the "
        "training attack grow linearly: in step t, counted from 0, they are multiplied by "
        "min(1, (t + 1) / epsilon_warmup). With 0 they do not grow. evaluate and validation "
        "always use the whole epsilon."
    )
    return flag_of(None, argument(0, text, check))


def options_of(method: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Returns the options of a method by their names, those of its base classes first."""
    found: dict[str, dataclasses.Field[Any]] = {}
    for cls in reversed(method.__mro__):
        own = vars(cls).items()
        found.update((name, value) for name, value in own if isinstance(value, dataclasses.Field))
    return found


def flags_of(method: type[Any]) -> dict[str, str]:
    """Returns the names of a method's options by those of their flags."""
    flags = {option.metadata.get("flag", name): name for name, option in options_of(method).items()}
    return {flag: name for flag, name in flags.items() if flag is not None}


def checked_options(method: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of all options: those given, checked, and else the defaults.

    Raises:
        TypeError: If one is given that the method does not have.
        ValueError: If a value is out of its range.
    """
    options = options_of(method)
    for name in given:
        if name not in options:
            known = inspect.signature(method).parameters
            raise TypeError(str(unknown(f"argument of {method.__name__}", name, known)))
    return {
        name: checked_option(method, name, given.get(name, option.default))
        for name, option in options.items()
    }


def checked_option(method: type[Any], name: str, value: Any) -> Any:
    """Returns the value of an option, checked; of an attribute that is none, the value as it is.

    Raises:
        ValueError: If it is out of its range.
    """
    option = options_of(method).get(name)
    check = None if option is None else option.metadata["check"]
    left_open = option is not None and value is None and option.default is None
    return value if left_open or check is None else check(method, name, value)


def signature_with_options(method: type[Any]) -> inspect.Signature:
    """Returns the signature of a method's constructor, which takes its options by keyword."""
    explicit: dict[str, inspect.Parameter] = {}
    for cls in method.__mro__:
        if "__init__" in vars(cls):
            for name, parameter in inspect.signature(vars(cls)["__init__"]).parameters.items():
                if parameter.kind is not parameter.VAR_KEYWORD and name != "self":
                    explicit.setdefault(name, parameter)
            if "options" in inspect.signature(vars(cls)["__init__"]).parameters:
                break  # the base of the methods; above it is Keras
    keyword = inspect.Parameter.KEYWORD_ONLY
    for name, option in options_of(method).items():
        explicit[name] = inspect.Parameter(name, keyword, default=option.default)
    return inspect.Signature(sorted(explicit.values(), key=lambda p: p.kind))


def docstring_with_options(method: type[Any]) -> str:
    """Returns the docstring of a method with what its options say of themselves."""
    head = inspect.cleandoc(vars(method).get("__doc__") or "")
    indents: Any = {"initial_indent": " " * 4, "subsequent_indent": " " * 8}
    lines = [
        textwrap.fill(f"{name}: {option.metadata['help']}", 100, **indents)
        for name, option in options_of(method).items()
    ]
    return "\n".join([head, "", "Options:", *lines]) if lines else head
