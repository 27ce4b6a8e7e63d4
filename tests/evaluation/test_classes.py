"""Class by class: shares that add up to the overall ones, matrices, the worst class."""

import collections
import dataclasses

import numpy as np
import pytest

from rlfat_tf import evaluation
from rlfat_tf.evaluation.classes import by_class, confusion, worst_case_predictions
from rlfat_tf.evaluation.records import Examples, Outcomes
from rlfat_tf.evaluation.report.table import few_examples_text, worst_class_text

CLASSES, COUNT = 5, 400
NAMES = ["cat", "dog", "frog", "ship", "no example"]


def made(seed=0, classes=CLASSES, count=COUNT):
    """Two bounded attacks, one of them on the first examples only, and an unbounded one."""
    rng = np.random.default_rng(seed)
    shares = np.arange(classes - 1, 2 * (classes - 1))  # unequal, and of the last class none
    label = rng.choice(classes - 1, count, p=shares / shares.sum())
    clean = np.where(rng.random(count) < 0.7, label, rng.integers(0, classes, count))
    outcomes = {}
    for name, bounded, examples in (("a", True, count), ("b", True, 150), ("far", False, count)):
        given = (clean == label) & (np.arange(count) < examples)
        broken = given & (rng.random(count) < 0.4)
        wrong = (label + rng.integers(1, classes, count)) % classes
        prediction = np.where(broken, wrong, clean)
        rows = (np.stack([x, x]) for x in (given, broken, prediction, np.ones(count)))
        outcomes[name] = Outcomes("linf", bounded, examples, *rows)
    return Examples(np.arange(count), label, clean, np.array([0.1, 0.2]), outcomes)


EXAMPLES = made()
FOUND = by_class(EXAMPLES, NAMES)


def test_the_shares_of_the_classes_make_up_the_overall_ones():
    counts = [known["examples"] for known in FOUND["classes"]]
    assert sum(counts) == COUNT and counts[-1] == 0
    for share, overall in (
        (lambda known: known["clean"], EXAMPLES.clean.mean()),
        (lambda known: known["worst_case"], EXAMPLES.worst_case()[0].mean()),
        (lambda known: known["attacks"]["a"], EXAMPLES.robust("a")[0].mean()),
    ):
        mean = sum(n * share(known) for n, known in zip(counts, FOUND["classes"]) if n) / COUNT
        assert mean == pytest.approx(overall, abs=1e-12)
    seen = np.bincount(EXAMPLES.label[:150], minlength=CLASSES)
    mean = sum(n * known["attacks"]["b"] for n, known in zip(seen, FOUND["classes"]) if n) / 150
    assert mean == pytest.approx(EXAMPLES.robust("b")[0, :150].mean(), abs=1e-12)


def test_every_class_is_as_counted_one_by_one():
    a, b = EXAMPLES.attacks["a"], EXAMPLES.attacks["b"]
    for label, known in enumerate(FOUND["classes"][:-1]):
        own = [i for i in range(COUNT) if EXAMPLES.label[i] == label]
        right = [i for i in own if EXAMPLES.clean_prediction[i] == label]
        left = [i for i in right if not a.broken[0, i] and not b.broken[0, i]]
        assert (known["name"], known["label"]) == (NAMES[label], label)
        assert known["clean"] == pytest.approx(len(right) / len(own))
        assert known["worst_case"] == pytest.approx(len(left) / len(own))
        low, high = known["interval"]
        assert low < known["worst_case"] < high
    nothing = FOUND["classes"][-1]
    assert nothing["clean"] is nothing["worst_case"] is nothing["interval"] is None
    assert set(nothing["attacks"].values()) == {None}
    lowest = min(FOUND["classes"][:-1], key=lambda known: known["worst_case"])
    assert FOUND["worst_class"] == {
        key: lowest[key]
        for key in ("name", "label", "examples", "attacked", "worst_case", "interval")
    }


def test_a_worst_case_of_the_first_examples_counts_those():
    attacks = {"b": EXAMPLES.attacks["b"]}  # on 150
    examples = dataclasses.replace(EXAMPLES, attacks=attacks)
    found = by_class(examples, NAMES)
    counts = np.bincount(EXAMPLES.label[:150], minlength=CLASSES)
    assert [known["attacked"] for known in found["classes"]] == counts.tolist()
    assert sum(known["examples"] for known in found["classes"]) == COUNT
    worst = found["worst_class"]
    assert worst["attacked"] == counts[worst["label"]] < worst["examples"]
    assert f"of {worst['attacked']} examples" in worst_class_text(found)
    assert f"only {min(counts[:-1])} examples" in few_examples_text(found)


def test_rows_are_the_examples_of_a_class_and_the_diagonal_what_stands():
    counts = np.array([known["examples"] for known in FOUND["classes"]])
    clean, worst = (np.array(FOUND["confusion"][key]) for key in ("clean", "worst_case"))
    for matrix, share in ((clean, "clean"), (worst, "worst_case")):
        np.testing.assert_array_equal(matrix.sum(1), counts)
        for label, known in enumerate(FOUND["classes"][:-1]):
            assert matrix[label, label] / counts[label] == pytest.approx(known[share], abs=1e-12)
    np.testing.assert_array_equal(clean[-1], 0)
    pairs = collections.Counter(
        (int(label), int(taken))
        for label, taken in zip(EXAMPLES.label, worst_case_predictions(EXAMPLES))
        if label != taken
    )
    listed = FOUND["confusion"]["most_frequent"]
    assert [entry["examples"] for entry in listed] == sorted(pairs.values(), reverse=True)[:20]
    for entry in listed:
        assert pairs[entry["label"], entry["prediction"]] == entry["examples"]


def test_the_first_bounded_attack_that_broke_an_example_says_what_it_is_taken_for():
    def outcomes(bounded, broken, prediction):
        rows = np.array([True] * 5), np.array(broken, bool), np.array(prediction), np.zeros(5)
        return Outcomes("linf", bounded, 5, *(row[None] for row in rows))

    label, clean = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 3])
    attacks = {
        "far": outcomes(False, [1, 1, 1, 1, 0], [9, 9, 9, 9, 3]),
        "first": outcomes(True, [0, 1, 1, 0, 0], [0, 1, 1, 0, 3]),
        "second": outcomes(True, [0, 0, 1, 1, 0], [0, 0, 2, 2, 3]),
    }
    examples = Examples(np.arange(5), label, clean, np.array([0.1]), attacks)
    np.testing.assert_array_equal(worst_case_predictions(examples), [0, 1, 1, 2, 3])


def test_confusions_are_counted_by_hand():
    found = confusion([0, 0, 1, 2, 2, 2], [0, 1, 1, 0, -1, 0], 3)
    np.testing.assert_array_equal(found, [[1, 1, 0], [0, 1, 0], [2, 0, 0]])


def test_intervals_hold_for_all_classes_together():
    label = np.repeat(np.arange(10), 1000)
    broken = np.tile(np.arange(1000) >= 250, 10)[None]
    rows = np.ones_like(broken), broken, np.where(broken, 11, label), np.zeros(broken.shape)
    attacks = {"a": Outcomes("linf", True, 10_000, *rows)}
    examples = Examples(np.arange(10_000), label, label, np.array([0.1]), attacks)
    for known in by_class(examples, range(10))["classes"]:
        # z = 2.807, the normal distribution's 1 - 0.025 / 10 point; with 1.96 0.2242 to 0.2778.
        assert known["interval"] == pytest.approx([0.2136, 0.2903], abs=5e-5)


def test_without_a_bounded_attack_there_is_no_worst_class():
    alone = Examples(
        EXAMPLES.index, EXAMPLES.label, EXAMPLES.clean_prediction, EXAMPLES.epsilons,
        {"far": EXAMPLES.attacks["far"]},
    )  # fmt: skip
    found = by_class(alone, NAMES)
    assert found["worst_class"] is found["confusion"]["worst_case"] is None
    for key in ("worst_case", "attacked"):
        assert {known[key] for known in found["classes"]} == {None}
    assert found["confusion"]["clean"] == FOUND["confusion"]["clean"]
    assert found["confusion"]["most_frequent"]


@pytest.mark.parametrize("classes, matrix", [(21, True), (101, False)])
def test_of_many_classes_the_worst_tenth_counts(classes, matrix):
    found = by_class(made(1, classes, 3000), range(classes))
    shares = sorted(k["worst_case"] for k in found["classes"] if k["worst_case"] is not None)
    assert len(shares) == classes - 1
    mean = np.mean(shares[: (classes - 1) // 10])
    assert found["worst_class"]["worst_tenth"] == pytest.approx(mean)
    assert (found["confusion"]["worst_case"] is not None) == matrix
    assert len(found["confusion"]["most_frequent"]) == 20


def test_a_report_has_the_classes_and_wants_a_name_for_each(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random([40, 2, 2, 1], np.float32)

    def model(x):
        return 9 * (x[:, 0, 0] - 0.5) * np.array([1.0, -1.0, 0.0], np.float32)

    labels = (images[:, 0, 0, 0] < 0.5).astype(np.int32)
    arguments = {"attacks": "fgsm", "epsilon": 0.2, "checked": False}
    report = evaluation.evaluate(
        model, (images, labels), class_names=("a", "b", "c"), report_dir=tmp_path, **arguments
    )
    assert report["schema"] == 2
    found = by_class(evaluation.read_examples(tmp_path), ("a", "b", "c"))
    assert {key: report[key] for key in found} == found
    assert [known["name"] for known in report["classes"]] == ["a", "b", "c"]
    for label in (0, 1):  # by hand: what is within epsilon of the border breaks
        own = images[labels == label, 0, 0, 0]
        expected = (np.abs(own - 0.5) > 0.2).mean()
        assert report["classes"][label]["worst_case"] == pytest.approx(expected)
    assert report["classes"][2]["clean"] is None
    with pytest.raises(ValueError, match="one name for each of the 3 classes .* received 2 names"):
        evaluation.evaluate(model, (images, labels), class_names=("a", "b"), **arguments)
