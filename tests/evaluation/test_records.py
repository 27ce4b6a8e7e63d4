"""What happened to each example: what is kept, what it means, that it survives a file."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import evaluation
from rlfat_tf.attacks.base import Attack
from rlfat_tf.attacks.pixels import EightBit
from rlfat_tf.evaluation.evaluate import make_runner, run_plan
from rlfat_tf.evaluation.evaluated import Evaluated
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.plan import make_plan
from rlfat_tf.evaluation.records import EACH, read_examples, write_examples
from rlfat_tf.evaluation.report.table import table_rows
from tests import reference

IMAGES, _, _ = reference.images_and_labels(30, seed=1)
PIXELS = IMAGES[0].size
WEIGHTS = np.random.default_rng(2).normal(size=[PIXELS, 4]).astype(np.float32)
PATTERN = np.random.default_rng(3).choice([-0.2, 0.2], IMAGES[0].shape).astype(np.float32)


def predictions(images):
    return np.argmax((images - 0.5).reshape([-1, PIXELS]) @ WEIGHTS, -1)


def linear(images):
    return tf.reshape(images - 0.5, [-1, PIXELS]) @ WEIGHTS


LABELS = predictions(IMAGES).astype(np.int32)
LABELS[::7] = (LABELS[::7] + 1) % 4  # some are wrong from the start


class Patterned(Attack):
    """Adds the same pattern to every image, whatever the classifier."""

    norm: str = "l1"
    epsilon: float = 12.0
    sign: float = 1.0

    def run(self, logits_fn, images, labels, seed, unroll):
        return tf.clip_by_value(images + self.sign * PATTERN, 0.0, 1.0)


class Negative(Attack):
    """Turns every image into its negative."""

    norm: str = "l0"

    def run(self, logits_fn, images, labels, seed, unroll):
        return 1 - images


@pytest.fixture(scope="module")
def examples():
    less = Patterned(norm="linf", epsilon=0.2, sign=-1.0)
    chosen = {"more": Patterned(), "negative": Negative(), "less": less}
    plan = make_plan(chosen, None, "linf", {})
    runner = make_runner(evaluation.as_classifier(linear), IMAGES, LABELS, plan)
    return run_plan(runner, plan, checked=False, limits={"negative": 20}).examples


def test_an_attack_in_a_norm_of_its_own_is_evaluated_and_checked():
    report = evaluation.evaluate(linear, (IMAGES, LABELS), attacks={"more": Patterned()})
    record = report["attacks"]["more"]
    assert (report["norm"], record["norm"], record["epsilon"]) == ("l1", "l1", 12.0)
    after = predictions(np.clip(IMAGES + PATTERN, 0, 1)) == LABELS
    assert report["worst_case_accuracy"] == (after & (predictions(IMAGES) == LABELS)).mean()
    assert "epsilon-unit" not in {found["check"] for found in report["warnings"]}
    with pytest.raises(ValueError, match="EightBit around an attack in the norm linf or l2"):
        EightBit(attack=Patterned())


def test_every_example_is_as_computed_by_hand(examples):
    np.testing.assert_array_equal(examples.index, np.arange(30))
    np.testing.assert_array_equal(examples.label, LABELS)
    np.testing.assert_array_equal(examples.clean_prediction, predictions(IMAGES))
    right = np.arange(30) % 7 != 0
    np.testing.assert_array_equal(examples.clean, right)
    assert list(examples.attacks) == ["more", "negative", "less"] and np.isnan(examples.epsilons)
    more, less = (np.clip(IMAGES + sign * PATTERN, 0, 1) for sign in (1, -1))
    for name, found, lengths, tried in (
        ("more", more, np.abs(more - IMAGES).sum((1, 2, 3)), 30),
        ("negative", 1 - IMAGES, np.full(30, PIXELS), 20),
        ("less", less, np.abs(less - IMAGES).max((1, 2, 3)), 30),
    ):
        outcomes, after = examples.attacks[name], predictions(found)
        given = right & (np.arange(30) < tried)
        broken = given & (after != LABELS)
        assert broken.any() and outcomes.examples == tried
        np.testing.assert_array_equal(outcomes.given[0], given)
        np.testing.assert_array_equal(outcomes.broken[0], broken)
        expected = np.where(broken, after, predictions(IMAGES))
        np.testing.assert_array_equal(outcomes.prediction[0], expected)
        sizes = np.where(broken, lengths, np.nan)
        np.testing.assert_allclose(outcomes.size[0], sizes, rtol=1e-5)
        np.testing.assert_array_equal(examples.robust(name)[0], given & ~broken)
    kinds = {name: (o.norm, o.bounded) for name, o in examples.attacks.items()}
    assert kinds == {"more": ("l1", True), "negative": ("l0", False), "less": ("linf", True)}
    worst = right & (predictions(more) == LABELS) & (predictions(less) == LABELS)
    np.testing.assert_array_equal(examples.worst_case()[0], worst)


def test_the_worst_case_is_of_the_examples_that_a_bounded_attack_was_given():
    linear_one = evaluation.as_classifier(linear)
    plan = make_plan({"more": Patterned(), "again": Patterned()}, None, "linf", {})
    runner = make_runner(linear_one, IMAGES, LABELS, plan)
    whole = run_plan(runner, plan, checked=False)
    few = run_plan(runner, plan, checked=False, limits={"more": 12, "again": 9})
    assert whole.examples.judged == 30 and few.examples.judged == 12
    right = whole.examples.worst_case()[0]
    np.testing.assert_array_equal(few.examples.worst_case(), [right[:12]])
    report = few.report
    assert report["clean_accuracy"] == whole.report["clean_accuracy"]
    assert report["worst_case_accuracy"] == right[:12].mean() < whole.report["clean_accuracy"]
    assert report["worst_case_interval"] == pytest.approx(wilson(right[:12].sum(), 12), abs=1e-6)
    for known in report["classes"]:
        own = LABELS[:12] == known["label"]
        assert known["worst_case"] == (right[:12][own].mean() if own.any() else None)
    assert np.sum(report["confusion"]["worst_case"]) == 12
    (row,) = (row for row in table_rows(report) if row.kind == "worst")
    assert row.examples == 12
    one = Evaluated("net", report, few.examples)
    np.testing.assert_array_equal(one.counted("worst_case"), np.arange(30) < 12)
    np.testing.assert_array_equal(one.correct("worst_case")[:12], right[:12])


def same(one, other):
    for field in dataclasses.fields(one):
        if field.name != "attacks":
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_file_holds_it_all(examples, tmp_path):
    path = write_examples(examples, tmp_path / "new")
    for given in (path, tmp_path / "new", str(path)):
        found = read_examples(given)
        same(found, examples)
        assert list(found.attacks) == list(examples.attacks)
        for name, outcomes in examples.attacks.items():
            same(found.attacks[name], outcomes)
            assert all(getattr(found.attacks[name], key).dtype == EACH[key] for key in EACH)
    with np.load(path, allow_pickle=False) as plain:
        assert plain["attack"].tolist() == ["more", "negative", "less"]
        np.testing.assert_array_equal(plain["broken"][0], examples.attacks["more"].broken)


def test_it_is_written_beside_a_report_with_one_row_for_every_epsilon(tmp_path):
    settings = {"attacks": "fgsm", "epsilon": [0.02, 0.15], "checked": False}
    report = evaluation.evaluate(linear, (IMAGES, LABELS), report_dir=tmp_path, **settings)
    found = read_examples(tmp_path)
    assert found.epsilons.tolist() == [0.02, 0.15] and len(found.data) == 64
    for row, point in enumerate(report["curve"]):
        assert found.robust("fgsm")[row].mean() == point["attacks"]["fgsm"]["robust_accuracy"]
        assert found.worst_case()[row].mean() == point["worst_case_accuracy"]
        size = found.attacks["fgsm"].size[row]
        assert np.nanmax(size) <= point["epsilon"] + 1e-6


def test_no_attack_at_all(tmp_path):
    found = []
    for order in (1, -1, 1):
        data = IMAGES[::order], LABELS[::order]
        evaluation.evaluate(linear, data, attacks="", report_dir=tmp_path, checked=False)
        found.append(read_examples(tmp_path))
    assert found[0].attacks == {} and found[0].clean.sum() == 25
    np.testing.assert_array_equal(found[0].worst_case(), [found[0].clean])
    assert found[0].data == found[2].data != found[1].data


def test_no_class_where_a_logit_is_no_number(tmp_path):
    def half_blind(images):
        return linear(images) + tf.where(images[:, 0, 0, :1] > 0.5, 0.0, float("nan"))

    data = IMAGES, LABELS
    evaluation.evaluate(half_blind, data, attacks="", report_dir=tmp_path, checked=False)
    expected = np.where(IMAGES[:, 0, 0, 0] > 0.5, predictions(IMAGES), -1)
    np.testing.assert_array_equal(read_examples(tmp_path).clean_prediction, expected)


def test_what_cannot_be_read(examples, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no .*examples.npz. It is written beside"):
        read_examples(tmp_path)
    path = write_examples(examples, tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    for name, changed in (
        ("version", np.array(7)),
        ("label", arrays["label"][:3]),
        ("broken", arrays["broken"].astype(np.int32)),
        ("size", np.array([{}], object)),
    ):
        np.savez(path, **{**arrays, name: changed})
        with pytest.raises(ValueError, match="is damaged, or is not what was written"):
            read_examples(path)


def test_a_norm_that_nobody_can_measure_is_refused():
    with pytest.raises(ValueError, match="Unknown norm 'l7'. .*Known: l0, l1, l2, linf"):
        evaluation.evaluate(linear, (IMAGES, LABELS), attacks={"mine": Patterned(norm="l7")})


def test_an_attack_is_judged_in_its_own_norm():
    leaky = Patterned(sign=3.0)  # within 12 in L2, not in L1
    with pytest.raises(RuntimeError, match="left its ball"):
        evaluation.evaluate(linear, (IMAGES, LABELS), attacks={"leaky": leaky}, checked=False)
