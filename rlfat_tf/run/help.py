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
        "Trains a robust image classifier, exports it and tests it. The same command again goes on "
        "where a run was stopped. rlfat-train --dataset=cifar10 --method=rlfat_p",
        {
            "recipe": "What is trained, and where it lies",
            "train_examples": "Data",
            "epochs": "Length",
            "attack": "The attack of training",
            "num_blocks": "What single methods take, and regularisers",
            "optimizer": "The optimizer",
            "ema": "What composes with every method",
            "mixed_precision": "The run",
        },
    ),
    EvalConfig: (
        "Evaluates how robust a classifier is, and writes a report. The same command again goes on "
        "where it was stopped. rlfat-eval --workdir=runs/digits_rlfat_p",
        {
            "workdir": "What is evaluated, on what",
            "attacks": "The attacks",
            "corruptions": "Corruptions",
            "report_dir": "The report",
        },
    ),
}
END = (
    "Flags are --name=value, switches --name and --noname. --flagfile=<file> reads flags from a "
    "file, one a line. --verbosity=1 shows what TensorFlow says of itself, --help this text. Exit "
    "codes: 0 finished, 1 an error, 130 stopped by Ctrl-C, 143 by SIGTERM."
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
    default = field.default
    if isinstance(default, tuple):
        shown = ",".join(map(number_text, default))
    elif isinstance(default, float):
        shown = number_text(default)
    else:
        shown = str(default).lower() if isinstance(default, bool) else str(default or "")
    text = str(field.metadata["help"])
    if field.metadata["choices"]:
        text += f" One of: {', '.join(field.metadata['choices'])}."
    indent = " " * 6
    body = textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)
    return f"  --{field.name}={shown}\n{body}" if shown else f"  --{field.name}\n{body}"
