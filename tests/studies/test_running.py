"""The queue of runs, with runs that train nothing."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

from rlfat_tf.run import train
from rlfat_tf.run.signals import Interrupted
from studies import __main__ as main
from studies import catalogue, evaluating, rates, results
from studies.runs import Folders, Look, Run, Study

FLAGS = {"dataset": "digits", "method": "pgdat", "model": "small_cnn", "epochs": 3}


def run(recipe="pgdat", seed=0, study="x", **more):
    flags = {**FLAGS, **more.pop("flags", {})}
    return Run(study, recipe, seed, flags, 5, examples=20, autoattack=10, **more)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Studies x and y, of which y shows a run of x; returns what was trained, and the command."""
    shared, trained = run(), []
    monkeypatch.setattr(main, "STUDIES", {
        "x": Study("x", (shared, run(seed=1), run("new", flags={"no_such_flag": 1}),
                         run("idle", flags={"lsp_weight": 2.0}))),
        "y": Study("y", (shared, run("own", study="y")), (Look("y", "local", shared, 1),)),
    })  # fmt: skip

    def fake_train(config):
        trained.append(config)
        with open(f"{config.run_dir}/metrics.csv", "w") as file:
            file.write("epoch,loss,val_adv_accuracy\n0,2.30258509,\n1,2.0,0.25\n")
        return {"checkpoint": "best, epoch 2", "steps": 4, "images_per_second": 9.0, "seconds": 6.0}

    part = evaluating.accuracy(np.arange(20) % 3 == 0)
    evaluated = {
        name: {"clean": part, "pgd": {**part, "seconds": 1.5}} for name in ("best", "last")
    }
    monkeypatch.setattr(train, "run", fake_train)
    monkeypatch.setattr(evaluating, "evaluate_run", lambda *_: evaluated)
    monkeypatch.setattr(results, "commit", lambda: "abc1234")
    monkeypatch.setattr(main.os, "nice", lambda step: 0)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    folders = [f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    return trained, lambda *argv: main.main([*argv, *folders])


def test_what_is_missing_is_run_once_and_leaves_a_file_each(fake, tmp_path, capsys):
    trained, command = fake
    with pytest.raises(SystemExit, match="Not made: x/new-seed0, x/idle-seed0."):
        command("x")
    assert [config.seed for config in trained] == [0, 1]
    said = capsys.readouterr().err
    assert "x/new-seed0 needs --no_such_flag, which is not there yet" in said
    assert "x/idle-seed0: This run makes no use of --lsp_weight" in said
    found = json.loads((tmp_path / "results" / "x" / "pgdat-seed1.json").read_text())
    assert found["command"] == "python -m studies x --only=pgdat-seed1"
    assert found["config"]["seed"] == 1 and "workdir" not in found["config"]
    assert found["commits"] == ["abc1234"] and found["seconds"] == {
        "training": 6.0, "evaluation": 3.0,
    }  # fmt: skip
    assert found["epochs"] == {
        "epoch": [0, 1], "loss": [2.30259, 2.0], "val_adv_accuracy": [None, 0.25],
    }  # fmt: skip
    clean = found["evaluation"]["best"]["clean"]
    assert (clean["accuracy"], clean["examples"]) == (0.35, 20)
    with pytest.raises(SystemExit, match="Not made: y/local-x-pgdat-seed0."):
        command("y")  # its own run, and the look at a network that is not there
    assert [config.run_dir.rpartition("/")[2] for config in trained[2:]] == ["own-seed0"]
    assert "whose result is here, but which is not in" in capsys.readouterr().err
    assert not (tmp_path / "runs" / ".lock").exists()


def test_a_part_can_be_chosen_and_the_rest_is_listed(fake, capsys):
    trained, command = fake
    command("x", "y", "--only=x/pgdat", "--seeds=1")
    assert [config.seed for config in trained] == [1]
    command("--list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["x/pgdat-seed0", "missing,", "5", "minutes"], ["x/pgdat-seed1", "done"],
    ]  # fmt: skip
    assert "not possible: x/new-seed0 needs" in lines[2]
    assert lines[4].split()[0] == "y/own-seed0"  # the shared run is there once
    assert "make that run first" in lines[5] and lines[6] == "10 minutes are left, about."


def test_a_failure_does_not_stop_the_others_but_a_signal_does(fake, monkeypatch):
    trained, command = fake
    working = train.run

    def failing(config):
        if config.seed == 0:
            raise OSError("The disk is full")
        return working(config)

    monkeypatch.setattr(train, "run", failing)
    with pytest.raises(SystemExit, match="Not made: x/pgdat-seed0."):
        command("x", "--only=pgdat")
    assert [config.seed for config in trained] == [1]

    def stopped(config):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(train, "run", stopped)
    with pytest.raises(SystemExit, match="The same command goes on where it was"):
        command("x", "y")


def test_runs_of_a_budget_get_their_steps_from_one_measurement(fake, monkeypatch, tmp_path):
    trained, command = fake
    measured = []
    monkeypatch.setattr(rates, "measure", lambda config: measured.append(config) or 0.5)
    timed = {"epochs": None, "lr_schedule": "onecycle:0.3", "ema": 0.0}
    main.STUDIES["z"] = Study("z", tuple(
        run(f"one-{budget}", study="z", flags=timed, budget=budget) for budget in (1, 2)
    ))  # fmt: skip
    command("z")
    assert [(config.train_steps, config.epochs) for config in trained] == [(120, None), (240, None)]
    assert [config.ema for config in trained] == [round(1 - 8 / 120, 5), round(1 - 8 / 240, 5)]
    assert len(measured) == 1
    assert json.loads((tmp_path / "results" / "z" / "rates.json").read_text())["one"][
        "seconds_per_step"
    ] == 0.5  # fmt: skip


def test_classes_take_turns():
    labels = np.array([2, 2, 0, 1, 0, 2, 1])
    assert evaluating.in_turn(labels).tolist() == [2, 3, 0, 4, 6, 1, 5]


def test_a_network_is_evaluated_example_by_example(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluating, "ATTACKS", ("fgsm",))
    small = run(flags={"epsilon": 0.1})
    folders = Folders(tmp_path)
    monkeypatch.setattr(
        evaluating, "load_classifier", _remembered(evaluating.load_classifier, seen := [])
    )
    # The run is shared by all tests: what an evaluation leaves goes elsewhere.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(trained.folder / "checkpoints")
    (tmp_path / "run" / "config.json").symlink_to(trained.folder / "config.json")
    found = evaluating.evaluate_run(small, tmp_path / "run", 0.1, folders)
    images, labels = evaluating.test_examples("digits", 20, None)
    assert sorted(labels) == sorted([*range(10), *range(10)])
    for checkpoint, classifier in zip(("best", "last"), seen):
        part = found[checkpoint]
        correct = np.argmax(classifier.logits_fn(images), -1) == labels
        assert part["clean"]["correct"] == evaluating.bits.to_text(correct)
        robust = evaluating.bits.from_text(part["fgsm"]["correct"], 20)
        assert part["fgsm"]["accuracy"] == robust.mean() and not (robust & ~correct).any()


def _remembered(load, seen):
    def loading(path, checkpoint):
        seen.append(load(path, checkpoint))
        return seen[-1]

    return loading


def test_every_configuration_of_the_catalogue_is_run_once():
    runs = {r.key: r for study in catalogue.STUDIES.values() for r in study.runs}
    assert len(runs) == len({json.dumps([dict(r.flags), r.seed, r.budget]) for r in runs.values()})
    for study in catalogue.STUDIES.values():
        recipes = {r.of for r in study.runs}
        pairs = [*study.compared, *(pair for change in study.changes for pair in change)]
        shown = {*study.drawn, *study.lost, *(recipe for pair in pairs for recipe in pair)}
        assert shown <= recipes
        assert len({each.key for each in study.runs}) == len(study.runs)


def test_the_library_can_make_every_run_of_the_catalogue():
    for study in catalogue.STUDIES.values():
        for each in study.runs:
            each.config(Folders())
