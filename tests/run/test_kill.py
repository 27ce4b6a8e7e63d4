"""Runs that are killed at any moment end as if nothing had happened."""

from __future__ import annotations

import itertools
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.forks import KILLED
from tests.run.interruptions import code
from tests.runs import TRAINED, check_same, config, flags, metrics


def start(forks, run, at="", number=signal.SIGKILL, points=None):
    before = code(at, number, points) if at else ""
    return forks.start("train.py", *flags(run), before=before)


def finish(forks, run):
    return start(forks, run).check()


def kill_at_points(forks, run, points, at):
    """Kills a run at a point, restarts it, kills it at the next one, and so on to its end."""
    while True:
        process = start(forks, run, at, points=points)
        status = process.wait()
        if status == 0:
            break
        assert status == KILLED, process.output[-3000:]
    return points.read_text().split()


def check_served(expected, actual):
    images = np.linspace(0, 1, 320, dtype=np.float32).reshape([5, 8, 8, 1])
    logits = []
    for workdir in (expected, actual):
        served = tf.saved_model.load(str(workdir / "export")).signatures["serving_default"]
        logits.append(served(images=tf.constant(images))["logits"])
    np.testing.assert_array_equal(*logits)


@pytest.mark.current
def test_stopped_and_killed_on_the_way(forks, trained, tmp_path):
    """The short form of the tests below, with Ctrl-C and the signal of a cluster."""
    run = config(tmp_path / "run", **TRAINED)
    process = start(forks, run, "step@1", signal.SIGINT)  # within the first epoch
    assert process.wait() == 130, process.output
    assert "Stopped by SIGINT. The same command again" in process.output

    process = start(forks, run, "best.keras@2")  # last.keras is of an epoch that has no backup yet
    assert process.wait() == KILLED, process.output
    assert "Resuming at step 1 of 4" in process.output

    process = start(forks, run, "state.npz@2", signal.SIGTERM)
    assert process.wait() == 143, process.output
    assert "Stopped by SIGTERM. The same command again" in process.output

    process = start(forks, run, "export@4")  # trained, but neither exported nor tested
    assert process.wait() == KILLED, process.output
    assert not (tmp_path / "run" / "export").exists()

    finish(forks, run)
    check_same(trained.folder, tmp_path / "run")
    check_served(trained.folder, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("grown", [False, True])
def test_killed_at_every_point_at_which_a_file_is_moved(forks, trained, tmp_path, grown):
    """One run that dies at all of them, then for each of them a run that dies there alone."""

    def begun(workdir):
        if grown:
            finish(forks, config(workdir, **{**TRAINED, "epochs": 1}))
        return config(workdir, **TRAINED)

    run = begun(tmp_path / "all")
    died = kill_at_points(forks, run, tmp_path / "points", at="(?!step@).*")
    check_same(trained.folder, Path(run.workdir))
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
        check_same(trained.folder, Path(run.workdir))
        check_served(trained.folder, Path(run.workdir))


# Touches a file when a validation begins: nothing else on disk tells.
MARK = """
import pathlib
from rlfat_tf.run.callbacks import Checkpoints
mark, begin = pathlib.Path({!r}), Checkpoints.on_test_begin
Checkpoints.on_test_begin = lambda self, logs=None: (mark.touch(), begin(self, logs))
"""


def changed(path, before):
    try:
        return path.stat().st_mtime > before
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_twenty_kills_at_random_moments(forks, tmp_path):
    """Of the start, of steps and backups, of validation, and of the end."""
    changes = {
        "method": "rlfat_p", "train_examples": 600, "test_examples": 300, "epochs": 12,
        "augment": "crop_flip", "checkpoint_every": 2, "export": True,
    }  # fmt: skip
    whole, run = config(tmp_path / "whole", **changes), config(tmp_path / "run", **changes)
    finish(forks, whole)
    draw = random.Random(0)
    # What to wait for, and for how many seconds at most after that.
    triggers = [("the start", 4.0)] * 3 + [("checkpoints/state.npz", 0.3)] * 5
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
        process = forks.start(
            "train.py", *flags(run), before=MARK.format(f"{run.workdir}/validation")
        )

        def reached(name=name, before=before):
            if name == "the start":
                return True
            if name == "the last epoch":
                path = tmp_path / "run" / "metrics.csv"
                return path.exists() and len(metrics(tmp_path / "run")) == run.epochs
            return changed(tmp_path / "run" / name, before)

        process.wait_for(reached)
        time.sleep(draw.uniform(0, longest))
        process.kill()
        status = process.wait()
        kills += status == KILLED
        print(f"after {name}: {'killed' if status == KILLED else 'ended'}")
        assert status in (0, KILLED), process.output  # the end may come before the kill
    finish(forks, run)
    check_same(tmp_path / "whole", tmp_path / "run")
    check_served(tmp_path / "whole", tmp_path / "run")
