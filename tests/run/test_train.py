"""Runs from beginning to end, on real images: scikit-learn's handwritten digits."""

from __future__ import annotations

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import data
from rlfat_tf.core.compat import KERAS_3
from rlfat_tf.methods import METHODS
from rlfat_tf.run import builders, callbacks, signals, train
from rlfat_tf.run import workdir as workdir_of_a_run
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.storage import checkpoint

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "dataset": "digits",
    "method": "rlfat_p",
    "model": "small_cnn",
    "train_examples": 160,
    "test_examples": 50,
    "batch_size": 48,
    "epochs": 2,
    "epsilon": 0.1,
    "attack_steps": 2,
    "augment": "none",
    "distribution": "none",
    "export": False,
}


def config(workdir: Path, **changes: object) -> TrainConfig:
    settings = {**SMALL, "workdir": str(workdir), **changes}
    if "train_steps" in changes:
        settings["epochs"] = None
    return TrainConfig(**settings)  # type: ignore[arg-type]


def weights(workdir: Path) -> list[np.ndarray]:
    return checkpoint.load(workdir, "last").get_weights()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "a"
    summary = train.run(config(workdir, export=True))
    return workdir, summary


def test_a_run_leaves_what_it_promises(finished):
    workdir, summary = finished
    names = {path.name for path in workdir.iterdir()}
    assert names == {"checkpoints", "config.json", "data.json", "export", "flags.cfg",
                     "metrics.csv", "summary.json", "tensorboard"}  # fmt: skip
    assert json.loads((workdir / "summary.json").read_text()) == summary
    assert summary["steps"] == 6 and summary["test_examples"] == 50
    with open(workdir / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    best = max(float(row["val_adv_accuracy"]) for row in rows)
    assert summary["val_adv_accuracy"] == pytest.approx(best)
    assert not list(workdir.rglob(".writing-*"))


def test_too_little_memory_is_told(tmp_path):
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    assert isinstance(error, train.USER_ERRORS)
    told = train.explain(error, config(tmp_path))
    assert told.startswith("There is not enough memory.") and "--batch_size" in told
    assert told.endswith("TensorFlow says: OOM when allocating")


def test_tensorboard_gets_the_metrics_of_epochs_only(tmp_path, monkeypatch):
    """What it gets of every step would stay in memory for good."""
    written, write = [], tf.summary.scalar

    def spy(name, *arguments, **others):
        written.append(name)
        return write(name, *arguments, **others)

    for module in (tf.summary, importlib.import_module("tensorflow.summary")):
        monkeypatch.setattr(module, "scalar", spy)
    train.run(config(tmp_path))
    assert written.count("epoch_adv_accuracy") == 4, written  # of training and of validation
    assert not [name for name in written if name.startswith("batch_")]
    assert list((tmp_path / "tensorboard" / "train").glob("events.*"))


def test_the_summary_says_what_the_checkpoint_does(finished):
    workdir, summary = finished
    model = rlfat_tf.load(workdir)
    assert isinstance(model, rlfat_tf.RLFATP)
    test = data.load("digits", test_examples=50).test
    images = np.asarray(test.images, np.float32)
    if test.images.dtype == np.uint8:
        images /= 255
    predicted = model.predict(images, verbose=0).argmax(-1)
    assert summary["test_accuracy"] == pytest.approx(np.mean(predicted == test.labels))
    assert summary["test_adv_accuracy"] <= summary["test_accuracy"]


@pytest.mark.current
def test_the_same_seed_gives_the_same_weights_and_another_does_not(finished, tmp_path):
    workdir, _ = finished
    train.run(config(tmp_path / "same"))
    for one, other in zip(weights(workdir), weights(tmp_path / "same")):
        np.testing.assert_array_equal(one, other)
    train.run(config(tmp_path / "other", seed=1))
    pairs = zip(weights(workdir), weights(tmp_path / "other"))
    assert any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("stop_at", [2, 3])
def test_a_stopped_run_goes_on_to_the_same_weights(finished, tmp_path, monkeypatch, stop_at):
    """Stopped within an epoch (2 of 3 steps) or between two epochs."""
    workdir, _ = finished
    original = callbacks.Checkpoints.on_train_batch_end

    def stop(self, batch, logs=None):
        if self.progress["step"] == stop_at - 1:
            self.signals.received = signal.SIGTERM
        original(self, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, "on_train_batch_end", stop)
        with pytest.raises(signals.Interrupted):
            train.run(config(tmp_path))
    summary = train.run(config(tmp_path))
    assert summary["steps"] == 6
    for one, other in zip(weights(workdir), weights(tmp_path)):
        np.testing.assert_array_equal(one, other)
    with open(tmp_path / "metrics.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]


@pytest.mark.current
def test_a_finished_run_trains_nothing_again_and_may_grow(finished, tmp_path, monkeypatch, capsys):
    train.run(config(tmp_path, epochs=1))
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_model", lambda *_: pytest.fail("trained again"))
        train.run(config(tmp_path, epochs=1, export=True))
    assert "clean accuracy" in capsys.readouterr().out
    assert (tmp_path / "export" / "saved_model.pb").is_file()
    before = (tmp_path / "export" / "saved_model.pb").stat().st_mtime_ns
    train.run(config(tmp_path, epochs=2, export=True))
    assert (tmp_path / "export" / "saved_model.pb").stat().st_mtime_ns > before
    for one, other in zip(weights(finished[0]), weights(tmp_path)):
        np.testing.assert_array_equal(one, other)


def test_another_run_in_the_same_folder_is_refused(finished):
    workdir, _ = finished
    with pytest.raises(ValueError, match=r"holds another run \(--eta=None there, 2.0 now\)"):
        train.run(config(workdir, eta=2.0))
    workdir_of_a_run.check_workdir(workdir, config(workdir, epochs=9, distribution="mirrored"))
    with pytest.raises(ValueError, match="may only grow"):
        train.run(config(workdir, epochs=1))


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


@pytest.mark.current
def test_without_validation_the_best_is_the_last(tmp_path):
    summary = train.run(config(tmp_path, validation_fraction=0.0, train_steps=4, batch_size=80))
    assert summary["checkpoint"] == "last (no validation split)"
    assert summary["steps"] == 4
    for one, other in zip(rlfat_tf.load(tmp_path).get_weights(), weights(tmp_path)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_passes_its_arguments(method, tmp_path):
    arguments = builders.method_arguments(
        config(tmp_path, method=method, trades_lambda=3.0, eta=0.25, num_blocks=3,
               weight_decay=1e-4, attack_bn="batch")
    )  # fmt: skip
    net = rlfat_tf.models.build("small_cnn", input_shape=(8, 8, 1), num_classes=10)
    stored = METHODS[method](net, **arguments).get_config()
    wanted = {"weight_decay": 1e-4, "attack_bn": "batch"}
    wanted.update({"trades_lambda": 3.0} if method.endswith(("trades", "_t")) else {})
    wanted.update({"num_blocks": 3} if method[:2] in ("rb", "rl") else {})
    wanted.update({"eta": 0.25} if method.startswith("rlfat") else {})
    assert {name: stored[name] for name in wanted} == wanted
    assert METHODS[method](net, **arguments).eval_attack.epsilon == pytest.approx(0.1)


def test_averaged_weights_are_evaluated_and_resumed(tmp_path):
    whole = config(tmp_path / "whole", ema=0.5)
    train.run(whole)
    train.run(config(tmp_path / "parts", ema=0.5, epochs=1))
    train.run(config(tmp_path / "parts", ema=0.5))
    for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "parts")):
        np.testing.assert_array_equal(one, other)
    with np.load(tmp_path / "whole" / "checkpoints" / "state.npz") as state:
        raw = state["0"]
    assert not np.array_equal(raw, weights(tmp_path / "whole")[0])


@pytest.mark.current
def test_bfloat16_and_schedules_train(tmp_path):
    summary = train.run(
        config(tmp_path, mixed_precision="bfloat16", lr_schedule="cosine", optimizer="sgd",
               learning_rate=0.05, weight_decay=5e-4)
    )  # fmt: skip
    assert 0 <= summary["test_adv_accuracy"] <= 1
    assert rlfat_tf.load(tmp_path).model.layers[1].compute_dtype == "bfloat16"


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path):
    train.run(config(tmp_path, epochs=1))
    good = weights(tmp_path)
    backup = tmp_path / "checkpoints" / "state.npz"
    with np.load(backup) as state:
        arrays = dict(state)
    (bias,) = [name for name, a in arrays.items() if a.shape == (10,)][:1]  # of the logits
    arrays[bias] = np.full_like(arrays[bias], np.nan)
    np.savez(backup, **arrays)
    with pytest.raises(ValueError, match="^The loss is not finite: nan") as error:
        train.run(config(tmp_path, epochs=2))
    assert "Lower --learning_rate" in train.explain(error.value, config(tmp_path))
    for one, other in zip(good, weights(tmp_path)):
        np.testing.assert_array_equal(one, other)


def test_addons_optimizers_are_there_or_say_why_not(tmp_path):
    chosen = config(tmp_path, optimizer="tfa:LAMB", epochs=1)
    if KERAS_3:
        with pytest.raises(ImportError, match="TensorFlow Addons has ended"):
            train.run(chosen)
        assert not any(tmp_path.iterdir())
        return
    summary = train.run(chosen)
    assert summary["steps"] == 3
    assert train.run(config(tmp_path, optimizer="tfa:LAMB", epochs=2))["steps"] == 6
    with pytest.raises(ValueError, match="Did you mean 'LAMB'"):
        train.run(config(tmp_path / "typo", optimizer="tfa:LAM"))


def test_unknown_names_are_refused_before_anything_is_written(tmp_path):
    for changes, message in [
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"model": "wrn-10"}, "wrn-<depth>-<width>"),
        ({"dataset": "digit"}, "Did you mean 'digits'"),
        ({"augment": "flp"}, "Did you mean 'flip'"),
        ({"batch_size": 4000}, "4000"),
    ]:
        with pytest.raises(ValueError, match=message):
            train.run(config(tmp_path, **changes))
        assert not any(tmp_path.iterdir())


def start(workdir: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), f"--workdir={workdir}", "--epochs=12",
               *(f"--{k}={v}" for k, v in SMALL.items() if k != "epochs")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.current
def test_interrupt_and_kill_of_the_real_command(tmp_path):
    metrics = tmp_path / "metrics.csv"

    def lines() -> int:
        return metrics.read_text().count("\n") if metrics.is_file() else 0

    for stop, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process, before, deadline = start(tmp_path), lines(), time.monotonic() + 180
        while lines() < before + 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(stop)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == status, output
        assert (stop == signal.SIGKILL) or "goes on from the backup" in output
    process = start(tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "Resuming at step" in output
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 36
    with open(metrics) as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(12))


def test_two_replicas_train_as_one_and_resume(tmp_path):
    """The same batches in the same order, also after resuming.

    Without an attack, whose signs would make much of Keras 2's two ways to compute a variance.
    """
    sgd = {"method": "standard", "optimizer": "sgd", "learning_rate": 0.02}
    train.run(config(tmp_path / "one", **sgd))
    train.run(config(tmp_path / "two", **sgd, distribution="mirrored", epochs=1))
    train.run(config(tmp_path / "two", **sgd, distribution="mirrored"))
    for one, other in zip(weights(tmp_path / "one"), weights(tmp_path / "two")):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_embedded_job_end_to_end(tmp_path):
    """The README's first command, its recipe shortened; runs on both stacks."""
    command = [sys.executable, str(ROOT / "train.py"), "--dataset=digits", "--method=rlfat_p",
               "--epochs=1", "--train_examples=300", "--test_examples=60"]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PGD-20 accuracy" in done.stdout
    run = tmp_path / "runs" / "digits_rlfat_p"
    assert (run / "export" / "saved_model.pb").is_file()
    evaluate = [sys.executable, str(ROOT / "eval.py"), f"--workdir={run}", "--test_examples=60",
                "--attacks=clean,pgd,apgd_ce"]  # fmt: skip
    report = subprocess.run(
        evaluate, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, capture_output=True
    )
    assert report.returncode == 0, report.stderr
    assert "worst case" in report.stdout
    measured = json.loads((run / "evaluation" / "report.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    assert measured["clean_accuracy"] == pytest.approx(summary["test_accuracy"])
    # Other random starts, and here the best point of the way counts, not the last.
    robust = measured["attacks"]["pgd"]["robust_accuracy"]
    assert robust == pytest.approx(summary["test_adv_accuracy"], abs=0.1)
    assert measured["worst_case_accuracy"] <= robust
    assert "<h1>" in (run / "evaluation" / "report.html").read_text()
