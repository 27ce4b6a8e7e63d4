"""Flags, recipes and their precedence."""

from __future__ import annotations

import dataclasses
import re
import runpy
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from absl import app, flags

from rlfat_tf.run import builders, cli, schedules
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.eval_config import EvalConfig
from tests import reference

ROOT = Path(__file__).resolve().parents[2]
PAPER = {"cifar10": ("w32-10", 79800, 10), "cifar100": ("w32-10", 79800, 7),
         "stl10": ("w40-2", 29700, 7)}  # fmt: skip


def parse(*arguments: str) -> TrainConfig:
    config, remaining = cli.parse(["train.py", *arguments], cli.new_values())
    assert remaining == []
    return config


@pytest.mark.parametrize("dataset", PAPER)
@pytest.mark.parametrize("method", reference.METHODS)
def test_recipes_of_the_paper_have_its_numbers(dataset, method):
    config = parse(f"--dataset={dataset}", f"--method={method}")
    network, steps, attack_steps = PAPER[dataset]
    assert (config.model, config.train_steps, config.epochs) == (network, steps, None)
    assert config.attack_steps == attack_steps
    assert (config.epsilon, config.attack_step_size) == (0.03, 0.0075)
    assert (config.batch_size, config.optimizer, config.learning_rate) == (32, "adam", 1e-3)
    assert (config.lr_schedule, config.weight_decay, config.augment) == ("constant", 0, "flip")
    assert (config.validation_fraction, config.seed) == (0, 4557077)
    assert (config.num_blocks, config.block_shuffle, config.trades_lambda) == (2, "batch", 6)
    starts = {"standard": None, "pgdat": "uniform", "rbsat_p": "uniform", "rlfat_p": "uniform"}
    assert config.attack_random_start == starts.get(method, "gaussian")
    assert config.eta == {"rlfat_p": 0.5, "rlfat_t": 1.0}.get(method)


def test_a_flag_wins_wherever_it_stands(tmp_path):
    file = tmp_path / "mine.cfg"
    file.write_text("--dataset=cifar10\n--method=trades\n--batch_size=7\n--epsilon=0.5\n")
    before = parse("--epsilon=8/255", f"--flagfile={file}")
    after = parse("--flagfile", str(file), "--epsilon=8/255")
    assert before == after
    assert (before.epsilon, before.batch_size) == (8 / 255, 7)
    assert (before.model, before.attack_step_size) == ("w32-10", 0.0075)  # of the recipe beneath
    assert parse("--seed=3", "--dataset=cifar10", "--method=rlfat_p").seed == 3


def test_epochs_and_train_steps_replace_each_other():
    recipe = ("--dataset=cifar10", "--method=pgdat")
    assert parse(*recipe, "--epochs=2").epochs == 2
    assert parse(*recipe, "--epochs=2").train_steps is None
    digits = parse("--train_steps=5")
    assert (digits.epochs, digits.train_steps) == (None, 5)
    with pytest.raises(ValueError, match="one of --epochs and --train_steps"):
        parse("--epochs=2", "--train_steps=5")


def test_defaults_are_those_of_the_dataclass_without_a_recipe():
    config = parse("--dataset=folder:photos", "--method=pgdat")
    assert config == TrainConfig(dataset="folder:photos", method="pgdat")


def test_another_norm_than_that_of_the_recipe_has_another_ball():
    recipe = parse("--dataset=cifar10", "--method=pgdat")
    assert (recipe.epsilon, recipe.attack_step_size) == (0.03, 0.0075)
    config = parse("--epsilon=0.5", "--dataset=cifar10", "--method=pgdat", "--attack_norm=l2")
    assert (config.epsilon, config.attack_step_size) == (0.5, None)
    assert config.attack_steps == recipe.attack_steps
    one_step = parse("--dataset=cifar10", "--method=pgdat", "--attack=n_fgsm")
    assert (one_step.epsilon, one_step.attack_step_size) == (0.03, None)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epsilon=8", "Did you mean 8/255"),
        ("--epsilon=a/b", "a fraction such as 8/255"),
        ("--epsilon=-0.1", "epsilon >= 0"),
        ("--attack_steps=0", "--attack_steps to be an integer of at least 1; received 0"),
        ("--batch_size=0", "--batch_size"),
        ("--metod=pgdat", "Did you mean: .*method"),
        ("--beta=6", "flag 'beta'. Did you mean: trades_lambda"),
        ("--lr=0.1", "flag 'lr'. Did you mean: learning_rate"),
        ("--norm=l2", "flag 'norm'. Did you mean: attack_norm"),
        ("--attack=fgsmrs", "Did you mean 'fgsm_rs'"),
        ("--attack_norm=l2", "also needs --epsilon: its default is a radius of the maximum norm"),
        (
            "--attack_random_start=radial",
            "random_start 'radial' is for the norm l2; the norm linf has uniform, gaussian, none",
        ),
        ("--nesterov=maybe", "^Expected --nesterov to be true or false; received 'maybe'.$"),
        ("--recipe=cifar10_pgdt", "Did you mean 'cifar10_pgdat' or .* --recipe=list shows all"),
        ("--recipe=../flags/cifar10_pgdat", "Unknown recipe"),
        ("--method=rlfat_q", "Did you mean 'rlfat_"),
        ("--validation_fraction=1", "in \\[0, 1\\)"),
        ("--validation_every=60", "at most --epochs, else no epoch is validated; received 60"),
        ("--lr_schedule=step:9,3", "rising epochs"),
        ("--learning_rate=nan", "above 0"),
        ("--mixed_precision=float16", "bfloat16"),
        ("--ema=2", "--ema"),
        (f"--train_steps={10**20}", "--train_steps to be an integer that fits 31 bits"),
        (f"--attack_steps={10**30}", "--attack_steps to be an integer that fits 31 bits"),
        ("--image_size=2147483648", "--image_size to be an integer that fits 31 bits"),
        ("--lr_schedule=step:1e300", "below 2\\*\\*31"),
    ],
)
def test_what_is_wrong_is_said(argument, message):
    with pytest.raises((flags.Error, ValueError), match=message):
        parse(argument)


def test_a_name_in_another_case_is_found():
    with pytest.raises(ValueError, match="Did you mean 'trades'"):
        parse("--method=TRADES")


def test_the_name_of_the_data_is_looked_at_before_a_recipe_is_missed(capsys):
    with pytest.raises(SystemExit):
        cli._train(["train.py", parse("--dataset=digit")])
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("Error: Unknown data set 'digit'.")


@pytest.mark.parametrize(
    ("arguments", "ignored"),
    [
        (
            ("--method=standard", "--eta=3", "--num_blocks=9"),
            "--num_blocks, --eta: --method=standard, --attack=pgd, --optimizer",
        ),
        (("--method=atld", "--attack_steps=5"), "--attack_steps: --method=atld"),
        (("--method=pgdat", "--lsp_weight=2"), "--lsp_weight: .*--regularizer"),
        (
            ("--method=pgdat", "--optimizer=adam", "--nesterov", "--momentum=0.5"),
            "--momentum, --nesterov: .*--optimizer=adam",
        ),
    ],
)
def test_flags_that_the_method_does_not_take(arguments, ignored):
    with pytest.warns(UserWarning, match=f"makes no use of {ignored}"):
        builders.warn_of_ignored_flags(parse("--dataset=svhn_cropped", *arguments))


def test_more_neighbours_than_a_batch_has_are_told():
    flags_of_lsp = ("--regularizer=lsp", "--batch_size=8", "--lsp_neighbors=8")
    with pytest.warns(UserWarning, match="--lsp_neighbors=8 is more than the 7 other images"):
        builders.warn_of_ignored_flags(parse("--dataset=svhn_cropped", *flags_of_lsp))


@pytest.mark.parametrize(
    "schedule", ["cosine", "step:2000000000", "cosine:warmup=5", "onecycle:0.3", "cyclic:0.5"]
)
def test_the_longest_schedules_are_made(schedule):
    config = parse("--train_steps=2147483647", f"--lr_schedule={schedule}")
    build = schedules.parse(schedule).build
    rate = build(config.learning_rate, 10_000, config.train_steps)
    first = float(rate(tf.constant(0, tf.int64)))  # as optimizers count
    assert 0 <= first <= config.learning_rate * (1 + 1e-6)
    assert float(rate(tf.constant(2**30, tf.int64))) > 0


def test_flags_file_of_a_run_gives_the_same_configuration(tmp_path):
    config = parse("--dataset=cifar10", "--method=rlfat_t", "--epsilon=8/255", "--download=false")
    file = tmp_path / "flags.cfg"
    file.write_text(config.to_flags())
    assert parse(f"--flagfile={file}") == config
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("method", ["trades", "rlfat_p", "standard"])
def test_flags_file_of_a_run_from_python_gives_the_same_configuration(tmp_path, method):
    """No recipe fills in what its user has left at the library's defaults."""
    config = TrainConfig(dataset="cifar10", method=method)
    (tmp_path / "flags.cfg").write_text(config.to_flags())
    assert parse(f"--flagfile={tmp_path}/flags.cfg") == config
    assert parse("--dataset=cifar10", f"--method={method}", "--recipe=none") == config


def test_eval_flags():
    values = flags.FlagValues()
    cli.define_flags(EvalConfig, values)
    config, _ = cli.parse_eval(["eval.py", "--workdir=w", "--epsilon=4/255"], values)
    assert (config.workdir, config.epsilon, config.attacks) == (
        "w",
        (4 / 255,),
        "clean,pgd,autoattack",
    )
    with pytest.raises(ValueError, match="one of --workdir"):
        EvalConfig()
    with pytest.raises(ValueError, match="Did you mean 'pgd'"):
        EvalConfig(workdir="w", attacks="clean,pgdd")
    with pytest.raises(ValueError, match="also needs --dataset"):
        EvalConfig(model_path="m.keras")
    assert EvalConfig(workdir="w", norm="l2", epsilon=(0.5,)).epsilon == (0.5,)
    for given in ({"norm": "linf"}, {"model_path": "m", "workdir": None, "dataset": "digits"}):
        with pytest.raises(ValueError, match="Did you mean 1.5/255"):
            EvalConfig(**{"workdir": "w", "epsilon": (1.5,), **given})
    with pytest.raises(ValueError, match="--autoattack_parts with --autoattack=custom and only"):
        EvalConfig(workdir="w", autoattack="custom")
    with pytest.raises(ValueError, match="--autoattack_parts with --autoattack=custom and only"):
        EvalConfig(workdir="w", autoattack_parts="square")
    with pytest.raises(ValueError, match="--autoattack_parts: 'squar'. Did you mean 'square'"):
        EvalConfig(workdir="w", autoattack="custom", autoattack_parts="apgd_ce, squar")
    with pytest.raises(ValueError, match="--inference needs --norm=linf"):
        EvalConfig(workdir="w", norm="l2", epsilon=(0.5,), inference="all")
    for wrong in ({"seed": -1}, {"gamma": (float("nan"),)}, {"brightness": (float("nan"),)}):
        with pytest.raises(ValueError, match=f"--{[*wrong][0]}"):
            EvalConfig(workdir="w", **wrong)


@pytest.mark.parametrize("config, page", [(TrainConfig, "training"), (EvalConfig, "evaluation")])
def test_the_documentation_names_every_flag(config, page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    missing = [f.name for f in dataclasses.fields(config) if f"| `--{f.name}` |" not in text]
    assert not missing
    written = runpy.run_path(str(ROOT / "tools" / "write_flags.py"))
    assert written["page_of"](text, config) == text, "python tools/write_flags.py"


@pytest.mark.parametrize(
    "dataset, learning_rate", [("cifar10", 0.1), ("cifar100", 0.1), ("svhn_cropped", 0.01)]
)
def test_recipes_of_the_neighbours_have_the_numbers_of_their_code(dataset, learning_rate):
    scatter = parse(f"--dataset={dataset}", "--method=feature_scattering")
    atld = parse(f"--dataset={dataset}", "--method=atld")
    for config in (scatter, atld):
        assert (config.model, config.optimizer, config.momentum) == ("wrn-28-10", "sgd", 0.9)
        assert (config.learning_rate, config.lr_schedule) == (learning_rate, "step:60,90")
        assert (config.weight_decay, config.label_smoothing) == (2e-4, None)
        assert config.epsilon == 8 / 255 and config.validation_fraction == 0
        assert config.augment == ("none" if dataset == "svhn_cropped" else "crop_flip")
    assert (scatter.epochs, scatter.batch_size) == (200, 60)
    assert (atld.epochs, atld.batch_size) == (400, 50)
    assert atld.divergence_weight == (0.1 if dataset == "cifar100" else 0.5)


@pytest.mark.parametrize(
    "main, config, program",
    [
        (cli.train_main, TrainConfig, "train.py"),
        (cli.train_main, TrainConfig, "/usr/bin/rlfat-train"),
        (cli.eval_main, EvalConfig, "eval.py"),
    ],
)
def test_help_shows_every_flag(main, config, program, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    monkeypatch.setattr(app, "run", lambda *_, **__: None)
    main()
    shown = flags.FLAGS.main_module_help()
    missing = [
        f.name
        for f in dataclasses.fields(config)
        if f.name not in re.findall(r"--(?:\[no\])?(\w+)", shown)
    ]
    assert not missing


def test_several_epsilons():
    values = flags.FlagValues()
    cli.define_flags(EvalConfig, values)
    config, _ = cli.parse_eval(
        ["eval.py", "--workdir=w", "--epsilon=4/255,0.1", "--gamma=2", "--brightness="], values
    )
    assert config.epsilon == (4 / 255, 0.1)
    assert config.gamma == (2.0,) and config.brightness == ()
    for bad in ("--epsilon=x", "--epsilon=1/0", "--gamma=1,,y"):
        with pytest.raises((flags.Error, ValueError), match="expected a number"):
            cli.parse_eval(["eval.py", "--workdir=w", bad], values)


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/her")
    run = TrainConfig(workdir="~/run", extra_data="~/a.npz,/b.npz", dataset="folder:~/photos")
    assert (run.workdir, run.extra_data) == ("/home/her/run", "/home/her/a.npz,/b.npz")
    assert EvalConfig(workdir="~/run").workdir == "/home/her/run"
