"""Accuracy on corrupted images: what is counted, averaged, divided, resumed and shown."""

import json

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import evaluation
from rlfat_tf.data.corruptions import BENCHMARK, EXTRA, corrupt, parse
from rlfat_tf.evaluation import corruptions
from rlfat_tf.evaluation.corrupted_records import Corrupted, read_corrupted, write_corrupted
from rlfat_tf.evaluation.mce import ALEXNET, mean_corruption_error
from rlfat_tf.evaluation.report import corruptions as shown
from rlfat_tf.run.eval_config import EvalConfig
from tests import reference

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0], np.int32)


def logits(images):
    """Of three classes, by how bright and how uneven an image is."""
    mean = tf.reduce_mean(images, [1, 2, 3])
    return tf.stack([mean, tf.math.reduce_std(images, [1, 2, 3]) * 1.7, 0.48 + 0 * mean], -1)


def predictions(images):
    return np.argmax(logits(tf.constant(images / np.float32(255), tf.float32)), -1)


def right(images, labels=LABELS):
    return predictions(images) == labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def report(folder):
    options = {"corruptions": "all", "severities": (1, 4), "seed": 5, "batch_size": 3}
    return evaluation.evaluate_corruptions(logits, (PIXELS, LABELS), report_dir=folder, **options)


def test_every_cell_is_the_accuracy_on_these_images(report):
    assert report["examples"] == 7 and report["clean_accuracy"] == right(PIXELS).mean()
    assert list(report["by_corruption"]) == [*BENCHMARK, *EXTRA]
    for name, entry in report["by_corruption"].items():
        expected = [right(corrupt(PIXELS, name, s, seed=5)).mean() for s in (1, 4)]
        assert entry["accuracy"] == pytest.approx(expected), name
        assert entry["severities"] == [1, 4] and entry["benchmark"] == (name in BENCHMARK)
        assert entry["mean"] == pytest.approx(np.mean(expected))
    assert len({entry["mean"] for entry in report["by_corruption"].values()}) > 3


def test_the_mean_is_over_the_fifteen(report):
    means = [report["by_corruption"][name]["mean"] for name in BENCHMARK]
    assert report["mean_accuracy"] == pytest.approx(np.mean(means))
    assert report["severities"] == [1, 4]
    by_example = np.mean(
        [right(corrupt(PIXELS, name, s, seed=5)) for name in BENCHMARK for s in (1, 4)], 0
    )
    spread = 1.96 * by_example.std(ddof=1) / np.sqrt(7)
    low, high = report["mean_interval"]
    assert high - low == pytest.approx(2 * spread, rel=1e-3)


def test_the_file_holds_every_prediction(report, folder, tmp_path):
    found = read_corrupted(folder)
    assert list(found.predictions) == [(name, s) for name in [*BENCHMARK, *EXTRA] for s in (1, 4)]
    np.testing.assert_array_equal(found.label, LABELS)
    np.testing.assert_array_equal(found.index, range(7))
    for name, severity in (("fog", 4), ("spatter", 1)):
        expected = predictions(corrupt(PIXELS, name, severity, seed=5))
        np.testing.assert_array_equal(found.predictions[name, severity], expected)
        np.testing.assert_array_equal(found.right(name, severity), expected == LABELS)
    assert found.severities == [1, 4] and found.shares().shape == (7,)
    assert found.shares().mean() == pytest.approx(report["mean_accuracy"])
    assert len(set(found.data.values())) == 38
    again = read_corrupted(write_corrupted(found, tmp_path))
    assert again.data == found.data and again.predictions.keys() == found.predictions.keys()
    with pytest.raises(FileNotFoundError, match="no .*corrupted.npz.*--corruptions"):
        read_corrupted(tmp_path / "elsewhere")
    with np.load(folder / "corrupted.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["prediction"].dtype == np.int32 and arrays["prediction"].shape == (38, 7)
    np.savez(tmp_path / "corrupted.npz", **{**arrays, "severity": arrays["severity"][1:]})
    with pytest.raises(ValueError, match="is damaged, or is not what was written"):
        read_corrupted(tmp_path)


def records(correct):
    """What happened to examples of class 0 of which these are right, by cell."""
    wrong = {cell: (~np.asarray(right)).astype(np.int32) for cell, right in correct.items()}
    count = len(next(iter(wrong.values())))
    return Corrupted(np.arange(count), np.zeros(count, np.int32), wrong, dict.fromkeys(wrong, "d"))


def test_a_part_of_the_fifteen_has_no_mean():
    few = records({cell: np.ones(4, bool) for cell in parse("fog,snow:2")})
    assert corruptions.summary(few)["mean_accuracy"] is None
    with pytest.raises(ValueError, match="over all 15 corruptions"):
        few.shares()
    uneven = records({cell: np.ones(4, bool) for cell in parse("benchmark:3,fog:4")})
    assert corruptions.summary(uneven)["mean_accuracy"] is None
    assert "needs all 15" in shown.show({**corruptions.summary(few), "kind": "arrays"})


def summed(shares, severities=(1, 2, 3, 4, 5), clean=0.9):
    """A summary in which a share of 10,000 examples is right, by corruption."""
    correct = {
        (name, s): np.arange(10000) < round(10000 * share)
        for name, share in zip(BENCHMARK, shares)
        for s in severities
    }
    return corruptions.summary(records(correct), clean)


def test_mce():
    half = summed([0.5] * 15)
    found = mean_corruption_error(half, half)
    assert found["mce"] == 1 and found["relative_mce"] == pytest.approx(1)
    other = summed(np.linspace(0.2, 0.7, 15), clean=0.8)
    found = mean_corruption_error(half, other)
    errors = 1 - np.linspace(0.2, 0.7, 15).round(4)
    assert found["mce"] == pytest.approx(np.mean(0.5 / errors))
    assert found["relative_mce"] == pytest.approx(np.mean(0.4 / (errors - 0.2)))
    assert found["by_corruption"]["gaussian_noise"] == pytest.approx(0.5 / 0.8)
    alexnet = summed([1 - error for error in ALEXNET.values()])
    assert mean_corruption_error(alexnet, "alexnet")["mce"] == pytest.approx(1, abs=1e-4)
    for baseline, message in (
        (summed([0.5] * 15, (1, 2)), "same severities in both"),
        (summed([1.0] * 15), "makes no errors under gaussian_noise"),
        (summed([0.5] * 14), "The baseline lacks jpeg_compression"),
    ):
        with pytest.raises(ValueError, match=message):
            mean_corruption_error(half, baseline)


def test_a_baseline_is_a_report_of_the_same_images(tmp_path):
    def evaluated(baseline=None, images=PIXELS, **settings):
        settings = {"severities": (1, 4), "seed": 5, **settings}
        return evaluation.evaluate_corruptions(
            logits, (images, LABELS), baseline=baseline, **settings
        )

    with pytest.raises(FileNotFoundError):
        evaluated(tmp_path)
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"corruptions": evaluated(report_dir=tmp_path)}))
    again = evaluated(tmp_path)
    assert again["mce"]["mce"] == 1 and again["mce"]["baseline"] == str(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corruptions, "_evaluate", lambda *_: pytest.fail("a corruption ran"))
        for message, other in (
            ("others than here", {"seed": 6}),
            ("others than here", {"images": 255 - PIXELS}),
            (r"same severities in both: .* \[1\] here and \[1, 4\]", {"severities": (1,)}),
        ):
            with pytest.raises(ValueError, match=message):
                evaluated(tmp_path, **other)
        with pytest.raises(ValueError, match="of ImageNet-C itself"):
            evaluated("alexnet")
        path.write_text("{}")
        with pytest.raises(ValueError, match="has no corruptions"):
            evaluated(tmp_path)


def test_corruptions_of_another_classifier_in_the_folder_are_not_compared(tmp_path):
    pair = PIXELS.astype(np.float32) / 255, LABELS
    nets = [reference.keras_net(seed=seed, shape=(8, 8, 3)) for seed in (0, 1)]
    plain = {"attacks": "", "checked": False}
    for folder in (tmp_path / "a", tmp_path / "b"):
        evaluation.evaluate(nets[0], pair, report_dir=folder, **plain)
        evaluation.evaluate_corruptions(nets[0], pair, severities=(1,), report_dir=folder)
    assert evaluation.compare(tmp_path / "b", tmp_path / "a", under="corruptions")
    evaluation.evaluate(nets[1], pair, report_dir=tmp_path / "b", **plain)
    with pytest.raises(ValueError, match="b has no mean corruption accuracy"):
        evaluation.compare(tmp_path / "b", tmp_path / "a", under="corruptions")


def test_a_killed_evaluation_goes_on(tmp_path, monkeypatch):
    options = {"corruptions": "fog:2,snow,contrast", "batch_size": 2, "report_dir": tmp_path}
    whole = evaluation.evaluate_corruptions(
        logits, (PIXELS, LABELS), **{**options, "report_dir": None}
    )
    monkeypatch.setattr(corruptions, "SAVED_EVERY", 0.0)
    made, asked = [], corruptions.MadeHere.cell

    def cell(self, name, severity):
        key, labels, pixels = asked(self, name, severity)

        def counted(part):
            made.append((name, severity, part.start))
            if len(made) == 10:
                raise KeyboardInterrupt
            return pixels(part)

        return corruptions.Cell(key, labels, counted)

    monkeypatch.setattr(corruptions.MadeHere, "cell", cell)
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate_corruptions(logits, (PIXELS, LABELS), **options)
    first = list(made)
    again = evaluation.evaluate_corruptions(logits, (PIXELS, LABELS), **options)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    assert ("snow", 1, 0) in first and ("snow", 1, 0) not in made[len(first) :]
    assert len(made) < len(first) + 11 * 4  # what was done before is not done again
    count = len(made)
    path = next(tmp_path.rglob(corruptions.FILE))
    with np.load(path) as saved:
        assert 0 < saved[corruptions.SECONDS] <= again["seconds"] + 0.001
        arrays = {**saved, corruptions.SECONDS: np.float64(1000)}
    np.savez(path, **arrays)
    last = evaluation.evaluate_corruptions(logits, (PIXELS, LABELS), **options)
    assert len(made) == count and 1000 <= last["seconds"] < 2000  # of all processes together
    other = evaluation.evaluate_corruptions(
        logits, (PIXELS, LABELS), **{**options, "seed": 1, "corruptions": "snow:1"}
    )
    assert len(made) > count and other["seed"] == 1


def test_the_authors_arrays(tmp_path):
    for name in ("fog", "snow"):
        rows = np.concatenate([corrupt(PIXELS, name, s) for s in (1, 2, 3, 4, 5)])
        np.save(tmp_path / f"{name}.npy", rows)
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5))
    found = evaluation.evaluate_corruptions(logits, tmp_path, corruptions="fog,snow")
    made = evaluation.evaluate_corruptions(logits, (PIXELS, LABELS), corruptions="fog,snow")
    assert found["by_corruption"] == made["by_corruption"]
    assert found["kind"] == "arrays" and found["clean_accuracy"] is None
    labels = np.tile(LABELS, 5)
    labels[9] = 0
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(ValueError, match="classes of fog:2 are others than those of fog:1"):
        evaluation.evaluate_corruptions(logits, tmp_path, corruptions="fog")
    np.save(tmp_path / "labels.npy", np.tile([*LABELS[:-1], 98], 5))  # of a set with more classes
    with pytest.raises(ValueError, match="the model's classes; received .*98"):
        evaluation.evaluate_corruptions(logits, tmp_path, corruptions="fog")
    with pytest.raises(ValueError, match="Unknown corruption in .*'frost'"):
        evaluation.evaluate_corruptions(logits, tmp_path, corruptions="frost:1")


def test_what_is_shown(report):
    text = shown.show(report)
    lines = text.splitlines()
    fog = next(line for line in lines if line.startswith("fog"))
    accuracies = [f"{100 * a:.1f}%" for a in report["by_corruption"]["fog"]["accuracy"]]
    assert fog.split() == [
        "fog",
        *accuracies,
        f"{100 * report['by_corruption']['fog']['mean']:.1f}%",
    ]
    assert "severity 1, 4" in text and any(line.startswith("spatter (extra)") for line in lines)
    html = shown.html_table(report)
    assert html.count("<tr") == 20 and f"<td>{accuracies[0]}</td>" in html
    assert "no substitute" in shown.about(report)
    assert "no substitute" not in shown.about({"kind": "arrays"})
    strips = [(name, corrupt(PIXELS[:1], name, 3)) for name in ("fog", "snow")]
    assert len(shown.grid(strips).axes) == 2


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"corruptions": "fgo"}, "Unknown corruption 'fgo'"),
        ({"corruption_dir": "x"}, "need --corruptions"),
        ({"corruptions": "fog", "corruption_baseline": "x"}, "needs all 15"),
    ],
)
def test_flags_that_do_not_fit(flags, message):
    with pytest.raises(ValueError, match=message):
        EvalConfig(workdir="run", **flags)


@pytest.mark.parametrize("seed", [-1, 2**31, (1, 2), 0.5])
def test_a_wrong_seed_is_refused_before_anything_is_made(seed):
    with pytest.raises(ValueError, match=r"eed (from 0 to 2\*\*31 - 1|is an integer).*; received"):
        evaluation.evaluate_corruptions(None, (PIXELS, LABELS), seed=seed)


def test_a_seed_of_numpy_is_that_of_python(tmp_path):
    report = evaluation.evaluate_corruptions(
        logits, (PIXELS, LABELS), corruptions="fog:1", seed=np.int64(3), report_dir=tmp_path
    )
    assert report["seed"] == 3 and type(report["seed"]) is int
