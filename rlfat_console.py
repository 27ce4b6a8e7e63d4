"""Starts ``rlfat-train`` and ``rlfat-eval`` without what TensorFlow says when it is loaded.

This stands beside the package and not in it, because importing any part of the package loads
TensorFlow. Errors are never held back, nor is anything that is not known as noise; ``--verbosity``
shows all.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator

# Notes that native code writes before it looks at how much it shall say, and errors which tell only
# that there is no GPU (cuInit 303: no driver) or that two parts bring the same kernels.
NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} \d\d:\d\d:"
    rb"|\d{4}-\d\d-\d\d [\d:.]+: [IW] "
    rb"|To enable the following instructions: "
    rb"|.*failed call to cuInit: .*\(303\)"
    rb"|.*Unable to register cu(DNN|FFT|BLAS) factory"
)
ASKS_FOR_ALL = re.compile(r"--?(verbosity|v)\b")


def train() -> None:
    """The command ``rlfat-train``."""
    warnings.formatwarning = as_a_sentence  # type: ignore[assignment]
    _load()
    from rlfat_tf.run.cli import train_main

    train_main()


def evaluate() -> None:
    """The command ``rlfat-eval``."""
    warnings.formatwarning = as_a_sentence  # type: ignore[assignment]
    _load()
    from rlfat_tf.run.cli import eval_main

    eval_main()


def as_a_sentence(message: object, category: type, filename: str, *where: object) -> str:
    """Returns a warning as a command shows it: what is meant for users without a line of code."""
    if category is UserWarning:
        return f"Warning: {message}\n"
    return f"{filename}:{where[0]}: {category.__name__}: {message}\n"


def _load() -> None:
    """Imports the library, and lets TensorFlow look for its devices, which it says much about."""
    if "tensorflow" in sys.modules or any(map(ASKS_FOR_ALL.match, sys.argv[1:])):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with without_noise():
        import tensorflow as tf

        import rlfat_tf  # noqa: F401

        tf.config.list_physical_devices()


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Passes on what is written to the error output in this context, but for :data:`NOISE`.

    Another process does it, which shows the last words of this one even if it crashes.
    """
    if not hasattr(os, "fork"):
        yield
        return
    sys.stderr.flush()
    reading, writing = os.pipe()
    reader = os.fork()
    if not reader:
        os.close(writing)
        _pass_on(reading)
    os.close(reading)
    there = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(there, 2)
        os.close(there)
        os.waitpid(reader, 0)


def _pass_on(source: int) -> None:
    """Copies lines that are no noise to the error output until there are no more; then exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(source, "rb") as lines:
        for line in lines:
            if not NOISE.match(line):
                os.write(2, line)
    os._exit(0)
