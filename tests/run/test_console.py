"""What the commands say to a person: help, the lines of a run, and no noise."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from absl import app, flags

import rlfat_console
from rlfat_tf import attacks, data
from rlfat_tf.core.errors import given
from rlfat_tf.run import cli, console
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.example_pictures import TITLE, ExamplePictures, side_by_side
from rlfat_tf.run.help import COMMANDS, help_text

NOISE = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795673865.168252   22881 cudart_stub.cc:31] Could not find cuda drivers on your machine
2026-11-26 06:21:02.464766: I external/local_tsl/tsl/cuda/cudart_stub.cc:31] Could not find cuda
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow
E0000 00:00:1795673946.665705 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN (303)
"""
ERRORS = """E0000 00:00:1795673946.665705 1 cuda_platform.cc:52] failed call to cuInit: memory (2)
Traceback (most recent call last):
a last line without an end"""


@pytest.mark.parametrize(
    "value, text",
    [
        (8 / 255, "8/255"),
        (2 / 255, "2/255"),
        (0.03, "0.03"),
        (0.2, "0.2"),  # 51/255, but nobody writes it so
        (1.0, "1.0"),
        (0.0, "0.0"),
        (1e-3, "0.001"),
        (-0.3, "-0.3"),
        (0.0314, "0.0314"),  # near 8/255, not equal
    ],
)
def test_numbers_are_shown_as_people_write_them(value, text):
    assert console.number_text(value) == text
    assert cli.FractionParser().parse(text) == value


@pytest.mark.parametrize(
    "seconds, text",
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5990, "100 min"), (12600, "3.5 h")],
)
def test_durations(seconds, text):
    assert console.duration(seconds) == text


def test_an_attack_is_told_in_a_few_words():
    attack = attacks.LinfPGD(epsilon=8 / 255, steps=10, step_size=2 / 255)
    shown = console.describe_attack(attack)
    assert shown == "LinfPGD, epsilon 8/255, 10 steps of length 2/255"
    assert console.describe_attack(None) == "none"


def test_an_evaluation_says_what_it_is_of(capsys):
    console.show_evaluation_header(
        EvalConfig(
            model_path="net.keras", dataset="cifar10", epsilon=(8 / 255, 0.03), norm="linf",
            attacks="clean,pgd", report_dir="there",
        ),
        10_000,
    )  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "Evaluation",
        "  data     cifar10, 10000 test images",
        "  model    net.keras",
        "  attacks  clean,pgd, epsilon 8/255, 0.03 in the norm linf",
        "  report   there",
    ]


def lines_of_epochs(monkeypatch, capsys, live):
    monkeypatch.setenv("COLUMNS", "30")
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress = {"step": 0}
    lines = console.EpochLines(progress, steps_per_epoch=4, total_steps=800)
    lines._live = live
    lines.set_params({"steps": 4})
    logs = {"loss": 12.34567, "adv_accuracy": 1.0, "val_accuracy": 1.0, "val_adv_accuracy": 0.5}
    for epoch in (0, 199):
        progress["step"] = 4 * epoch
        lines.on_epoch_begin(epoch)
        for batch in range(4):
            now[0] += 3600.0
            progress["step"] += 1
            lines.on_train_batch_end(batch)
        lines.on_epoch_end(epoch, logs)
    return capsys.readouterr().out


def test_an_epoch_has_one_line_with_the_time_that_is_left(monkeypatch, capsys):
    first, last = lines_of_epochs(monkeypatch, capsys, live=False).splitlines()
    assert first == (
        "epoch   1/200  loss 12.35  train - / 100.0%  val 100.0% / 50.0%  4.0 h  ETA 796.0 h"
    )
    assert "ETA" not in last and last.startswith("epoch 200/200  loss")


def test_on_a_terminal_the_line_renews_itself_and_stays_within_its_columns(monkeypatch, capsys):
    shown = lines_of_epochs(monkeypatch, capsys, live=True)
    assert shown.count("\n") == 2
    parts = [part.replace("\033[K", "") for part in re.split(r"[\r\n]", shown)]
    renewed = [part for part in parts if " step " in part]
    assert renewed[1] == "epoch   1/200  step 2/4  ETA "
    assert max(map(len, renewed)) < 30
    assert parts[5].endswith("val 100.0% / 50.0%  4.0 h  ETA 796.0 h")


@pytest.mark.parametrize("config", [TrainConfig, EvalConfig])
def test_help_has_every_flag_in_a_group(config):
    text = help_text(config)
    shown = re.findall(r"^  --(\w+)", text, flags=re.M)
    assert shown == [field.name for field in dataclasses.fields(config)]
    assert shown[0] == next(iter(COMMANDS[config][1]))  # no flag stands before the first group
    assert set(COMMANDS[config][1]) <= set(shown)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("argument", ["--help", "--helpshort", "-?"])
def test_help_ends_well(argument, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    monkeypatch.setattr(app, "run", lambda _, flags_parser: flags_parser(sys.argv))
    with pytest.raises(SystemExit) as stop:
        cli.train_main()
    assert stop.value.code == 0
    assert "  --epsilon=8/255\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--epochs=two", "expected an integer such as 50, got 'two'"),
        ("--epochs=1.5", "expected an integer such as 50, got '1.5'"),
        ("--flagfile=gone.cfg", "files of flags at gone.cfg; there is none"),
    ],
)
def test_what_is_wrong_is_a_sentence(argument, message):
    with pytest.raises(flags.Error, match=message):
        cli.parse(["", argument], cli.new_values())


@pytest.mark.parametrize(
    "value, text", [(None, "not given"), ("pgd", "'pgd'"), (0.5, "0.5"), ([1], "[1]"), (0, "0")]
)
def test_a_setting_that_was_left_open_is_not_called_none(value, text):
    assert given(value) == text


def test_tensorboard_has_every_metric_once(trained):
    for part in ("train", "validation"):
        (file,) = (trained.folder / "tensorboard" / part).glob("events.*")
        events = tf.compat.v1.train.summary_iterator(str(file))
        tags = [(event.step, value.tag) for event in events for value in event.summary.value]
        assert (0, "epoch_loss") in tags
        assert len(set(tags)) == len(tags)
        assert all(tag.startswith("epoch_") for _, tag in tags)


def test_tensorboard_shows_examples_every_few_epochs(tmp_path):
    net = tf.keras.Sequential([tf.keras.Input((4, 4, 1)), tf.keras.layers.Flatten()])
    net.add(tf.keras.layers.Dense(2, use_bias=False, kernel_initializer="ones"))
    net.layers[-1].kernel.assign([[1.0, -1.0]] * 16)
    pixels = np.random.default_rng(0).integers(100, 150, (5, 4, 4, 1), np.uint8)
    examples = data.Arrays(pixels, np.zeros(5, np.int64))
    shower = ExamplePictures(tmp_path, examples, every=2, seed=0)
    attack = attacks.LinfPGD(epsilon=0.25, steps=1, step_size=0.25, random_start="none")
    shower.set_model(types.SimpleNamespace(model=net, eval_attack=attack))
    for epoch in range(4):
        shower.on_epoch_end(epoch)
    (file,) = (tmp_path / "examples").glob("events.*")
    events = list(tf.compat.v1.train.summary_iterator(str(file)))
    values = [(event.step, value) for event in events for value in event.summary.value]
    assert [step for step, _ in values] == [1, 3]
    assert {value.tag for _, value in values} == {TITLE}
    shown = tf.io.decode_png(values[0][1].tensor.string_val[2]).numpy()
    images = pixels / 255
    # Class 0 is the brighter one: every pixel is darkened by epsilon.
    expected = [images, images - 0.25, np.zeros_like(images)]
    expected = np.concatenate([np.concatenate(list(row), axis=1) for row in expected], axis=0)
    np.testing.assert_allclose(shown / 255, expected, atol=1 / 255)


@pytest.mark.parametrize("channels", [2, 5])
def test_channels_that_are_no_colours_are_shown_as_their_mean(channels):
    images = np.random.default_rng(0).random((2, 4, 3, channels)).astype(np.float32)
    shown = side_by_side(tf.constant(images), tf.constant(images)).numpy()
    expected = np.concatenate([*images.mean(-1)], axis=1)
    np.testing.assert_allclose(shown[:4, :, 0], expected, atol=1e-6)
    assert shown.shape == (12, 6, 1)


def test_noise_is_held_back_and_errors_are_not(capfd):
    with rlfat_console.without_noise():
        os.write(2, (NOISE + ERRORS).encode())
    assert capfd.readouterr().err == ERRORS
    os.write(2, b"afterwards as ever")
    assert capfd.readouterr().err == "afterwards as ever"


@pytest.mark.parametrize("argument", ["--verbosity=1", "-v=1", "--verbosity"])
def test_verbosity_shows_all(argument):
    assert rlfat_console.ASKS_FOR_ALL.match(argument)
    assert not rlfat_console.ASKS_FOR_ALL.match("--validation_every=2")


@pytest.mark.parametrize(
    ("category", "shown"),
    [(UserWarning, "Warning: why.\n"), (RuntimeWarning, "a.py:7: RuntimeWarning: why.\n")],
)
def test_a_warning_has_no_line_of_code(category, shown):
    assert rlfat_console.as_a_sentence("why.", category, "a.py", 7, "code") == shown
