"""Whatever a file holds, reading it ends in what was asked for or in one sentence, and no harm."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile

import numpy as np
import pytest
from absl import flags

import rlfat_tf
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.progress import EvaluationProgress
from rlfat_tf.evaluation.recognition import KnownClassifiers
from rlfat_tf.evaluation.records import Examples, Outcomes, read_examples, write_examples
from rlfat_tf.evaluation.report.writing import refuse_to_replace
from rlfat_tf.run import cli, dataset, helper, workdir
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.storage import checkpoint
from rlfat_tf.storage.reading import Damaged, Refused
from tests.storage import fuzz

SAMPLE, ALL = (110, 40), (5000, 500)
amounts = pytest.mark.parametrize(
    "amount", [pytest.param(0, id="sample"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A tiny archive."""
    path = tmp_path_factory.mktemp("good") / "model.keras"
    inputs = keras.Input([2], name="images")
    outputs = keras.layers.Dense(2, activation="relu", name="dense")(inputs)
    net = keras.Model(inputs, outputs)
    net.compile(optimizer="sgd", loss="mse", metrics=["accuracy"])
    net.save(path)
    assert rlfat_tf.load(path).count_params() == 6
    return path


def outcome(path):
    """Loads a file; returns the error's kind, which must be ours."""
    try:
        rlfat_tf.load(path)
    except (Damaged, Refused) as error:
        assert str(path) in str(error) and len(str(error)) < 1500
        return type(error).__name__
    return "loaded"


@amounts
def test_mutated_archives(good, tmp_path, amount):
    rng, counts = np.random.default_rng(0), {}
    path = tmp_path / "model.keras"
    with fuzz.watched():
        for _ in range((SAMPLE, ALL)[amount][0]):
            with fuzz.unwatched():
                fuzz.mutate_archive(good, path, rng)
            found = outcome(path)
            counts[found] = counts.get(found, 0) + 1
    print(counts)
    assert set(counts) == {"Damaged", "Refused", "loaded"}  # none of them is trivial
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


@amounts
def test_hostile_archives(good, tmp_path, amount, monkeypatch):
    rng = np.random.default_rng(1)
    path, victim = tmp_path / "model.keras", tmp_path / "victim"
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(victim)!r}, 'w')\nrun = print\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = fuzz.read_parts(good)
    config = json.loads(parts["config.json"])
    cases = [(target, where) for target in fuzz.TARGETS for where in fuzz.PLACES]
    chosen = rng.permutation(len(cases))[: (SAMPLE, ALL)[amount][1] * 9 // 10]
    with fuzz.watched():
        for index in chosen:
            (module, name), where = cases[index]
            changed = fuzz.place(config, module, name, where, victim)
            with fuzz.unwatched():
                fuzz.write_parts(path, {**parts, "config.json": json.dumps(changed).encode()})
            assert outcome(path) in ("Refused", "Damaged"), (module, name, where)
        for _ in range((SAMPLE, ALL)[amount][1] // 10):
            with fuzz.unwatched():
                weights = fuzz.hostile_weights(rng, tmp_path / "elsewhere")
                fuzz.write_parts(path, {**parts, "model.weights.h5": weights})
            assert outcome(path) == "Refused"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["evil.py", "model.keras"]


def bomb(size):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", bytes(size))
    return content.getvalue()


def with_layer(config, **settings):
    layers = config["config"]["layers"]
    next(x for x in layers if x["class_name"] == "Dense")["config"].update(settings)
    return config


def without_graph(config):
    """The layer waits for a call of its own."""
    layers = config["config"]["layers"]
    text = json.dumps(next(x for x in layers if x["class_name"] == "Dense")["inbound_nodes"])
    layers[-1]["inbound_nodes"] = json.loads(text.replace('"images"', '"dense"'))
    return config


def later_call(config):
    """A call of the input's that is not there; Keras 2 searches for it in an endless loop."""
    layers = config["config"]["layers"]
    text = json.dumps(layers[-1]["inbound_nodes"])
    extra = json.loads(json.dumps(layers[-1]).replace('"dense"', '"other"'))
    extra["name"] = "other"
    extra["inbound_nodes"] = json.loads(text.replace('"images", 0', '"dense", 7'))
    layers.append(extra)
    return config


@pytest.mark.parametrize(
    "change",
    [
        lambda config: with_layer(config, units=2**31),
        lambda config: with_layer(config, units=10**30),
        without_graph,
        later_call,
        lambda config: {**config, "module": None, "registered_name": ["a"]},
        lambda config: {"class_name": {"a": 1}, "config": 3},
        lambda config: [config],
    ],
)
def test_what_would_take_all_memory_or_never_end(good, tmp_path, change):
    parts = fuzz.read_parts(good)
    config = json.dumps(change(json.loads(parts["config.json"]))).encode()
    fuzz.write_parts(tmp_path / "model.keras", {**parts, "config.json": config})
    with fuzz.watched():
        assert outcome(tmp_path / "model.keras") in ("Refused", "Damaged")


def test_zip_bombs_and_deep_nesting(good, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(bomb(2**26))
    with fuzz.watched():
        assert outcome(path) == "Refused"
    parts = fuzz.read_parts(good)
    for deep in (b"[" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300):
        fuzz.write_parts(path, {**parts, "config.json": deep})
        with fuzz.watched():
            assert outcome(path) in ("Refused", "Damaged")
    fuzz.write_parts(path, {**parts, **{f"assets/{i}": b"" for i in range(10_001)}})
    with fuzz.watched():
        assert outcome(path) == "Refused"


# The files of runs and evaluations.


def a_backup(folder):
    class Model:
        state: list[object] = []
        weights_of_training = contextlib.nullcontext

        @staticmethod
        def begin_average() -> None:
            """It has none."""

    checkpoint.save_state(folder / "state.npz", Model, {"step": 3, "best": None})
    with np.load(folder / "state.npz") as file:
        arrays = {**file, "0": np.ones([2, 3], np.float32)}
    np.savez(folder / "state.npz", **arrays)
    return folder / "state.npz", lambda: checkpoint.read_state(folder / "state.npz")


def progress(folder):
    one = EvaluationProgress(folder, {"seed": 1}, KnownClassifiers(None, np.zeros([1, 2, 2, 1])))
    return one


def a_state(folder):
    one = progress(folder)
    found = one.of("a")
    found.done, found.broken, found.predictions = 3, [1, 2], [4, -1]
    found.sizes = found.l2 = [0.5, 0.25]
    one.predictions = [0, 3, 3, 4]
    one.save()
    (path,) = folder.rglob("state.json")
    return path, lambda: progress(folder)


def images_kept(folder):
    one = progress(folder)
    one.keep_images("a", np.arange(2), np.zeros([2, 2, 2, 1], np.float32))
    (path,) = folder.rglob("a.npz")
    return path, lambda: one.kept_images("a")


def examples(folder):
    shape = [1, 1, 3]
    flags, classes = np.ones(shape, bool), np.zeros(shape, np.int32)
    outcomes = Outcomes("l2", True, 3, flags[0], flags[0], classes[0], np.ones([1, 3], np.float32))
    found = Examples(np.arange(3), classes[0, 0], classes[0, 0], np.ones(1), {"pgd": outcomes})
    return write_examples(found, folder), lambda: read_examples(folder)


def a_report(folder):
    config = {"report_dir": None, "attacks": "pgd", "workdir": "x", "model_path": None, "seed": 1}
    (folder / "report.json").write_text(json.dumps({"config": config, "examples": 3}))
    return folder / "report.json", lambda: refuse_to_replace(folder, config)


def a_config(folder):
    workdir.write_config(folder, TrainConfig())
    return folder / "config.json", lambda: workdir.read_config(folder)


def a_file_of_flags(folder):
    workdir.write_config(folder, TrainConfig())

    def read():
        values = flags.FlagValues()
        cli.define_flags(TrainConfig, values)
        flags.DEFINE_string("flagfile", "", "", flag_values=values)
        flags.DEFINE_string("undefok", "", "", flag_values=values)
        cli.parse(["train.py", f"--flagfile={folder / 'flags.cfg'}"], values)

    return folder / "flags.cfg", read


def a_summary(folder):
    (folder / "summary.json").write_text(json.dumps({"steps": 3, "test_accuracy": 0.5}))
    return folder / "summary.json", lambda: workdir.read_summary(folder)


def a_record(folder):
    (folder / "data.json").write_text(
        json.dumps({"class_names": ["a"], "image_shape": [2, 2, 1], "content": {"train": "1"}})
    )
    return folder / "data.json", lambda: dataset.read_record(folder)


def a_helper(folder):
    made = helper.Helper(None, "a1" * 32)
    helper.write_record(folder, made)
    return folder / helper.RECORD, lambda: helper.check_same(folder, made)


@pytest.mark.parametrize(
    "make",
    [
        a_backup,
        a_state,
        images_kept,
        examples,
        a_report,
        a_config,
        a_file_of_flags,
        a_summary,
        a_record,
        a_helper,
    ],
)
@amounts
def test_mutated_files_of_runs_and_evaluations(tmp_path, make, amount):
    path, read = make(tmp_path)
    usual = fuzz.events_of(read)
    content, rng, refused = path.read_bytes(), np.random.default_rng(2), 0
    for index in range((60, 3000)[amount]):
        changed = fuzz.mutated_bytes(content, rng)
        if path.suffix == ".json" and index % 2:
            changed = json.dumps(fuzz.mutated_json(json.loads(content), rng)).encode()
        path.write_bytes(changed)
        with fuzz.watched(usual):
            try:
                read()
            except (ValueError, flags.Error) as error:
                refused += 1
                ours = (Damaged, flags.Error) if make is not a_report else ValueError
                assert isinstance(error, ours) or type(error) is ValueError, repr(error)
    assert refused
