"""The command line: absl flags made from the configuration, and the recipes beneath them.

Later layers win: defaults, the recipe (``--recipe``, else ``flags/<dataset>_<method>.cfg``),
``--flagfile``s, and the other flags of the command line, wherever they stand. The library itself
never reads a flag.
"""

from __future__ import annotations

import signal
import sys
import typing
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import tensorflow as tf
from absl import app, flags, logging

from rlfat_tf import data
from rlfat_tf.run import cost, evaluate, recipes, train
from rlfat_tf.run.config import NO_RECIPE, TrainConfig
from rlfat_tf.run.console import number_text
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.help import help_text
from rlfat_tf.run.signals import Interrupted

# Flags as others call them, which are too unlike ours for a guess by spelling.
ALSO_CALLED = {
    "beta": "trades_lambda",
    "lambda": "trades_lambda",
    "lr": "learning_rate",
    "norm": "attack_norm",
}

# What belongs to a norm or a kind of attack: no layer sets it for one that a later layer names.
BELONGS_TO = {
    "attack_norm": ("epsilon", "attack_step_size", "attack_random_start"),
    "attack": ("attack_steps", "attack_step_size", "attack_random_start"),
}

ASKS_FOR_HELP = ("help", "helpshort", "helpfull", "?")

LEGEND = (
    "Passes of a step are those of the attack + those of the update, each forward and back. "
    "Accuracies in per\ncent: clean / AutoAttack, unless another attack is named. Published are "
    "others' figures, measured are ours.\n\n"
)


# Older releases of absl cannot take the type that a parser or serializer is for.
class FractionParser(flags.ArgumentParser):  # type: ignore[type-arg]
    """Parses a number or a fraction of two, ``0.03`` or ``8/255``."""

    syntactic_help = "a number or a fraction"

    def parse(self, argument: Any) -> float:
        """Returns the number.

        Raises:
            ValueError: If it is none.
        """
        try:
            top, slash, bottom = str(argument).partition("/")
            return float(top) / float(bottom) if slash else float(top)
        except (ValueError, ZeroDivisionError):
            raise ValueError(
                f"expected a number such as 0.03 or a fraction such as 8/255, got {argument!r}"
            ) from None

    def flag_type(self) -> str:
        """Names the type in --help."""
        return "number"


class SwitchParser(flags.BooleanParser):
    """Parses true or false, and says what came in its place in a sentence.

    Args:
        name: Of the flag.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def parse(self, argument: Any) -> bool:
        """Returns the value.

        Raises:
            flags.IllegalFlagValueError: If it is none.
        """
        try:
            return bool(super().parse(argument))
        except (TypeError, ValueError):
            raise flags.IllegalFlagValueError(
                f"Expected --{self.name} to be true or false; received {argument!r}."
            ) from None


class IntegerParser(flags.ArgumentParser):  # type: ignore[type-arg]
    """Parses an integer."""

    syntactic_help = "an integer"

    def parse(self, argument: Any) -> int:
        """Returns the integer.

        Raises:
            ValueError: If it is none.
        """
        try:
            return int(str(argument), 16 if str(argument).startswith("0x") else 10)
        except ValueError:
            raise ValueError(f"expected an integer such as 50, got {argument!r}") from None

    def flag_type(self) -> str:
        """Names the type in --help."""
        return "integer"


class NumbersParser(FractionParser):
    """Parses numbers or fractions joined by commas: ``4/255,8/255``."""

    syntactic_help = "numbers or fractions joined by commas"

    def parse(self, argument: Any) -> Any:
        """Returns the numbers as a tuple.

        Raises:
            ValueError: If one is none.
        """
        if isinstance(argument, (tuple, list)):
            return tuple(argument)
        return tuple(
            super(NumbersParser, self).parse(part) for part in str(argument).split(",") if part
        )


class NumbersSerializer(flags.ArgumentSerializer):  # type: ignore[type-arg]
    """Writes numbers as :class:`NumbersParser` reads them."""

    def serialize(self, value: Any) -> str:
        """Returns the numbers joined by commas."""
        return ",".join(map(number_text, value))


class NumberSerializer(flags.ArgumentSerializer):  # type: ignore[type-arg]
    """Writes a number as people do: 8/255."""

    def serialize(self, value: Any) -> str:
        """Returns the number."""
        return number_text(value)


def define_flags(config: type, values: flags.FlagValues) -> None:
    """Defines a flag for every field of a configuration class.

    Args:
        config: A dataclass whose fields carry help and choices in their metadata.
        values: Where to define them.
    """
    types = typing.get_type_hints(config)
    for field in fields(config):
        kind = types[field.name]
        if typing.get_origin(kind) is not tuple:
            kind = next((t for t in typing.get_args(kind) if t is not type(None)), kind)
        name, text = field.name, field.metadata["help"]
        default: Any = field.default
        if field.metadata["choices"]:  # not an enum flag, whose error names no nearest choice
            text += f" One of: {', '.join(field.metadata['choices'])}."
        if kind is bool:
            switch = flags.BooleanFlag(name, default, text)  # --name and --noname
            switch.parser = SwitchParser(name)
            flags.DEFINE_flag(switch, values)
        elif kind is int:
            plain: flags.ArgumentSerializer[int] = flags.ArgumentSerializer()
            flags.DEFINE(IntegerParser(), name, default, text, values, plain)
        elif typing.get_origin(kind) is tuple:
            numbers, text_of = NumbersParser(), NumbersSerializer()
            flags.DEFINE(numbers, name, default, text, values, text_of)
        elif kind is float:
            flags.DEFINE(FractionParser(), name, default, text, values, NumberSerializer())
        else:
            flags.DEFINE_string(name, default, text, flag_values=values)


def _layers(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts the arguments into those of flagfiles and the rest, which wins over them."""
    files: list[str] = []
    rest: list[str] = []
    arguments = list(argv[1:])
    while arguments:
        argument = arguments.pop(0)
        if argument in ("--flagfile", "-flagfile") and arguments:
            argument = f"--flagfile={arguments.pop(0)}"
        is_file = argument.lstrip("-").startswith("flagfile=") and argument.startswith("-")
        (files if is_file else rest).append(argument)
    return files, rest


def _first_look(arguments: Sequence[str]) -> flags.FlagValues:
    """Parses without complaint, to learn for which data set and method a recipe is wanted."""
    values = new_values()
    _read(values, ["", *arguments], known_only=True)
    return values


def _read(values: flags.FlagValues, argv: Sequence[str], **how: bool) -> list[str]:
    """Parses a command line and the files of flags that it names."""
    try:
        remaining: list[str] = values(argv, **how)
    except flags.CantOpenFlagFileError:
        named = [a.partition("=")[2] for a in argv if a.lstrip("-").startswith("flagfile=")]
        raise flags.Error(
            f"Expected files of flags at {', '.join(named)}; there is none, or it cannot be read. "
            "--recipe=<name> names a file of flags/ without its folder."
        ) from None
    except UnicodeDecodeError as error:
        raise flags.Error(f"A file of flags is not text: {error.reason}.") from None
    return remaining


def _parse(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Parses one layer; an unknown flag is answered with the one that was meant."""
    try:
        return _read(values, argv)
    except flags.UnrecognizedFlagError as error:
        meant = ALSO_CALLED.get(error.flagname, "")
        if meant not in values:
            raise
        raise flags.UnrecognizedFlagError(error.flagname, suggestions=[meant]) from None


def parse(argv: Sequence[str], values: flags.FlagValues) -> tuple[TrainConfig, list[str]]:
    """Turns a command line into a configuration.

    Args:
        argv: The command line, the program's name first.
        values: Flag values in which the flags of :class:`TrainConfig` are defined.

    Returns:
        The configuration, and the arguments that are no flags.

    Raises:
        flags.Error: If a flag is unknown or its value does not parse.
        ValueError: If a value is out of its range, or there is no such recipe.
    """
    files, rest = _layers(argv)
    wanted = _first_look([*files, *rest])
    named, pair = wanted["recipe"].value, (wanted[name].value for name in ("dataset", "method"))
    recipe = recipes.chosen(named, *map(str, pair))
    length: dict[str, Any] = {"epochs": TrainConfig.epochs, "train_steps": None}
    remaining: list[str] = []
    for layer in (recipe, files, rest):
        for name in (*length, *sum(BELONGS_TO.values(), ())):
            values[name].present = 0
        before = {owner: values[owner].value for owner in BELONGS_TO}
        remaining = _parse(values, [argv[0], *layer])[1:]
        given = {name: values[name].value for name in length if values[name].present}
        if given:
            length = {"epochs": None, "train_steps": None, **given}
        for owner, names in BELONGS_TO.items():
            for name in names if values[owner].value != before[owner] else ():
                if not values[name].present:
                    values[name].value = values[name].default
    settings = {f.name: values[f.name].value for f in fields(TrainConfig)}
    if named == NO_RECIPE:
        settings["recipe"] = None
    return TrainConfig(**{**settings, **length}), remaining


def new_values() -> flags.FlagValues:
    """Returns flag values in which the flags of :class:`TrainConfig` are defined."""
    values = flags.FlagValues()
    define_flags(TrainConfig, values)
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_string("undefok", "", "", flag_values=values)
    return values


def recipe_rows() -> list[tuple[str, ...]]:
    """Returns the rows of ``--recipe=list``, the head first."""
    head = ("recipe", "network", "epochs", "passes a step", "published", "measured")
    rows: list[tuple[str, ...]] = [head]
    for name in recipes.names():
        config, _ = parse(["", f"--recipe={name}"], new_values())
        recipe = recipes.read(name)
        length = str(config.epochs) if config.epochs else f"{config.train_steps} steps"
        seen = (recipe.published, recipe.measured)
        rows.append((name, config.model, length, cost.passes(config), *seen))
    return rows


def parse_eval(argv: Sequence[str], values: flags.FlagValues) -> tuple[EvalConfig, list[str]]:
    """Turns a command line of ``eval.py`` into a configuration; as :func:`parse`, no recipes."""
    files, rest = _layers(argv)
    remaining = _read(values, [argv[0], *files, *rest])[1:]
    settings: dict[str, Any] = {f.name: values[f.name].value for f in fields(EvalConfig)}
    return EvalConfig(**settings), remaining


def train_main() -> None:
    """Runs ``train.py``: parse, configure, call the library."""
    _define_main_flags(TrainConfig)
    app.run(_train, flags_parser=lambda argv: _parsed_or_exit(parse, argv))


def eval_main() -> None:
    """Runs ``eval.py``: parse, configure, call the library."""
    _define_main_flags(EvalConfig)
    app.run(_eval, flags_parser=lambda argv: _parsed_or_exit(parse_eval, argv))


def _define_main_flags(config: type) -> None:
    """Defines the flags of this process; --help shows those that belong to its main module."""
    define_flags(config, flags.FLAGS)
    for field in fields(config):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[field.name])


def _parsed_or_exit(parser: Any, argv: Sequence[str]) -> list[Any]:
    """Parses for ``app.run``: what a user got wrong is one message, not a traceback."""
    if any(argument.lstrip("-") in ASKS_FOR_HELP for argument in argv[1:]):
        print(help_text(EvalConfig if parser is parse_eval else TrainConfig))
        sys.exit(0)
    try:
        config, remaining = parser(argv, flags.FLAGS)
        if remaining:
            raise ValueError(
                f"Expected flags only; received {remaining[0]!r}. Flags are --name=value."
            )
    except (flags.Error, ValueError) as error:
        _fail(error)
    asked = "verbosity" in flags.FLAGS and flags.FLAGS["verbosity"].present
    if not asked:  # for what TensorFlow notes while it exports
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("WARNING")
    return [argv[0], config]


def _fail(error: object, status: int = 1) -> typing.NoReturn:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(status)


def _train(arguments: Sequence[Any]) -> None:
    config: TrainConfig = arguments[1]
    if config.print_config:
        print(config.to_json())
        return
    if config.recipe == recipes.LIST:
        print(LEGEND + recipes.table(recipe_rows()))
        return
    try:
        data.check_name(config.dataset)
        unfounded = None if config.recipe else recipes.missing(config.dataset, config.method)
        if unfounded:
            print(unfounded, flush=True)
        train.run(config)
    except Interrupted as stop:
        name = signal.Signals(stop.signal).name
        print(f"\nStopped by {name}. The same command again goes on from the backup.")
        sys.exit(128 + stop.signal)
    except KeyboardInterrupt:
        _fail("stopped at once. The same command again goes on from the last backup.", 130)
    except train.USER_ERRORS as error:
        _fail(train.explain(error, config))


def _eval(arguments: Sequence[Any]) -> None:
    received: list[int] = []

    def stop(number: int, _: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt  # which nobody takes for a failure of the work that it ends

    handlers = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        evaluate.run(arguments[1])
    except KeyboardInterrupt:
        number = received[0] if received else signal.SIGINT
        name = signal.Signals(number).name
        print(f"\nStopped by {name}. The same command again goes on where it was.")
        sys.exit(128 + number)
    except train.USER_ERRORS as error:
        _fail(error)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
