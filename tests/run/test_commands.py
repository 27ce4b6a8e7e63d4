"""The README's first command, and then the evaluation of what it left."""

import hashlib
import json

import pytest

from tests.forks import ROOT


def test_train_and_evaluate(forks, tmp_path):
    """The recipe shortened; runs on both stacks."""
    trained = forks.run(
        ROOT / "train.py", "--dataset=digits", "--method=rlfat_p", "--epochs=1",
        "--train_examples=300", "--test_examples=60", folder=tmp_path,
    )  # fmt: skip
    assert "PGD-20 accuracy" in trained
    run = tmp_path / "runs" / "digits_rlfat_p"
    assert (run / "export" / "saved_model.pb").is_file()
    evaluated = forks.run(
        ROOT / "eval.py", f"--workdir={run}", "--test_examples=60", "--attacks=clean,pgd,apgd_ce"
    )
    assert "worst case" in evaluated
    measured = json.loads((run / "evaluation" / "report.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    assert measured["clean_accuracy"] == pytest.approx(summary["test_accuracy"])
    # Other random starts, and here the best point of the way counts, not the last.
    robust = measured["attacks"]["pgd"]["robust_accuracy"]
    assert robust == pytest.approx(summary["test_adv_accuracy"], abs=0.1)
    assert measured["worst_case_accuracy"] <= robust
    judged, file = measured["judged"], run / "checkpoints" / "best.keras"
    assert judged["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    expected = {"method": "rlfat_p", "network": "wrn-10-1", "training_data": "digits", "epochs": 1,
                "file": "best.keras"}  # fmt: skip
    assert {key: judged[key] for key in expected} == expected
    assert judged["parameters"] > 1000 and "epsilon=" in judged["training_attack"]
    assert "<h1>" in (run / "evaluation" / "report.html").read_text()
