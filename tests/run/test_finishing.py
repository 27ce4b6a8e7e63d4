"""What comes after the last epoch: the export, the test, the summary."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks import LinfPGD
from rlfat_tf.evaluation import clean_and_adversarial_accuracy
from rlfat_tf.run import callbacks, train
from rlfat_tf.run.signals import Interrupted, Signals, StopTesting
from tests import reference
from tests.runs import config

ACCURACY = {"test_accuracy": 0.75, "test_adv_accuracy": 0.5}


@pytest.mark.current
def test_stopped_in_the_test_it_is_exported_and_ends_with_fewer_examples(
    tmp_path, monkeypatch, capsys
):
    def interrupted(*_):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(train, "evaluate_on_test", interrupted)
    with pytest.raises(Interrupted):
        train.run(config(tmp_path, train_steps=1, epochs=None, export=True))
    card = tmp_path / "export" / "assets.extra" / "model_card.json"
    assert json.loads(card.read_text())["test_accuracy"] is None
    assert not (tmp_path / "summary.json").exists()

    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: ACCURACY)
    fewer = config(tmp_path, train_steps=1, epochs=None, export=True, test_examples=20)
    assert train.run(fewer)["test_examples"] == 20
    assert json.loads(card.read_text())["test_accuracy"] == 0.75

    monkeypatch.setattr(train, "train_model", lambda *_: pytest.fail("trained again"))
    more = config(tmp_path, train_steps=1, epochs=None, export=True, test_examples=30)
    assert train.run(more)["test_examples"] == 30
    assert json.loads((tmp_path / "summary.json").read_text())["test_examples"] == 30
    assert "SavedModel" in capsys.readouterr().out

    # The card of a SavedModel is not that of a later checkpoint, which was not exported.
    before = card.read_text()
    os.utime(tmp_path / "checkpoints" / "best.keras")
    later = config(tmp_path, train_steps=1, epochs=None, export=False, test_examples=25)
    assert train.run(later)["test_examples"] == 25
    assert card.read_text() == before and "SavedModel" not in capsys.readouterr().out


def test_the_batch_that_is_traced_tells_no_speed(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    lines = callbacks.ProgressLines("Test", examples=7, batch_size=2)
    lines.on_test_begin()
    for batch, seconds in enumerate((60.0, 6.0, 6.0, 6.0)):
        now[0] += seconds
        lines.on_test_batch_end(batch)
    assert capsys.readouterr().out.splitlines() == [
        "Test: 7 images.",
        "Test: 2 of 7 images.",
        "Test: 4 of 7 images, 9 s left.",
        "Test: 6 of 7 images, 3 s left.",
        "Test: 7 of 7 images, 0 s left.",
    ]


def test_a_test_stops_between_two_batches_and_says_how_far_it_is(capsys):
    images = np.random.default_rng(0).random((8, *reference.keras_net().input_shape[1:]))
    data = tf.data.Dataset.from_tensor_slices((images.astype(np.float32), np.zeros(8, np.int64)))
    signals = Signals()
    lines = callbacks.ProgressLines("Test", examples=8, batch_size=2, seconds=0.0)

    class Ask(StopTesting):
        def on_test_batch_end(self, batch, logs=None):
            signals.received = signal.SIGTERM if batch == 1 else None
            super().on_test_batch_end(batch, logs)

    with pytest.raises(Interrupted, match="SIGTERM"):
        clean_and_adversarial_accuracy(
            reference.keras_net(), data.batch(2), LinfPGD(steps=1), callbacks=[lines, Ask(signals)]
        )
    printed = capsys.readouterr().out
    assert "Test: 8 images." in printed and "Test: 4 of 8 images, " in printed
    assert "6 of 8" not in printed
