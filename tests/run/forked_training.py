"""Runs of the real command line in processes that can be killed, without importing TensorFlow anew.

As a program it imports the library once and forks a child for every command line that it is sent;
:class:`Forks` is the other end.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Forks:
    """Sends command lines to the program and waits for its children."""

    def __init__(self, log: Path):
        self.log = log
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self, config: Any, points: Path | None = None, at: str = ".*") -> int:
        """Starts ``train.py``; returns the process id.

        Args:
            config: The configuration of the run.
            points: A list of the points where runs have died already, one a line. The process is
                killed by SIGKILL at the first point that is not on it, after it has been added. A
                point is the moment before a file is moved to its place: ``<name>@<steps done>``.
            at: Only at points that match this regular expression.
        """
        assert self._server.stdin is not None and self._server.stdout is not None
        job = {"flags": config.to_flags().split("\n")[:-1], "points": str(points or ""), "at": at}
        print(json.dumps(job), file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline())

    def wait(self) -> int:
        """Returns the status of the child that was started last, as ``subprocess`` does."""
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """Ends the program."""
        self._server.communicate()


def child(job: dict[str, Any], log: str) -> None:
    """Runs ``train.py`` with the flags of a job and ends the process."""
    from rlfat_tf.run import cli

    with open(log, "a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.close(0)
    if job["points"]:
        die_at_points(Path(job["points"]), job["at"])
    sys.argv = ["train.py", *job["flags"]]
    status = 1
    try:
        cli.train_main()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def die_at_points(points: Path, at: str) -> None:
    """Makes this process kill itself, see :meth:`Forks.start`."""
    from rlfat_tf.run import callbacks

    move, begin, steps = os.replace, callbacks.Checkpoints.__init__, [0]

    def deadly_move(source: Any, target: Any) -> None:
        point = f"{Path(target).name}@{steps[0]}"
        known = points.read_text().split() if points.exists() else []
        if re.fullmatch(at, point) and point not in known:
            points.write_text("\n".join([*known, point]))
            os.kill(os.getpid(), signal.SIGKILL)
        move(source, target)

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        steps[0] = self.progress["step"]
        original = self.on_train_batch_end

        def count(batch: int, logs: Any = None) -> None:
            steps[0] = self.progress["step"] + 1
            original(batch, logs)

        self.on_train_batch_end = count

    os.replace = deadly_move  # type: ignore[assignment]
    callbacks.Checkpoints.__init__ = watched  # type: ignore[method-assign]


def serve(log: str) -> None:
    """Forks a child for every line of standard input."""
    from rlfat_tf.run import cli  # noqa: F401  imported once, for all children

    for line in sys.stdin:
        process = os.fork()
        if not process:
            child(json.loads(line), log)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
