"""One process a folder, and what killed ones leave there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlfat_tf.run import train, workdir
from rlfat_tf.storage import files, locks
from tests.runs import config

HOLD = """
import pathlib, runpy, sys
holding = runpy.run_path(sys.argv[1])["holding"](pathlib.Path(sys.argv[2]))
holding.__enter__()
print("held", flush=True)
sys.stdin.read()  # until whoever started it ends it, or ends itself
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, locks.__file__, str(folder)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"in use by process {holder.pid} on .*--workdir"):
            train.run(config(folder))
        assert not (folder / "config.json").exists()
    finally:
        holder.kill()
        holder.communicate()
    assert (folder / ".lock").is_file()  # but nobody holds it
    with locks.holding(folder):
        assert str(os.getpid()) in (folder / ".lock").read_text()
        with pytest.raises(ValueError, match="in use"), locks.holding(folder):
            pass
    assert not (folder / ".lock").exists()


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="has no locks"), locks.holding(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_a_lock_that_its_holder_just_removed_is_none(tmp_path, monkeypatch):
    """Opened before the holder removed it, locked after: another file is there by now, or none."""
    real, replaced = locks.fcntl.flock, []

    def slow(file, flags):
        if not replaced:
            (tmp_path / ".lock").unlink()
            replaced.append(True)
        real(file, flags)

    monkeypatch.setattr(locks.fcntl, "flock", slow)
    with locks.holding(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    for place in (".", "checkpoints", "evaluation"):  # an evaluation may be running
        left = tmp_path / place / ".writing-abc"
        left.mkdir(parents=True)
        (left / "half").write_text("ha")
    with workdir.lock_workdir(tmp_path, config(tmp_path)):
        assert [path.parent.name for path in tmp_path.rglob(".writing-*")] == ["evaluation"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    message = r"files can be written; .*file/run is none \(Not a directory\). Choose another"
    with pytest.raises(OSError, match=message), locks.holding(file / "run"):
        pass


@pytest.mark.parametrize("below", ["", "run", "a/b"])
def test_a_folder_is_looked_at_before_any_work(tmp_path, monkeypatch, below):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match="Expected --report_dir to be a folder; .*file is a file"):
        files.check_folder(file / below, "--report_dir")
    monkeypatch.setattr(files.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ValueError, match="can be written to; .* cannot. Choose another"):
        files.check_folder(tmp_path / below, "--report_dir")
    monkeypatch.undo()
    files.check_folder(tmp_path / below, "--report_dir")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    (tmp_path / "kept").mkdir()
    files.check_folder(tmp_path / "kept", "--report_dir")
    assert (tmp_path / "kept").is_dir()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="of Linux")
@pytest.mark.parametrize("folder", ["/proc/y", "/proc/y/z"])
def test_a_folder_that_permissions_allow_but_nobody_can_make_is_told(folder):
    with pytest.raises(ValueError, match="folder that can be written to; /proc.* cannot"):
        files.check_folder(Path(folder), "--report_dir")
