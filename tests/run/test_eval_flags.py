"""Flags of ``eval.py`` that go together or not."""

import warnings
from pathlib import Path

import pytest

from rlfat_tf.evaluation import suite
from rlfat_tf.run import evaluate as command
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.eval_flags import read_by, warn_of_ignored_flags


def config(**changes):
    settings = {"dataset": "digits", "epsilon": (0.1,), "norm": "linf"}
    return EvalConfig(model_path="net.keras", **{**settings, **changes})


def said_of(**changes):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_ignored_flags(config(**changes), "linf", 0.1)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attacks": ""}, "at least one of clean, fgsm, mim, .*received ''"),
        ({"attacks": " ,"}, "at least one of clean, fgsm"),
        (
            {"attacks": "clean", "targeted": "3"},
            "--targeted=3 needs an attack .*fgsm, mim, .*clean",
        ),
        ({"attacks": "fgsm", "subset_seed": -1}, "--subset_seed to be .*31 bits; received -1"),
        ({"epsilon": (0.1, 0.1)}, r"different numbers in --epsilon; received \(0.1, 0.1\)"),
    ],
)
def test_what_is_refused_while_flags_are_read(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_which_settings_attacks_read():
    settings = {"norm": "linf", "epsilon": 0.1}
    assert read_by("fgsm", settings) & {"steps", "loss", "eot", "budget"} == {"eot"}
    found = read_by("pgd", settings)
    assert {"steps", "step_size", "restarts", "loss"} <= found and "budget" not in found
    assert "loss" not in read_by("cw", settings)
    assert {"version", "custom", "budget"} <= read_by("autoattack", settings)


def test_flags_of_no_use_are_told():
    (said,) = said_of(attacks="fgsm", loss="margin", restarts=5, steps=3, step_size=0.05, budget=3)
    for flag, readers in (
        ("loss", "pgd, transfer"),
        ("restarts", "pgd, cw"),
        ("steps", "mim, pgd, cw, transfer"),
        ("step_size", "mim, pgd, cw, transfer"),
    ):
        assert f"--{flag} (for {readers})" in said
    assert "--budget (for nattack, spsa, autoattack, fast, apgd_ce" in said
    (said,) = said_of(attacks="pgd", source_model="other.keras")
    assert said.startswith("This evaluation makes no use of --source_model (for transfer). Leave")
    (said,) = said_of(pictures=False, gamma=(2.0,), subset_seed=1, inference_backward="smooth")
    for flag, other in (
        ("gamma", "pictures"),
        ("subset_seed", "test_subset=stratified"),
        ("inference_backward", "inference"),
    ):
        assert f"--{flag} (for --{other})" in said
    (said,) = said_of(attacks="clean", cascade=True, pixels="8bit")
    assert "--pixels (for attacks), --cascade (for attacks)" in said


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attacks": "fgsm,pgd", "loss": "margin", "restarts": 5, "steps": 3, "step_size": 0.05},
        {"attacks": "square", "budget": 3, "eot": 2},
        {"attacks": "transfer", "source_model": "other.keras"},
        {"autoattack": "custom", "autoattack_parts": "square"},
        {"attacks": "clean", "subset_seed": 3, "test_subset": "stratified", "test_examples": 10},
    ],
)
def test_flags_that_are_read_are_not(changes):
    assert said_of(**changes) == []


def test_every_setting_has_a_reader():
    """So that no warning ends in nothing."""
    (said,) = said_of(
        attacks="clean", steps=3, step_size=0.1, restarts=2, loss="margin", budget=2,
        autoattack="custom", autoattack_parts="square", source_model="other.keras",
    )  # fmt: skip
    assert said.count("(for ") == 8 and "(for )" not in said
    assert set(suite.EVALUATION_ATTACKS) > {"fgsm", "transfer"}


def test_a_checkpoint_is_chosen_of_runs_only(tmp_path):
    for chosen in (config(checkpoint="last"), config(checkpoint="last", attacks="fgsm")):
        with pytest.raises(
            ValueError, match="--checkpoint=last needs the folder of a run.*net.ker"
        ):
            command.run(chosen)
    (tmp_path / "checkpoints").mkdir()
    run = EvalConfig(
        model_path=str(tmp_path), checkpoint="last", dataset="digits", epsilon=(0.1,)
    ).completed()
    assert run.checkpoint == "last"


def test_the_folder_of_a_report_keeps_letters_of_all_scripts():
    def folder(path):
        return EvalConfig(model_path=path, dataset="digits", epsilon=(0.1,)).folder

    assert folder("runs/a__b c.keras") == Path("evaluation/runs_a_b_c.keras")
    assert folder("läufe/模型.keras") == Path("evaluation/läufe_模型.keras")
    assert folder("läufe/模型.keras") != folder("läufe/网络.keras")
