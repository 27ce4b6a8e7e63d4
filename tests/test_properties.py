"""Whatever is typed, or stands in a file of flags or a config.json: a message, no traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json

import pytest
from absl import flags
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlfat_tf.run import cli, recipes, schedules
from rlfat_tf.run.builders import method_arguments
from rlfat_tf.run.config import TrainConfig

FIELDS = [field.name for field in dataclasses.fields(TrainConfig)]
REFUSALS = (ValueError, flags.Error)
quick = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.tuples(st.floats(), st.floats()).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.sampled_from(["8/255", "1e400", "1/0", "1e400/1", "1/1e999999999", "0x10", "١٢", "1_0"]),
)
words = st.sampled_from(
    ["true", "none", "step:75,90", "digits", "folder:", "tfds:a/b", "wrn-16-2", "flip+cutout", "~"]
)
texts = st.one_of(st.text(max_size=20), numbers, words, st.just("long" * 100))
arguments = st.one_of(
    st.tuples(st.sampled_from(FIELDS), texts).map(lambda pair: f"--{pair[0]}={pair[1]}"),
    st.sampled_from(FIELDS).map("--{}".format),
    st.sampled_from(FIELDS).map("--no{}".format),
    texts,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=5,
)


def parse(line):
    """What the command does with its flags, up to where it would run."""
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_string("undefok", "", "", flag_values=values)
    with contextlib.redirect_stderr(io.StringIO()):
        return cli.parse(["train.py", *line], values)[0]


def check_usable(config):
    """What is accepted can be written, read again and built from, and names a folder."""
    assert isinstance(config, TrainConfig)
    assert TrainConfig.from_json(config.to_json()) == config
    assert config.run_dir
    length = config.train_steps or 10 * config.epochs
    method_arguments(config, 10, length)
    schedules.parse(config.lr_schedule).build(config.learning_rate, 10, length)


@quick
@given(st.lists(arguments, max_size=4))
@example(["--dataset=" + "a" * 300])
@example(["--dataset=a\0b"])
@example(["--epsilon=1e400/1"])
@example(["--train_steps=100000000000000000000", "--lr_schedule=cosine"])
@example(["--lr_schedule=step:1e300"])
@example(["--attack_steps=1000000000000000000000000000000"])
@example(["--flagfile=\0"])
@example(["--flagfile=/"])
@example(["--flagfile"])
@example(["--undefok"])
def test_any_command_line(line):
    with contextlib.suppress(*REFUSALS):
        check_usable(parse(line))


@quick
@given(content=st.binary(max_size=60) | st.lists(arguments, max_size=4).map("\n".join))
@example(content="--flagfile=mine.cfg")
def test_any_file_of_flags(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.cfg"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    with contextlib.suppress(*REFUSALS):
        check_usable(parse([f"--flagfile={file}"]))


@quick
@given(lines=st.lists(arguments | texts, max_size=4))
def test_any_recipe(lines, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "folder", lambda: tmp_path)
    text = "\n".join(lines)
    (tmp_path / "digits_rlfat_p.cfg").write_bytes(text.encode("utf-8", "replace"))
    with contextlib.suppress(*REFUSALS):
        check_usable(parse([]))


@quick
@given(st.dictionaries(st.sampled_from(FIELDS) | texts, json_values, max_size=4))
@example({"epochs": True})
@example({"seed": float("nan")})
@example({"checkpoint_every": 1.5})
@example({"dataset": None})
@example({"lr_schedule": ["step:1"]})
@example({"method": ["pgdat"]})
def test_any_configuration(values):
    with contextlib.suppress(ValueError):
        check_usable(TrainConfig.from_json(json.dumps(values)))


@quick
@given(st.text() | json_values.map(json.dumps))
@example("[" * 100_000)
@example("9" * 10_000)
@example("null")
def test_any_text_as_configuration(text):
    with contextlib.suppress(ValueError):
        check_usable(TrainConfig.from_json(text))


def test_a_wrong_type_is_told():
    with pytest.raises(ValueError, match="--epochs to be of type int | None; received 'two'"):
        TrainConfig.from_json('{"epochs": "two"}')
    with pytest.raises(ValueError, match="one JSON object of settings; received '5'"):
        TrainConfig.from_json("5")
    assert TrainConfig.from_json('{"epsilon": 0}').epsilon == 0
