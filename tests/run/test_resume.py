"""Runs that stop and go on, in the same folder."""

from __future__ import annotations

import dataclasses
import json
import signal

import numpy as np
import pytest

from rlfat_tf.run import callbacks, signals, train
from rlfat_tf.run import workdir as workdir_of_a_run
from tests.runs import TRAINED, check_same, config, weights

# Runs of tests/run/test_kill.py are exported and tested after they have resumed.
RUN = {**TRAINED, "export": False}


@pytest.fixture
def tested_at_once(trained, monkeypatch):
    """The test set gives the figures of the run that nothing happened to."""
    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: trained.tested)


@pytest.mark.parametrize(
    ("first", "total", "expected"),
    [
        (0, 6, [(0, 2, 3)]),
        (0, 7, [(0, 2, 3), (2, 3, 1)]),
        (2, 9, [(0, 1, 1), (1, 3, 3)]),
        (4, 5, [(1, 2, 1)]),
        (6, 6, []),
    ],
)
def test_segments(first, total, expected):
    assert train.segments(first, total, 3) == expected


@pytest.mark.parametrize("stop_at", [1, 2])
@pytest.mark.usefixtures("tested_at_once")
def test_a_stopped_run_goes_on_to_the_same_weights(trained, tmp_path, monkeypatch, stop_at):
    """Stopped within an epoch (1 of 2 steps) or between two epochs; the averages go on as well."""
    original = callbacks.Checkpoints.on_train_batch_end

    def stop(self, batch, logs=None):
        if self.progress["step"] == stop_at - 1:
            signal.raise_signal(signal.SIGTERM)
        original(self, batch, logs)

    run = config(tmp_path, **RUN)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, "on_train_batch_end", stop)
        with pytest.raises(signals.Interrupted):
            train.run(run)
    assert train.run(run)["steps"] == 4
    check_same(trained.folder, tmp_path)


@pytest.mark.current
@pytest.mark.usefixtures("tested_at_once")
def test_stopped_in_the_validation_of_the_only_epoch(trained, tmp_path, monkeypatch):
    """There is no checkpoint yet; afterwards the export's card has the figures of the test."""
    run = config(tmp_path, **{**RUN, "epochs": 1})
    original = callbacks.Checkpoints.on_test_begin

    def stop(self, logs=None):
        signal.raise_signal(signal.SIGTERM)
        original(self, logs)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, "on_test_begin", stop)
        with pytest.raises(signals.Interrupted):
            train.run(run)
    assert not (tmp_path / "checkpoints" / "last.keras").exists()
    summary = train.run(run)
    assert summary["steps"] == 2 and summary["checkpoint"] == "best, epoch 1"
    train.run(dataclasses.replace(run, export=True))
    card = json.loads((tmp_path / "export/assets.extra/model_card.json").read_text())
    assert card["test_accuracy"] == summary["test_accuracy"] is not None


@pytest.mark.current
@pytest.mark.usefixtures("tested_at_once")
def test_a_finished_run_trains_nothing_again_and_may_grow(trained, tmp_path, monkeypatch, capsys):
    short = {**TRAINED, "epochs": 1}
    train.run(config(tmp_path, **{**short, "export": False}))
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_model", lambda *_: pytest.fail("trained again"))
        train.run(config(tmp_path, **short))
    assert "clean accuracy" in capsys.readouterr().out
    assert (tmp_path / "export" / "saved_model.pb").is_file()
    before = (tmp_path / "export" / "saved_model.pb").stat().st_mtime_ns
    train.run(config(tmp_path, **TRAINED))
    assert (tmp_path / "export" / "saved_model.pb").stat().st_mtime_ns > before
    check_same(trained.folder, tmp_path)


def test_another_run_in_the_same_folder_is_refused(trained):
    def again(**changes):
        return config(trained.folder, **{**TRAINED, **changes})

    with pytest.raises(ValueError, match=r"holds another run \(--eta: 0.5 there, 2.0 now\)"):
        train.run(again(eta=2.0))
    workdir_of_a_run.check_workdir(trained.folder, again(epochs=9, distribution="mirrored"))
    with pytest.raises(ValueError, match="may only grow"):
        train.run(again(epochs=1))


def test_a_start_without_a_step_claims_no_folder(tmp_path, monkeypatch):
    """Its weights and its data too may have been others."""

    class Refused(ValueError):
        pass

    def refuse(*_):
        raise Refused("found while tracing")

    monkeypatch.setattr(train, "train_model", refuse)
    with pytest.raises(Refused):
        train.run(config(tmp_path, **{**TRAINED, "num_blocks": 3}))
    assert (tmp_path / "config.json").is_file()
    record = tmp_path / "data.json"
    record.write_text(record.read_text().replace('"9"', '"nine"'))
    good_state = tmp_path / "checkpoints" / "state.good.npz"
    good_state.parent.mkdir()
    good_state.write_bytes(b"of the beginning of another network")
    with pytest.raises(Refused):
        train.run(config(tmp_path, **{**TRAINED, "num_blocks": 2}))
    assert workdir_of_a_run.read_config(tmp_path).num_blocks == 2
    assert '"nine"' not in record.read_text() and not good_state.exists()
    # What is left of a run whose checkpoints were removed is not overwritten.
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds another run \(--num_blocks: 2 there, 3 now\)"):
        train.run(config(tmp_path, **{**TRAINED, "num_blocks": 3}))


@pytest.mark.parametrize("left", ["checkpoints/state.npz", "checkpoints/last.keras", "metrics.csv"])
def test_what_training_has_made_is_protected(tmp_path, left):
    (tmp_path / "checkpoints").mkdir()
    assert not workdir_of_a_run.has_trained(tmp_path)
    (tmp_path / left).write_text("")
    assert workdir_of_a_run.has_trained(tmp_path)


def test_more_blocks_than_pixels_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"--num_blocks to be at most 8, .* 8 x 8 .*received 9"):
        train.run(config(tmp_path / "run", **{**TRAINED, "num_blocks": 9}))
    assert not (tmp_path / "run").exists()


def test_two_replicas_train_as_one_and_resume(trained, tmp_path, monkeypatch):
    """The same batches of mixed images in the same order, also after resuming.

    Without an attack, whose signs would make much of Keras 2's two ways to compute a variance.
    """
    sgd = {
        "method": "standard",
        "optimizer": "sgd",
        "learning_rate": 0.02,
        "augment": "crop_flip+cutmix",
    }
    with monkeypatch.context() as patch:  # two replicas test once, in the end
        patch.setattr(train, "evaluate_on_test", lambda *_: trained.tested)
        train.run(config(tmp_path / "one", **sgd))
        train.run(config(tmp_path / "two", **sgd, distribution="mirrored", epochs=1))
    train.run(config(tmp_path / "two", **sgd, distribution="mirrored"))
    for one, other in zip(weights(tmp_path / "one"), weights(tmp_path / "two")):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
