"""The command line: absl flags made from the configuration, and the recipes beneath them.

Later layers win: defaults, the recipe ``flags/<dataset>_<method>.cfg``, ``--flagfile``s, and the
other flags of the command line, wherever they stand. The library itself never reads a flag.
"""

from __future__ import annotations

import dataclasses
import signal
import sys
import typing
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from absl import app, flags

from rlfat_tf import recipes
from rlfat_tf.config import TrainConfig


class FractionParser(flags.ArgumentParser):
    """Parses a number or a fraction of two, ``0.03`` or ``8/255``."""

    syntactic_help = "a number or a fraction"

    def parse(self, argument: Any) -> float:
        """Returns the number.

        Raises:
            ValueError: If it is none.
        """
        try:
            top, slash, bottom = str(argument).partition("/")
            return float(Fraction(top) / Fraction(bottom)) if slash else float(top)
        except (ValueError, ZeroDivisionError):
            raise ValueError(
                f"expected a number such as 0.03 or a fraction such as 8/255, got {argument!r}"
            ) from None

    def flag_type(self) -> str:
        """Names the type in --help."""
        return "number"


def define_flags(config: type, values: flags.FlagValues) -> None:
    """Defines a flag for every field of a configuration class.

    Args:
        config: A dataclass whose fields carry help and choices in their metadata.
        values: Where to define them.
    """
    types = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kind = [t for t in typing.get_args(types[field.name]) if t is not type(None)]
        kind = kind[0] if kind else types[field.name]
        name, default, text = field.name, field.default, field.metadata["help"]
        if kind is bool:
            flags.DEFINE_bool(name, default, text, flag_values=values)
        elif kind is int:
            flags.DEFINE_integer(name, default, text, flag_values=values)
        elif kind is float:
            number = FractionParser()
            serializer: flags.ArgumentSerializer = flags.ArgumentSerializer()
            flags.DEFINE(number, name, default, text, values, serializer)
        elif field.metadata["choices"]:
            choices = list(field.metadata["choices"])
            flags.DEFINE_enum(name, default, choices, text, flag_values=values)
        else:
            flags.DEFINE_string(name, default, text, flag_values=values)


def _layers(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts the arguments into those of flagfiles and the rest, which wins over them."""
    files, rest, arguments = [], [], list(argv[1:])
    while arguments:
        argument = arguments.pop(0)
        if argument in ("--flagfile", "-flagfile") and arguments:
            argument = f"--flagfile={arguments.pop(0)}"
        is_file = argument.lstrip("-").startswith("flagfile=") and argument.startswith("-")
        (files if is_file else rest).append(argument)
    return files, rest


def _first_look(config: type, arguments: Sequence[str]) -> flags.FlagValues:
    """Parses without complaint, to learn for which data set and method a recipe is wanted."""
    values = flags.FlagValues()
    define_flags(config, values)
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_string("undefok", "", "", flag_values=values)
    values(["", *arguments], known_only=True)
    return values


def parse(argv: Sequence[str], values: flags.FlagValues) -> tuple[TrainConfig, list[str]]:
    """Turns a command line into a configuration.

    Args:
        argv: The command line, the program's name first.
        values: Flag values in which the flags of :class:`TrainConfig` are defined.

    Returns:
        The configuration, and the arguments that are no flags.

    Raises:
        flags.Error: If a flag is unknown or its value does not parse.
        ValueError: If a value is out of its range.
    """
    files, rest = _layers(argv)
    wanted = _first_look(TrainConfig, [*files, *rest])
    recipe = recipes.read(f"{wanted['dataset'].value}_{wanted['method'].value}")
    length: dict[str, Any] = {"epochs": TrainConfig.epochs, "train_steps": None}
    remaining: list[str] = []
    for layer in (recipe, files, rest):
        for name in length:
            values[name].present = 0
        remaining = values([argv[0], *layer])[1:]
        given = {name: values[name].value for name in length if values[name].present}
        if given:
            length = {"epochs": None, "train_steps": None, **given}
    settings = {f.name: values[f.name].value for f in dataclasses.fields(TrainConfig)}
    return TrainConfig(**{**settings, **length}), remaining


def train_main() -> None:
    """Runs ``train.py``: parse, configure, call the library."""
    define_flags(TrainConfig, flags.FLAGS)
    app.run(_train, flags_parser=lambda argv: _parsed_or_exit(argv, flags.FLAGS))


def _parsed_or_exit(argv: Sequence[str], values: flags.FlagValues) -> list[Any]:
    """Parses for ``app.run``: what a user got wrong is one message, not a traceback."""
    try:
        config, remaining = parse(argv, values)
        if remaining:
            raise ValueError(
                f"Expected flags only; received {remaining[0]!r}. Flags are --name=value."
            )
    except (flags.Error, ValueError) as error:
        _fail(error)
    return [argv[0], config]


def _fail(error: object, status: int = 1) -> typing.NoReturn:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(status)


def _train(arguments: Sequence[Any]) -> None:
    config: TrainConfig = arguments[1]
    if config.print_config:
        print(config.to_json())
        return
    from rlfat_tf import training
    from rlfat_tf.callbacks import Interrupted

    try:
        training.run(config)
    except Interrupted as stop:
        name = signal.Signals(stop.signal).name
        print(f"\nStopped by {name}. The same command again goes on from the backup.")
        sys.exit(128 + stop.signal)
    except training.USER_ERRORS as error:
        _fail(training.explain(error, config))
