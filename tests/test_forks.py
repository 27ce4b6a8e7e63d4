"""Programs of tests: their arguments, output and status, and that none outlives its test."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest

from tests.forks import KILLED, Forks

WAIT = "import time; print('begun', flush=True); time.sleep(100_000)"


def test_a_program_runs_as_python_would_run_it(forks, tmp_path):
    (tmp_path / "program.py").write_text(
        "import json, os, sys\n"
        "print(json.dumps([__name__, sys.argv, os.getcwd(), os.environ['A']]))"
    )
    for command, argv in (
        (["program.py", "x"], ["program.py", "x"]),
        (["-c", (tmp_path / "program.py").read_text(), "x"], ["-c", "x"]),
    ):
        printed = json.loads(forks.run(*command, folder=tmp_path, A="b"))
        assert printed == ["__main__", argv, str(tmp_path), "b"]
    failed = forks.start("-c", "raise ValueError('no')")
    assert failed.wait() == 1 and "ValueError: no" in failed.output
    assert forks.start("-c", "import sys; sys.exit(7)").wait() == 7


def test_processes_end_with_a_test_that_fails(all_forks):
    with pytest.raises(ZeroDivisionError), all_forks.leaving_none():
        processes = [all_forks.start("-c", WAIT) for _ in range(2)]
        1 / 0  # noqa: B018
    assert [process.poll() for process in processes] == [KILLED, KILLED]


def test_processes_end_with_pytest_however_it_ends(tmp_path):
    other = Forks(tmp_path, module="json")
    child = other.start("-c", WAIT)
    other._program.stdin.close()  # as when this process is killed
    assert other._program.wait() == KILLED
    state = Path(f"/proc/{child.pid}/stat")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is gone
        while state.read_text().rpartition(")")[2].split()[0] != "Z":  # or nobody asks for it
            time.sleep(0.01)
