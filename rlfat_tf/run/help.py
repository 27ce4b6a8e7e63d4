"""The text of ``--help``: the flags of a command in groups, each with its default."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap

from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.console import number_text
from rlfat_tf.run.eval_config import EvalConfig

# For each command what it does, and the first flag of every group in the order of the fields.
COMMANDS: dict[type, tuple[str, dict[str, str]]] = {
    TrainConfig: (
        "Trains a robust image classifier, exports it and tests it. If a run was interrupted, the "
        "same command continues it. Example: rlfat-train --dataset=cifar10 --method=rlfat_p",
        {
            "recipe": "Data set, method, network and folders",
            "train_examples": "Data",
            "epochs": "Length",
            "attack": "The attack during training",
            "num_blocks": "Options of single methods and regularisers",
            "optimizer": "The optimizer",
            "ema": "Weight averaging and adversarial weight perturbation, for every method",
            "mixed_precision": "The run",
        },
    ),
    EvalConfig: (
        "Evaluates how robust a classifier is, and writes a report. If an evaluation was "
        "interrupted, the same command continues it. Example: rlfat-eval "
        "--workdir=runs/digits_rlfat_p",
        {
            "workdir": "Model and images",
            "attacks": "The attacks",
            "corruptions": "Corruptions",
            "report_dir": "The report",
        },
    ),
}
END = (
    "Flags are given as --name=value, switches as --name or --noname. --flagfile=<file> reads "
    "flags from a file, one per line. --verbosity=1 also shows TensorFlow's own messages, --help "
    "shows this text. Exit codes: 0 finished, 1 error, 130 stopped by Ctrl-C, 143 stopped by "
    "SIGTERM."
)


def help_text(config: type) -> str:
    """Returns the text for the command whose flags are the fields of a configuration class."""
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    what, groups = COMMANDS[config]
    parts = [textwrap.fill(what, width)]
    for field in dataclasses.fields(config):
        if field.name in groups:
            parts.append(f"\n{groups[field.name]}")
        parts.append(_flag(field, width))
    return "\n".join([*parts, "", textwrap.fill(END, width)])


def _flag(field: dataclasses.Field[object], width: int) -> str:
    shown, indent = default_text(field), " " * 6
    body = textwrap.fill(flag_text(field), width, initial_indent=indent, subsequent_indent=indent)
    return f"  --{field.name}={shown}\n{body}" if shown else f"  --{field.name}\n{body}"


def default_text(field: dataclasses.Field[object]) -> str:
    """Returns the default of a flag as it is written on a command line; empty if there is none."""
    default = field.default
    if isinstance(default, tuple):
        return ",".join(map(number_text, default))
    if isinstance(default, float):
        return number_text(default)
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


def flag_text(field: dataclasses.Field[object]) -> str:
    """Returns what a flag means, with the values that it takes."""
    choices = field.metadata["choices"]
    text = str(field.metadata["help"])
    return f"{text} One of: {', '.join(choices)}." if choices else text
