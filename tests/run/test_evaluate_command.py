"""What ``eval.py`` refuses before any attack runs, and which reports it writes over."""

import dataclasses
import hashlib
import html
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from rlfat_tf import data, evaluation
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation import read_examples
from rlfat_tf.run import cli, dataset
from rlfat_tf.run import evaluate as command
from rlfat_tf.run.eval_config import EvalConfig


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    path = tmp_path_factory.mktemp("nets") / "net.keras"
    keras.Sequential(layers).save(path)
    return str(path)


def config(net, folder, **changes):
    settings = {"dataset": "digits", "epsilon": (0.1,), "attacks": "clean,fgsm", "pictures": False,
                "test_examples": 12, "checks": False, "report_dir": str(folder)}  # fmt: skip
    return EvalConfig(model_path=net, **{**settings, **changes})


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"compare": "nothing.keras", "pictures": True}, FileNotFoundError, "nothing.keras"),
        ({"inference": "all"}, ValueError, "needs the discriminator of an ATLD run"),
    ],
)
def test_what_is_refused_before_any_attack(net, tmp_path, monkeypatch, changes, error, message):
    monkeypatch.setattr(command, "run_plan", lambda *_, **__: pytest.fail("an attack ran"))
    with pytest.raises(error, match=message):
        command.run(config(net, tmp_path, **changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.current
@pytest.mark.parametrize("shape, classes", [((8, 8, 1), 3), ((9, 9, 1), 10), ((8, 8, 3), 10)])
def test_models_to_compare_that_do_not_fit_are_refused_before_any_attack(
    net, tmp_path, monkeypatch, shape, classes
):
    monkeypatch.setattr(command, "run_plan", lambda *_, **__: pytest.fail("an attack ran"))
    layers = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes)]
    keras.Sequential(layers).save(tmp_path / "other.keras")
    changes = {"compare": f"{tmp_path}/other.keras", "pictures": True}
    said = r"10 classes of the evaluated .* has 3" if classes == 3 else r"shape \[8, 8, 1\]"
    with pytest.raises(ValueError, match=f"Expected a model to compare .*{said}"):
        command.run(config(net, tmp_path / "report", **changes))


@pytest.mark.current
def test_a_source_for_another_image_size_is_refused_in_words(net, tmp_path):
    layers = [keras.Input((9, 9, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    keras.Sequential(layers).save(tmp_path / "other.keras")
    source = {"attacks": "transfer", "source_model": f"{tmp_path}/other.keras"}
    message = r"a source of transfer .*shape \[8, 8, 1\].*other.keras takes .*shape \(9, 9, 1\)\.$"
    with pytest.raises(ValueError, match=message):
        command.run(config(net, tmp_path / "report", **source))


def test_a_report_of_another_configuration_is_not_replaced(net, tmp_path, monkeypatch):
    command.run(config(net, tmp_path))
    first = (tmp_path / "report.json").read_bytes()
    for changes, difference in (
        ({"norm": "l2", "epsilon": (0.5,)}, r"epsilon is \[0.1\] there and \[0.5\] here, norm is"),
        ({"attacks": "pgd"}, "attacks is 'clean,fgsm' there and 'pgd' here"),
        ({"test_examples": 13}, "test_examples is 12 there and 13 here"),
        ({"pixels": "8bit"}, "pixels is 'float' there and '8bit' here"),
    ):
        with pytest.raises(ValueError, match=f"another evaluation: {difference}.*--report_dir"):
            command.run(config(net, tmp_path, **changes))
        assert (tmp_path / "report.json").read_bytes() == first
    # What is set for further attacks alone changes no figure that is there.
    further = {"attacks": "fgsm,transfer", "source_model": net, "steps": 2}
    assert set(command.run(config(net, tmp_path, **further))["attacks"]) == {"fgsm", "transfer"}
    with pytest.raises(ValueError, match="steps is 2 there and 3 here"):
        command.run(config(net, tmp_path, **{**further, "steps": 3}))
    found = command.run(config(net, tmp_path, steps=21, overwrite=True))
    assert found["config"]["steps"] == 21
    command.run(config(net, tmp_path, overwrite=True))
    command.run(config(net, tmp_path, batch_size=5))
    command.run(config(net, tmp_path, attacks="mim, fgsm"))
    assert list(json.loads((tmp_path / "report.json").read_text())["attacks"]) == ["mim", "fgsm"]
    monkeypatch.chdir(tmp_path)
    command.run(config(os.path.relpath(net), ".", attacks="fgsm,mim"))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config": null}'])
def test_what_is_no_report_of_the_command_is_replaced(net, tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    command.run(config(net, tmp_path, attacks="clean"))
    assert json.loads((tmp_path / "report.json").read_text())["examples"] == 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_evaluation_goes_on(net, tmp_path, monkeypatch, capsys, number):
    done = []

    def after_a_batch(self, standing):
        if standing.passes is None:
            done.append(standing.done)
            if len(done) == 2:  # within a batch: tests/evaluation/test_watching.py
                os.kill(os.getpid(), number)

    monkeypatch.setattr(command.ProgressLine, "__call__", after_a_batch)
    arguments = ["eval.py", config(net, tmp_path, batch_size=1)]
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as stopped:
        cli._eval(arguments)
    assert stopped.value.code == 128 + number
    said = capsys.readouterr()
    expected = f"Stopped by {number.name}. The same command again goes on where it was."
    assert said.out.splitlines()[-1] == expected and "Traceback" not in said.err
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    cli._eval(arguments)
    assert done == sorted(done) and len(set(done)) == len(done), "no batch is evaluated twice"
    assert json.loads((tmp_path / "report.json").read_text())["examples"] == 12


def test_pictures_belong_to_the_headline_and_come_later_too(net, tmp_path):
    def report(folder, **changes):
        settings = {"attacks": "fgsm", "pictures": True, "brightness": (), "gamma": (0.5,)}
        found = command.run(config(net, tmp_path / folder, **{**settings, **changes}))
        return found, (tmp_path / folder / "report.html").read_text(encoding="utf-8")

    several, page = report("several", epsilon=(0.1, 0.4), attacks="square,fgsm", budget=0.001)
    assert several["pictured"] == {"attack": "fgsm", "epsilon": 0.1}, "the strongest"
    assert page.count("Adversarial images are those of fgsm at ε = 0.1.") == 2
    assert str(tmp_path) not in page and str(tmp_path) not in html.unescape(page)
    digest = hashlib.sha256(Path(net).read_bytes()).hexdigest()
    expected = {"network": "sequential", "parameters": 650, "file": "net.keras", "sha256": digest}
    assert {**several["judged"], "network": "sequential"} == expected
    examples = read_examples(tmp_path / "several")
    for row, point in enumerate(several["curve"]):
        assert examples.worst_case()[row].mean() == point["worst_case_accuracy"]
    assert [known["name"] for known in several["classes"]] == [str(n) for n in range(10)]
    report("later", pictures=False)
    later, _ = report("later")
    assert later["sensitivity"] == several["sensitivity"]
    values = {name: found[0]["value"] for name, found in later["sensitivity"]["gamma"].items()}
    assert values["fgsm"] != pytest.approx(values["clean"], rel=1e-3)


def test_a_report_is_compared_with_another(net, tmp_path, monkeypatch, capsys):
    sample = {"test_subset": "stratified", "test_examples": 40}
    command.run(config(net, tmp_path / "one", **sample, attacks="fgsm"))
    keras.utils.set_random_seed(1)
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    keras.Sequential(layers).save(tmp_path / "other.keras")
    other = config(str(tmp_path / "other.keras"), tmp_path / "other", **sample, attacks="fgsm")
    report = command.run(dataclasses.replace(other, against=str(tmp_path / "one")))
    assert list(report["against"]["by"]) == ["clean", "fgsm", "worst_case"]
    found = evaluation.compare(tmp_path / "other", tmp_path / "one", under="fgsm")
    del found["caveats"]
    assert report["against"]["by"]["fgsm"] == found
    shown = capsys.readouterr().out
    assert "against" in shown and "of 1 point you need" in shown and "seed of training" in shown
    page = (tmp_path / "other" / "report.html").read_text()
    assert "Compared with net.keras" in page and str(tmp_path) not in page.split("<pre>")[0]
    assert report["test_subset"] == {"how": "stratified", "seed": 0, "of": 360}
    index = evaluation.read_examples(tmp_path / "other").index
    labels = data.load("digits").test.labels
    assert np.bincount(labels[index]).tolist() == [4] * 10
    monkeypatch.setattr(command, "run_plan", lambda *_, **__: pytest.fail("an attack ran"))
    for changes, message in (
        ({"subset_seed": 1}, "checksum of the examples is .* in this evaluation"),
        ({"attacks": "fgsm,pgd"}, "attack pgd is PGD.* in this evaluation and not there in the"),
        ({"against": str(tmp_path)}, "no .*report.json"),
    ):
        wrong = {"against": str(tmp_path / "one"), "report_dir": str(tmp_path / "new"), **changes}
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            command.run(dataclasses.replace(other, **wrong))


def test_targeted_attacks_and_corruptions_are_compared_too(net, tmp_path):
    sample = {"test_subset": "stratified", "test_examples": 20, "targeted": "random"}
    one = config(net, tmp_path / "one", **sample, attacks="fgsm", corruptions="benchmark:1")
    command.run(one)
    again = dataclasses.replace(one, report_dir=str(tmp_path / "two"), against=one.report_dir)
    report = command.run(again)
    assert list(report["against"]["by"]) == ["clean", "corruptions", "fgsm"]
    assert all(found["difference"] == 0 for found in report["against"]["by"].values())
    assert report["against"]["by"]["fgsm"]["targeted"] is True
    assert "fgsm (targeted)" in (tmp_path / "two" / "report.html").read_text()
    corrupted = evaluation.read_corrupted(tmp_path / "two")
    index = evaluation.read_examples(tmp_path / "two").index
    np.testing.assert_array_equal(corrupted.index, index)
    np.testing.assert_array_equal(corrupted.label, data.load("digits").test.labels[index])
    assert corrupted.shares().mean() == pytest.approx(report["corruptions"]["mean_accuracy"])
    other = dataclasses.replace(again, report_dir=str(tmp_path / "new"), targeted="3")
    with pytest.raises(ValueError, match="attack fgsm is .*target=3.* and .*target='random'"):
        command.run(other)
    command.run(dataclasses.replace(again, attacks="clean", targeted=None, corruptions=None,
                                    against=None, overwrite=True))  # fmt: skip
    assert not (tmp_path / "two" / "corrupted.npz").exists()


def test_the_choice_of_examples(net, tmp_path):
    with pytest.raises(ValueError, match="also needs --test_examples"):
        config(net, tmp_path, test_subset="stratified", test_examples=None)
    data_set = data.load("digits", test_examples=120)
    order = np.argsort(data_set.test.labels, kind="stable")[:100]
    in_order = dataclasses.replace(data_set, test=data_set.test.take(order))
    with pytest.warns(UserWarning, match="hold none of the classes .*9.*stratified"):
        dataset.chosen_examples(config(net, tmp_path, test_examples=100), in_order)
    mixed = dataclasses.replace(data_set, test=data_set.test.take(slice(100)))
    test, numbers, said = dataset.chosen_examples(config(net, tmp_path, test_examples=100), mixed)
    assert len(test) == 100 and numbers.tolist() == list(range(100))
    assert said == {"test_subset": {"how": "first"}}
    old = {**dataclasses.asdict(config(net, tmp_path))}
    del old["test_subset"], old["subset_seed"]  # as written before there was a choice
    (tmp_path / "report.json").write_text(json.dumps({"config": old}))
    with pytest.raises(ValueError, match="test_subset is 'first' there and 'stratified' here"):
        command.run(config(net, tmp_path, test_subset="stratified"))
