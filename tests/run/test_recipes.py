"""The files of flags/: what they say, that they come from their table, and how one is chosen."""

from __future__ import annotations

import dataclasses
import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest

from rlfat_tf import models
from rlfat_tf.data import DATASETS
from rlfat_tf.methods import METHODS
from rlfat_tf.run import builders, cli, cost, recipes
from rlfat_tf.run.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]


def parse(*arguments: str) -> TrainConfig:
    return cli.parse(["train.py", *arguments], cli.new_values())[0]


@pytest.fixture(scope="module")
def configurations() -> dict[str, TrainConfig]:
    """What every recipe makes of the defaults."""
    return {name: parse(f"--recipe={name}") for name in recipes.names()}


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, ...]]:
    """The rows of --recipe=list."""
    return cli.recipe_rows()


def test_files_and_page_are_those_of_the_tables(monkeypatch, rows):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    written = runpy.run_path(str(ROOT / "tools" / "write_recipes.py"))
    for name in [name for name in sys.modules if name.startswith("recipe_")]:
        sys.modules.pop(name)
    files = written["files"]()
    assert sorted(files) == sorted((ROOT / "flags").glob("*.cfg"))
    page = ROOT / "docs" / "frame.md"
    files[page] = written["page_of"](page.read_text(encoding="utf-8"), rows)
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, "python tools/write_recipes.py"


def test_there_is_one_for_every_data_set_and_method(configurations):
    for dataset in DATASETS:
        for method in METHODS:
            config = configurations[f"{dataset}_{method}"]
            assert (config.dataset, config.method) == (dataset, method)


def test_every_recipe_says_what_it_does_and_is_wholly_read(configurations):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, config in configurations.items():
            stated = dict(flag[2:].split("=", 1) for flag in recipes.read(name).flags)
            assert {"dataset", "method", "model", "attack_bn", "seed"} <= set(stated)
            assert stated["attack_bn"] == config.attack_bn
            models.find(config.model)
            builders.warn_of_ignored_flags(config)


def test_a_recipe_is_the_layer_beneath_the_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # they are found from any folder
    there = parse("--dataset=cifar10", "--method=rlfat_t")
    named = parse("--recipe=cifar10_rlfat_t")
    assert named.run_dir == there.run_dir == "runs/cifar10_rlfat_t"
    assert named.identity == there.identity
    other = parse("--epsilon=8/255", "--recipe=cifar10_rlfat_t", "--dataset=cifar100", "--epochs=3")
    assert (other.dataset, other.method, other.epsilon) == ("cifar100", "rlfat_t", 8 / 255)
    assert (other.attack_steps, other.epochs, other.train_steps) == (10, 3, None)  # of cifar10
    file = tmp_path / "flags.cfg"
    file.write_text(other.to_flags())
    assert parse(f"--flagfile={file}") == other


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("pgdat_tricks", (110, 128, 0.1, "step:100,105", 5e-4, 0, None, 0, "pgd")),
        ("trades_tricks", (110, 128, 0.1, "step:100,105", 5e-4, 0, None, 0, "pgd")),
        ("pgdat_average", (100, 128, 0.1, "onecycle:0.3,by=epoch", 5e-4, 0.9995, 0.4, 0, "pgd")),
        ("rlfat_p_frame", (100, 128, 0.1, "onecycle:0.3,by=epoch", 5e-4, 0.9995, 0.4, 0, "pgd")),
        ("pgdat_awp", (200, 128, 0.1, "step:100,150", 5e-4, 0, None, 0.01, "pgd")),
        ("trades_awp", (200, 128, 0.1, "step:100,150", 5e-4, 0, None, 0.005, "pgd")),
        ("rlfat_t_awp", (200, 128, 0.1, "step:100,150", 5e-4, 0, None, 0.005, "pgd")),
        ("nfgsm", (100, 128, 0.1, "onecycle:0.3,by=epoch", 5e-4, 0.9995, 0.4, 0, "n_fgsm")),
        ("fgsm_rs", (15, 128, 0.2, "cyclic:0.5", 5e-4, 0, None, 0, "fgsm_rs")),
        ("pgdat_awp_l2", (200, 128, 0.1, "step:100,150", 5e-4, 0, None, 0.01, "pgd")),
    ],
)
def test_frames_have_the_numbers_of_their_sources(name, numbers, configurations):
    config = configurations[f"cifar10_{name}"]
    assert name.startswith(config.method) or (config.method == "pgdat" and "fgsm" in name)
    assert numbers == (
        config.epochs, config.batch_size, config.learning_rate, config.lr_schedule,
        config.weight_decay, config.ema, config.label_smoothing, config.awp, config.attack,
    )  # fmt: skip
    assert (config.optimizer, config.momentum, config.nesterov) == ("sgd", 0.9, False)
    assert config.augment == "crop_flip" and config.decay_exclude == "none"
    l2 = config.attack_norm == "l2"
    if "fgsm" not in name:
        assert config.attack_step_size == (15 / 255 if l2 else 2 / 255)
    assert (config.attack_steps, config.epsilon) == (10, 0.5 if l2 else 8 / 255)


def test_only_a_missing_recipe_is_said(monkeypatch, capsys):
    monkeypatch.setattr(cli.train, "run", lambda config: None)
    cli._train(["train.py", parse("--dataset=mnist", "--method=atld")])
    assert capsys.readouterr().out == ""
    cli._train(["train.py", parse("--dataset=tfds:beans", "--method=atld")])
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "There is no recipe for --dataset=tfds:beans --method=atld" in said
    assert "(--model=wrn-16-2 --augment=flip --epochs=50 --batch_size=128" in said
    assert re.search(r"data set: none; for this method: cifar100_atld.* and \d more\. ", said)
    assert "--epsilon=8/255" in said
    cli._train(["train.py", parse("--recipe=mnist_atld", "--dataset=tfds:beans")])
    assert capsys.readouterr().out == ""


def test_the_list(capsys, monkeypatch, rows):
    monkeypatch.setattr(cli, "recipe_rows", lambda: rows)
    cli._train(["train.py", parse("--recipe=list")])
    shown = {
        line.split()[0]: re.split("  +", line)
        for line in capsys.readouterr().out.split("\n\n")[1].splitlines()
    }
    assert set(shown) - {"recipe"} >= set(recipes.names())
    assert shown["cifar10_rlfat_t"][1:] == ["w32-10", "79800 steps", "10 + 3", "-", "not measured"]
    assert shown["cifar10_pgdat_awp"][1:] == [
        "preact_resnet18", "200", "10 + 2", "81.2 / 55.4 PGD-20", "not measured"
    ]  # fmt: skip
    assert shown["cifar10_nfgsm"][1:5] == ["resnet18", "100", "1 + 1", "78.59 / 47.77"]
    assert shown["digits_rlfat_p"][1:] == ["wrn-10-1", "40", "7 + 2", "-", "95.6 / 68.3 PGD-20"]


def test_the_passes_are_those_of_the_documentation():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    table = page[page.index("## Cost of a step") : page.index("## Several replicas")]
    rows = re.findall(r"^\| `(\w+)` \| \d \| (.+?) \| (\d) \| (\d) \|$", table, re.M)
    assert {name for name, *_ in rows} == set(METHODS)
    for name, attack, update, again in rows:
        config = TrainConfig(method=name, attack_steps=3)
        back = sum(3 if part == "K" else int(part) for part in (*attack.split(" + "), again))
        assert cost.passes(config) == f"{back} + {update}", name
        twice = dataclasses.replace(config, awp=0.01)
        assert cost.passes(twice) == f"{back} + {2 * int(update)}", name
    assert cost.passes(TrainConfig(method="trades", attack="n_fgsm")) == "1 + 2"
