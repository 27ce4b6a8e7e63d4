"""Runs that are killed at any moment end as if nothing had happened."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.run.forked_training import ROOT, Forks
from tests.runs import check_same, config, metrics

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    server = Forks(tmp_path_factory.mktemp("log") / "log.txt")
    yield server
    server.close()


def finish(forks, run):
    forks.start(run)
    assert forks.wait() == 0, forks.log.read_text()[-3000:]


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def changed(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime > before
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def expected(forks, tmp_path_factory):
    """A run that nothing happened to."""
    run = config(tmp_path_factory.mktemp("expected") / "run", export=True)
    finish(forks, run)
    return Path(run.workdir)


def kill_at_points(forks, run, points, at=".*"):
    """Kills a run at a point, restarts it, kills it at the next one, and so on to its end."""
    while True:
        forks.start(run, points, at)
        status = forks.wait()
        if status == 0:
            break
        assert status == KILLED, forks.log.read_text()[-3000:]
    return points.read_text().split()


def check_served(expected, actual):
    images = np.linspace(0, 1, 320, dtype=np.float32).reshape([5, 8, 8, 1])
    logits = []
    for workdir in (expected, actual):
        served = tf.saved_model.load(str(workdir / "export")).signatures["serving_default"]
        logits.append(served(images=tf.constant(images))["logits"])
    np.testing.assert_array_equal(*logits)


@pytest.mark.current
def test_killed_and_preempted_on_the_way(forks, expected, tmp_path):
    """The short form of the tests below."""
    run, points = config(tmp_path / "run", export=True), tmp_path / "points"
    forks.start(run, points, at="best.keras@2")  # last.keras is of an epoch that has no backup yet
    assert forks.wait() == KILLED

    before = time.time()
    process = forks.start(run)
    wait_for(lambda: changed(tmp_path / "run" / "checkpoints" / "state.npz", before))
    os.kill(process, signal.SIGTERM)
    assert forks.wait() == 143, forks.log.read_text()[-3000:]
    assert "Stopped by SIGTERM. The same command again" in forks.log.read_text()

    forks.start(run, points, at="export@4")  # the summary is there, the export is not
    assert forks.wait() == KILLED
    assert not (tmp_path / "run" / "export").exists()

    process = forks.start(run)
    time.sleep(random.uniform(0, 3))
    with contextlib.suppress(ProcessLookupError):  # it may have ended
        os.kill(process, signal.SIGKILL)
    assert forks.wait() in (0, KILLED)

    finish(forks, run)
    check_same(expected, tmp_path / "run")
    check_served(expected, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("grown", [False, True])
def test_killed_at_every_point_at_which_a_file_is_moved(forks, expected, tmp_path, grown):
    """One run that dies at all of them, then for each of them a run that dies there alone."""

    def begun(workdir):
        if grown:
            finish(forks, config(workdir, epochs=1, export=True))
        return config(workdir, export=True)

    run = begun(tmp_path / "all")
    died = kill_at_points(forks, run, tmp_path / "points")
    check_same(expected, Path(run.workdir))
    names = {point.split("@")[0] for point in died}
    assert names == {
        "config.json", "flags.cfg", "metrics.csv", "last.keras", "best.keras", "state.npz",
        "state.previous.npz", "summary.json", "export", *(["before"] if grown else []),
    }  # fmt: skip
    for number, point in enumerate(died):
        if point in ("state.npz@0", "before@0", "export@0"):  # moved by a restarted run alone
            continue
        run = begun(tmp_path / str(number))
        points = tmp_path / f"points{number}"
        assert kill_at_points(forks, run, points, at=point) == [point]
        check_same(expected, Path(run.workdir))
        check_served(expected, Path(run.workdir))


# The real command, which touches a file when a validation begins: nothing else on disk tells.
TRAIN = """
import pathlib, runpy, sys
from rlfat_tf.run.callbacks import Checkpoints
mark, begin = pathlib.Path(sys.argv[1]), Checkpoints.on_test_begin
Checkpoints.on_test_begin = lambda self, logs=None: (mark.touch(), begin(self, logs))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_twenty_kills_of_the_real_command(tmp_path):
    """At random moments of the start, of steps and backups, of validation, and of the end."""
    changes = {
        "method": "rlfat_p", "train_examples": 600, "test_examples": 300, "epochs": 12,
        "augment": "crop_flip", "checkpoint_every": 2, "export": True,
    }  # fmt: skip

    def start(run):
        mark = f"{run.workdir}/validation"
        command = [sys.executable, "-c", TRAIN, mark, str(ROOT / "train.py")]
        command += run.to_flags().split("\n")[:-1]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
        return subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def end(process):
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output

    whole, run = config(tmp_path / "whole", **changes), config(tmp_path / "run", **changes)
    end(start(whole))
    draw = random.Random(0)
    # What to wait for, and for how many seconds at most after that.
    triggers = [("the start", 8.0)] * 3 + [("checkpoints/state.npz", 0.3)] * 5
    triggers += [("checkpoints/last.keras", 0.2)] * 2 + [("metrics.csv", 0.3)] * 2
    triggers += [("validation", 0.1)] * 3
    draw.shuffle(triggers)
    triggers += [("the last epoch", 2.0)] + [("config.json", 3.0)] * 2  # it evaluates
    triggers += [("summary.json", 1.0), ("config.json", 1.0)]  # it exports
    kills = 0
    for name, longest in itertools.chain(triggers, itertools.repeat(("config.json", 0.5))):
        if kills == 20:
            break
        before = time.time()
        process = start(run)

        def reached(name=name, before=before, process=process):
            if process.poll() is not None:
                return True
            if name == "the start":
                return True
            if name == "the last epoch":
                path = tmp_path / "run" / "metrics.csv"
                return path.exists() and len(metrics(tmp_path / "run")) == run.epochs
            return changed(tmp_path / "run" / name, before)

        wait_for(reached, 600)
        time.sleep(draw.uniform(0, longest))
        process.kill()
        output, _ = process.communicate()
        kills += process.returncode == KILLED
        print(f"after {name}: {'killed' if process.returncode == KILLED else 'ended'}")
        assert process.returncode in (0, KILLED), output  # the end may come before the kill
    end(start(run))
    check_same(tmp_path / "whole", tmp_path / "run")
    check_served(tmp_path / "whole", tmp_path / "run")
