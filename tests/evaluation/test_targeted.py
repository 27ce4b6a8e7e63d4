"""Targeted attacks and 8-bit pixels in an evaluation: their figures, and what they leave alone."""

import json

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks, evaluation
from rlfat_tf.attacks.pixels import is_on_grid
from rlfat_tf.core import random
from rlfat_tf.evaluation import suite
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.report.page import page
from rlfat_tf.evaluation.report.writing import show
from rlfat_tf.run.eval_config import EvalConfig
from tests import reference

BETWEEN_LEVELS, _, _ = reference.images_and_labels(30, seed=1)
IMAGES = (np.round(255 * BETWEEN_LEVELS) / 255).astype(np.float32)
RAW = reference.keras_net(seed=4)
MEAN = tf.reduce_mean(RAW(IMAGES), 0)


def NET(images):  # noqa: N802
    """A classifier that takes no class for most others."""
    return RAW(images) - MEAN


LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
LABELS[::7] = (LABELS[::7] + 1) % 3
AWAY = attacks.LinfPGD(epsilon=0.1, steps=2, random_start="none")
SOURCE = type("Source", (), {"name": "net", "logits_fn": None})()


def evaluated(chosen, folder=None, **arguments):
    return evaluation.evaluate(
        NET, (IMAGES, LABELS), attacks=chosen, checked=False, report_dir=folder, **arguments
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def report(folder):
    return evaluated(GIVEN, folder, seed=5)


def toward(rule):
    return attacks.Targeted(attack=AWAY.replace(keep="best"), target=rule)


TARGETS = ("least_likely", "random", 1)
GIVEN = {"away": AWAY, **{str(rule): toward(rule) for rule in TARGETS}}


def test_they_are_no_part_of_robust_accuracy(report):
    assert list(report["attacks"]) == ["away"] and list(report["targeted"]) == list(
        map(str, TARGETS)
    )
    alone = evaluated({"away": AWAY}, seed=5)
    assert alone["worst_case_accuracy"] == report["worst_case_accuracy"]
    assert (
        "targeted" not in alone
        and alone["attacks"]["away"].keys() == report["attacks"]["away"].keys()
    )


@pytest.mark.parametrize("rule", TARGETS)
def test_the_figures_are_those_of_the_attack_itself(report, folder, rule):
    attack, found = toward(rule), report["targeted"][str(rule)]
    seed = random.as_seed(5)._replace(examples=tf.range(30))
    targets = attack.targets(NET(IMAGES), LABELS, seed).numpy()
    adversarial = attack(NET, IMAGES, LABELS, seed=seed).numpy()
    given = targets != LABELS
    reached = given & (np.argmax(NET(adversarial), -1) == targets)
    assert found["examples"] == given.sum() and found["left_out"] == 30 - given.sum()
    assert found["reached"] == reached.sum() and 0 < reached.sum() < given.sum()
    assert found["success_rate"] == pytest.approx(reached.sum() / given.sum())
    assert found["interval"] == pytest.approx(wilson(reached.sum(), given.sum()), abs=1e-6)
    lengths = np.linalg.norm((adversarial - IMAGES).reshape(30, -1), axis=-1)
    assert found["median_l2"] == pytest.approx(np.median(lengths[reached]), abs=1e-4)
    assert (found["left_out"] == 0) == (rule == "random") and found["target"] == rule
    kept = evaluation.read_examples(folder).targeted[str(rule)]
    assert (kept.norm, kept.bounded, kept.examples) == ("linf", True, 30)
    np.testing.assert_array_equal(kept.target, targets)
    np.testing.assert_array_equal(kept.given, [given])
    np.testing.assert_array_equal(kept.broken, [reached])
    clean = np.argmax(NET(IMAGES), -1)
    np.testing.assert_array_equal(kept.prediction, [np.where(reached, targets, clean)])
    farthest = np.abs(adversarial - IMAGES).max((1, 2, 3))
    np.testing.assert_allclose(kept.size, [np.where(reached, farthest, np.nan)], atol=2e-6)


def test_they_are_not_run_twice_and_the_batch_does_not_matter(report, folder):
    again = evaluated(GIVEN, folder, seed=5, batch_size=7)
    assert again["targeted"] == report["targeted"], "seconds included"
    other = evaluated({"random": toward("random")}, seed=5, batch_size=7)["targeted"]["random"]
    assert other["success_rate"] == report["targeted"]["random"]["success_rate"]


def test_two_classifiers_are_compared_by_what_is_not_taken_for_its_target(report, folder, tmp_path):
    rule = {"least_likely": toward("least_likely")}
    evaluation.evaluate(
        RAW, (IMAGES, LABELS), attacks=rule, checked=False, report_dir=tmp_path, seed=5
    )
    found = evaluation.compare(folder, tmp_path, under="least_likely")
    kept = [evaluation.read_examples(f).targeted["least_likely"] for f in (folder, tmp_path)]
    both = kept[0].given[0] & kept[1].given[0]
    resists = [~one.broken[0][both] for one in kept]
    assert found["examples"] == both.sum() < 30
    assert found["only_a"] == (resists[0] & ~resists[1]).sum()
    assert found["only_b"] == (resists[1] & ~resists[0]).sum() != found["only_a"]
    assert found["difference"] == pytest.approx((found["only_a"] - found["only_b"]) / both.sum())
    assert found["p_value"] == evaluation.mcnemar(found["only_a"], found["only_b"])
    changed = json.loads((tmp_path / "report.json").read_text())
    changed["targeted"]["least_likely"]["attack"] = "Targeted(...)"
    (tmp_path / "report.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=r"attack least_likely is .* and Targeted\(\.\.\.\) on 30"):
        evaluation.compare(folder, tmp_path, under="least_likely")


def test_the_tables(report):
    text, html = show(report), page(report, {})
    assert "random to random" in text and "least_likely to least likely" in text
    assert (
        "<h2>Targeted attacks</h2>" in html and "untargeted and targeted, pixels in [0, 1]" in html
    )
    before, after = text.split("towards a class")
    assert "away" in before and "away" not in after and "random" not in before


def test_the_page_says_where_the_attacks_aim(report):
    assert "untargeted and targeted, pixels in [0, 1]" in page(report, {})
    alone = {**report, "attacks": {}, "worst_case_accuracy": None, "worst_case_interval": None}
    assert "<small>targeted, pixels" in page(alone, {})
    assert "<small>untargeted, pixels" in page({**report, "targeted": {}}, {})


def test_by_names_with_8_bit_pixels():
    settings = {
        "epsilon": [0.1, 0.2],
        "targeted": "1",
        "pixels": "8bit",
        "steps": 2,
        "budget": 0.01,
    }
    found = evaluated("pgd", **settings)
    assert found["pixels"] == "8bit" and found["worst_case_accuracy"] is None
    assert not found["attacks"] and found["targeted"] == found["curve"][0]["targeted"]
    assert all("EightBit" in r["attack"] for r in found["targeted"].values())
    near, far = (point["targeted"]["pgd"]["success_rate"] for point in found["curve"])
    assert near <= far
    assert "8-bit pixels" in page(found, {})
    with pytest.raises(ValueError, match="8-bit pixels, n / 255.* off by"):
        evaluation.evaluate(NET, (BETWEEN_LEVELS, LABELS), attacks="pgd", pixels="8bit")
    with pytest.raises(ValueError, match=r"autoattack cannot be targeted.* can are fgsm, mim, pgd"):
        evaluated("pgd,autoattack", targeted="random")


@pytest.mark.parametrize("name", suite.EVALUATION_ATTACKS)
def test_every_name_is_what_it_says(name):
    entry = suite.EVALUATION_ATTACKS[name]
    made = suite.make(name, suite.Settings(source=SOURCE, pixels="8bit"))
    assert is_on_grid(made)
    if entry.aims:
        made = suite.make(name, suite.Settings(source=SOURCE, pixels="8bit", targeted=3))
        assert isinstance(made, attacks.Targeted) and made.target == 3 and is_on_grid(made)
    else:
        with pytest.raises(ValueError, match="cannot be targeted"):
            attacks.Targeted(attack=suite.make(name, suite.Settings()))


def test_the_flags():
    config = EvalConfig(workdir="w", targeted="dog", pixels="8bit")
    assert config.settings(None, ["cat", "dog"])["targeted"] == 1
    assert config.settings()["targeted"] == 0  # until the names are known
    assert config.settings()["pixels"] == "8bit"
    with pytest.raises(ValueError, match="Unknown target 'dog'"):
        config.settings(None, ["cat", "cow"])
    with pytest.raises(ValueError, match="--inference compares robust accuracies"):
        EvalConfig(workdir="w", targeted="random", inference="all")
    with pytest.raises(ValueError, match="--pixels"):
        EvalConfig(workdir="w", pixels="7bit")
