"""How a configuration declares its fields: default, help, and what may stand there."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from rlfat_tf.methods import METHODS, regularizers
from rlfat_tf.methods.options import flags_of, options_of
from rlfat_tf.methods.regularizers import REGULARIZERS


def option(default: Any, help: str, *, choices: Any = None, identity: bool = True) -> Any:
    """A field with its help; ``identity`` tells whether it decides what the run computes."""
    metadata = {"help": help, "choices": choices, "identity": identity}
    return dataclasses.field(default=default, metadata=metadata)


def method_option(flag: str, default: Any = None) -> Any:
    """A field for an option of methods, described and checked as they declare it.

    Args:
        flag: Its name on the command line.
        default: None: each method's own.
    """
    declared = {
        name: options_of(method)[flags_of(method)[flag]]
        for name, method in METHODS.items()
        if flag in flags_of(method)
    }
    one = next(iter(declared.values()))
    text = one.metadata["help"]
    if len(declared) < len(METHODS):
        text += f" For {', '.join(declared)}."
    if default is None and one.default is not None:
        defaults = dict.fromkeys(str(each.default) for each in declared.values())
        text += f" Default: {', '.join(defaults)}."
    metadata = {"help": text, "choices": one.metadata["choices"], "identity": True}
    return dataclasses.field(default=default, metadata={**metadata, "check": one.metadata["check"]})


def regularizer_option(flag: str) -> Any:
    """A field for an argument of a regulariser, described and checked as it declares it."""
    name, declared = next(
        (name, regularizers.flags_of(name)[flag])
        for name in REGULARIZERS
        if flag in regularizers.flags_of(name)
    )
    found = {key: declared.metadata[key] for key in ("choices", "check")}
    text = f"{declared.metadata['help']} For the regulariser {name}."
    return dataclasses.field(
        default=declared.default, metadata={**found, "help": text, "identity": True}
    )


def expand_home(config: Any) -> None:
    """Replaces a ``~`` at the beginning of paths, which no shell does behind ``--workdir=``.

    Args:
        config: A configuration, in which every text that begins with ``~``, or has a part between
            commas that does, is a path or several.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, str) and "~" in value:
            expanded = ",".join(map(os.path.expanduser, value.split(",")))
            object.__setattr__(config, field.name, expanded)  # frozen for everyone else


def check_type(field: dataclasses.Field[Any], value: Any) -> None:
    """Refuses a value that is not of the type of its field.

    Raises:
        ValueError: If it is not.
    """
    expected = str(field.type).split(" | ")  # a string, since annotations are not evaluated
    kinds = ["bool"] if isinstance(value, bool) else [c.__name__ for c in type(value).__mro__]
    if value is None:
        kinds = ["None"]
    elif "int" in kinds:
        kinds.append("float")
    if not set(kinds) & set(expected):
        raise ValueError(f"Expected --{field.name} to be of type {field.type}; received {value!r}.")
