"""Python programs in processes of their own that need not import TensorFlow and the library anew.

As a program this module imports both once and forks a child for every command that it is sent;
:class:`Forks` is the other end, and the fixture ``forks`` is what tests use. A command is what
stands after ``python`` on a command line: a script, ``-c`` or ``-m``.

Nothing of this is left behind. The children of a test are killed at its end, however it ends; they
and the program are killed when pytest ends, however that ends. Nothing depends on the load of the
machine: a child may use :data:`CPU_SECONDS` of processor time.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[1]
KILLED = -signal.SIGKILL
# Several times what the longest of them needs; who exceeds it is killed.
CPU_SECONDS = 400
# Who waits for what never comes uses no processor time. No test is near this on any machine.
PATIENCE = 1800


class Child:
    """A process that was started by :meth:`Forks.start`.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, forks: Forks, pid: int, log: Path):
        self.pid = pid
        self._forks, self._log = forks, log
        self._status: int | None = None

    @property
    def output(self) -> str:
        """What it has written to standard output and standard error so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def poll(self) -> int | None:
        """Returns its status as ``subprocess`` does; None while it runs."""
        if self._status is None:
            self._status = self._forks.ask({"poll": self.pid})
        return self._status

    def wait(self) -> int:
        """Waits for its end and returns its status."""
        self.wait_for(lambda: False)
        status = self.poll()
        assert status is not None
        return status

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition holds or the process has ended."""
        deadline = time.monotonic() + PATIENCE
        while self.poll() is None and not condition():
            assert time.monotonic() < deadline, f"waited too long:\n{self.output[-3000:]}"
            time.sleep(0.01)

    def check(self) -> str:
        """Waits for its end, which must be a success, and returns its output."""
        status = self.wait()
        assert status == 0, f"status {status}:\n{self.output[-5000:]}"
        return self.output

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Forks:
    """Starts the program, sends it commands and asks it how its children do.

    Args:
        folder: Where the output of the children is kept.
        module: What is imported before any child is started.
    """

    def __init__(self, folder: Path, module: str = "rlfat_tf.run.cli"):
        self._folder = folder
        self._children: list[Child] = []
        self._program = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )

    def ask(self, job: dict[str, Any]) -> Any:
        """Sends one line of JSON and returns the answer."""
        assert self._program.stdin is not None and self._program.stdout is not None
        print(json.dumps(job), file=self._program.stdin, flush=True)
        return json.loads(self._program.stdout.readline())

    def start(
        self, *command: object, folder: Path = ROOT, before: str = "", **environment: str
    ) -> Child:
        """Starts a program.

        Args:
            *command: What would stand after ``python``.
            folder: Where it runs.
            before: Code that runs before the program does.
            **environment: Variables that its environment has beside those of this process.

        Returns:
            The process.
        """
        log = self._folder / f"{len(list(self._folder.iterdir()))}.txt"
        log.touch()
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        if "TF_CONFIG" not in environment:
            variables.pop("TF_CONFIG", None)
        job = {"command": [str(part) for part in command], "folder": str(folder), "log": str(log),
               "before": before, "environment": variables}  # fmt: skip
        child = Child(self, self.ask(job), log)
        self._children.append(child)
        return child

    def run(self, *command: object, **others: Any) -> str:
        """Starts a program, see :meth:`start`; waits for its success and returns its output."""
        return self.start(*command, **others).check()

    @contextmanager
    def leaving_none(self) -> Iterator[Forks]:
        """Kills all children in the end."""
        try:
            yield self
        finally:
            for child in self._children:
                child.kill()
            for child in self._children:
                child.wait()
            self._children.clear()

    def close(self) -> None:
        """Ends the program and its children."""
        self._program.communicate()


def child(job: dict[str, Any]) -> None:
    """Does what Python would do with the command."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    log = os.open(job["log"], os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, stream in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(ours, stream)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    exec(job["before"], {})  # noqa: S102
    kind, *arguments = job["command"]
    if kind == "-c":
        sys.argv, sys.path[0] = ["-c", *arguments[1:]], ""
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    elif kind == "-m":
        sys.argv, sys.path[0] = arguments, ""
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [kind, *arguments], str(Path(kind).resolve().parent)
        runpy.run_path(kind, run_name="__main__")


def serve() -> None:
    """Answers every line of standard input, until it is closed."""
    for line in sys.stdin:
        job = json.loads(line)
        if "poll" in job:
            pid, status = os.waitpid(job["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                child(job)
                return  # as the program does that the child stands for
        print(json.dumps(answer), flush=True)
    os.killpg(0, signal.SIGKILL)  # itself and its children: the session is its own


if __name__ == "__main__":
    importlib.import_module(sys.argv[1])
    serve()
