"""Signals that a training process sends itself: at a step or a file, not after some seconds."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

from rlfat_tf.run import callbacks


def interrupt(at: str, number: int = signal.SIGKILL, points: str = "") -> None:
    """Makes this process send itself a signal at a point.

    A point is ``step@<n>``, the end of step n before anything is done about it, or
    ``<name>@<n>``, the moment before a file of that name is moved to its place after n steps.

    Args:
        at: The first point that matches this regular expression.
        number: The signal.
        points: A file that lists the points where processes have got it already, one a line: those
            are passed, and the new one is added.
    """
    move, begin = os.replace, callbacks.Checkpoints.__init__
    steps, sent = [0], list[str]()
    known = Path(points) if points else None

    def reach(name: str) -> None:
        point = f"{name}@{steps[0]}"
        before = known.read_text().split() if known and known.exists() else sent
        if re.fullmatch(at, point) and point not in before and not sent:
            sent.append(point)
            if known:
                known.write_text("\n".join([*before, point]))
            os.kill(os.getpid(), number)

    def move_after(source: Any, target: Any) -> None:
        reach(Path(target).name)
        move(source, target)

    def begin_and_count(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        steps[0] = self.progress["step"]
        original = self.on_train_batch_end

        def count(batch: int, logs: Any = None) -> None:
            steps[0] = self.progress["step"] + 1
            reach("step")
            original(batch, logs)

        self.on_train_batch_end = count

    os.replace = move_after  # type: ignore[assignment]
    callbacks.Checkpoints.__init__ = begin_and_count  # type: ignore[method-assign]


def code(at: str, number: int = signal.SIGKILL, points: Path | None = None) -> str:
    """Returns a call of :func:`interrupt` as code, for the processes of :mod:`tests.forks`."""
    arguments = f"{at!r}, {int(number)}, {str(points or '')!r}"
    return f"from tests.run.interruptions import interrupt; interrupt({arguments})"
