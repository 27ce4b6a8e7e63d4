"""Damaged files, full disks and a signal at the wrong moment: what becomes of a run."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest

import rlfat_tf
from rlfat_tf.run import callbacks, signals, train, workdir
from rlfat_tf.storage import checkpoint, files
from tests.runs import TRAINED, check_same, config, damages, metrics

RUN = {**TRAINED, "export": False}


@pytest.fixture(autouse=True)
def evaluated_at_once(trained, monkeypatch):
    """The test set has its own tests: these are the figures of the run that nothing happened to."""
    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: trained.tested)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", ""),
        ("config.json", "[1]"),
        ("config.json", '{"epochs": "two"}'),
        ("summary.json", "{"),
        ("metrics.csv", "a,b\n1,2\n"),
    ],
)
def test_damaged_text_files_are_named(trained_copy, name, content):
    (trained_copy / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name} is .*not what"):
        train.run(config(trained_copy, **RUN, epochs=3))


def test_every_damage_to_a_backup_is_noticed(trained_copy):
    path = trained_copy / "checkpoints" / "state.npz"
    good = path.read_bytes()
    older = checkpoint.previous(path).read_bytes()
    for name, damage in damages(path).items():
        path.write_bytes(damage(good))
        with pytest.warns(UserWarning, match="state.npz is damaged.*the backup before it"):
            checkpoint.repair_state(path)
        assert path.read_bytes() == older, name
        checkpoint.previous(path).write_bytes(older)
    path.unlink()  # killed between the two moves
    with pytest.warns(UserWarning, match="state.npz is missing"):
        checkpoint.repair_state(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="state.npz is damaged.*So is the one before.*missing"):
        checkpoint.repair_state(path)
    path.unlink()  # by hand, to save space: what the run has made is not written over
    with pytest.raises(ValueError, match="no backup any more.*--weights="):
        train.run(config(trained_copy, **RUN, epochs=3))


def test_a_damaged_backup_is_replaced_by_the_one_before(trained, trained_copy):
    """The epoch between the two is trained anew, whatever has come of its checkpoints."""
    folder = trained_copy / "checkpoints"
    state = folder / "state.npz"
    state.write_bytes(state.read_bytes()[:-100])
    for name in ("best.keras", "last.keras"):
        (folder / name).write_bytes(b"damaged too")
    with pytest.warns(UserWarning, match="goes on from the backup before it"):
        train.run(config(trained_copy, **RUN))
    check_same(trained.folder, trained_copy)
    assert checkpoint.read_state(state)[1]["step"] == 4


def test_a_signal_after_the_last_epoch_stops_the_run(tmp_path, monkeypatch):
    """When everything is backed up, but before the signals are given back."""
    with monkeypatch.context() as patch:
        patch.setattr(
            callbacks.Checkpoints,
            "on_train_end",
            lambda self, logs=None: os.kill(os.getpid(), signal.SIGTERM),
        )
        with pytest.raises(signals.Interrupted):
            train.run(config(tmp_path))
    assert checkpoint.read_state(tmp_path / "checkpoints" / "state.npz")[1]["step"] == 4
    assert not (tmp_path / "summary.json").exists()
    assert train.run(config(tmp_path))["steps"] == 4


@pytest.mark.parametrize("damage", ["gone", "truncated"])
def test_a_trained_run_without_its_best_checkpoint_ends_with_the_last(
    trained_copy, damage, monkeypatch
):
    """It is there before the workers agree, after which all of them read it."""
    best, last = (trained_copy / "checkpoints" / f"{name}.keras" for name in ("best", "last"))
    (trained_copy / "summary.json").unlink()
    if damage == "gone":
        best.unlink()
    else:
        best.write_bytes(best.read_bytes()[:-100])
    there = {}

    def agree(_, **numbers):
        there[tuple(numbers)] = best.exists() and best.read_bytes() == last.read_bytes()

    monkeypatch.setattr(train, "check_agreement", agree)
    with pytest.warns(UserWarning, match="best.keras is .*The last epoch's checkpoint takes"):
        summary = train.run(config(trained_copy, **RUN))
    assert summary["steps"] == 4
    assert not there["step", "length"] and there["step",]


def test_a_best_checkpoint_that_the_backup_does_not_know_is_forgotten(trained_copy):
    class Model:
        state: list[object] = []
        weights_of_training = contextlib.nullcontext

        @staticmethod
        def begin_average() -> None:
            """It has none."""

        @staticmethod
        def _flatten_layers(**_: object) -> list[object]:
            return []

    state = trained_copy / "checkpoints" / "state.npz"
    arrays, progress = checkpoint.read_state(state)
    assert progress["best_digest"] == checkpoint.digest(trained_copy / "checkpoints" / "best.keras")
    checkpoint.save_state(state, Model, progress)
    assert workdir.restore_progress(trained_copy, Model)["best_epoch"] == progress["best_epoch"]
    (trained_copy / "checkpoints" / "best.keras").write_bytes(b"of a later epoch")
    assert workdir.restore_progress(trained_copy, Model)["best"] is None


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_damaged_checkpoint_is_told_with_the_other_one(trained_copy, name):
    path = trained_copy / "checkpoints" / f"{name}.keras"
    good, other = path.read_bytes(), {"best": "last", "last": "best"}[name]
    for damage in damages(path).values():
        path.write_bytes(damage(good))
        with pytest.raises(ValueError, match=f"damaged.*Load checkpoint='{other}'"):
            rlfat_tf.load(trained_copy, name)
        with pytest.raises(ValueError, match="damaged"):
            rlfat_tf.load(path)
    assert rlfat_tf.load(trained_copy, other)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    """Whatever fails: the write, the flush, or the end of an archive because a write has failed."""

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failing_archive(written):
        with zipfile.ZipFile(written, "w") as file, file.open("part", "w"):
            try:
                full()
            except OSError:
                file.close()  # complains of the open part instead

    path = tmp_path / "file"
    for keep in (None, tmp_path / "previous"):
        path.write_text("before")
        for write in (lambda written: full(), failing_archive):
            with pytest.raises(OSError, match="The disk is full: .*file could not be written"):
                with files.replacing(path, keep=keep) as written:
                    written.write_text("half")
                    write(written)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: full())
            with pytest.raises(OSError, match="The disk is full"):
                with files.replacing(path, keep=keep) as written:
                    written.write_text("whole")
        assert path.read_text() == "before"
        assert [file.name for file in tmp_path.iterdir()] == ["file"]
    with pytest.raises(KeyError), files.replacing(path) as written:
        raise KeyError("another error is not touched")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 20 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("left", [0, 1_000_000])
def test_a_run_on_a_full_disk_stops_and_goes_on_when_there_is_space(trained, small_disk, left):
    """Before it trains, or at its next backup, which is larger than what is left."""
    folder = Path(shutil.copytree(trained.folder, small_disk / "run"))
    before = {p: p.read_bytes() for p in (folder / "checkpoints").iterdir()}
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(1000))
    os.truncate(ballast, max(0, ballast.stat().st_size - left))
    with pytest.raises(OSError, match="The disk is full: .* Free some space"):
        train.run(config(folder, **RUN, epochs=3))
    assert {p: p.read_bytes() for p in (folder / "checkpoints").iterdir()} == before
    assert not list(folder.rglob(".writing-*")) and not (folder / ".lock").exists()
    if left:
        ballast.unlink()
        assert train.run(config(folder, **RUN, epochs=3))["steps"] == 6
        assert [row["epoch"] for row in metrics(folder)] == ["0", "1", "2"]


def test_sigterm_during_validation(trained, tmp_path, monkeypatch):
    """During it, and again when the restarted run begins with it."""
    original = callbacks.Checkpoints.stop_validation_if_asked
    for calls in (2, 1):
        left = [calls]

        def stop(self, left=left):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGTERM)
            original(self)

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.Checkpoints, "stop_validation_if_asked", stop)
            with pytest.raises(signals.Interrupted):
                train.run(config(tmp_path, **RUN))
        progress = checkpoint.read_state(tmp_path / "checkpoints" / "state.npz")[1]
        assert progress["step"] == 2 and "loss" in progress["unvalidated"]
        assert not (tmp_path / "metrics.csv").exists()
    train.run(config(tmp_path, **RUN))
    check_same(trained.folder, tmp_path)
    assert (
        metrics(trained.folder)[0] == metrics(tmp_path)[0]
    )  # the metrics of training are kept as well
