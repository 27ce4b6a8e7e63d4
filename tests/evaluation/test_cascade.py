"""A cascade finds the same worst case, example by example, and says that it was one."""

import numpy as np
import pytest

from rlfat_tf import attacks, evaluation
from rlfat_tf.attacks import Attack
from rlfat_tf.evaluation.report.page import page
from rlfat_tf.evaluation.report.writing import show
from rlfat_tf.evaluation.step import AttackStep
from tests import reference

IMAGES, _, _ = reference.images_and_labels(40, seed=1)
NET = reference.keras_net(seed=4)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
LABELS[::7] = (LABELS[::7] + 1) % 3


class Grey(Attack):
    """Unbounded."""

    def run(self, logits_fn, images, labels, seed, unroll):
        return 0.5 + 0.0 * images


ATTACKS = {
    "fgsm": attacks.FGSM(epsilon=0.08),
    "grey": Grey(),
    "pgd": attacks.LinfPGD(epsilon=0.12, steps=3, keep="best"),
    "margin": attacks.LinfPGD(epsilon=0.12, steps=3, loss="margin", keep="best"),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    found = {}
    for cascade in (False, True):
        folder = tmp_path_factory.mktemp(f"cascade_{cascade}")
        report = evaluation.evaluate(
            NET,
            (IMAGES, LABELS),
            attacks=ATTACKS,
            checked=False,
            cascade=cascade,
            batch_size=16,
            report_dir=folder,
        )
        found[cascade] = report, evaluation.read_examples(folder), folder
    return found


def test_the_worst_case_is_the_same_for_every_example(both):
    (alone, examples, _), (report, cascaded, _) = both[False], both[True]
    np.testing.assert_array_equal(cascaded.worst_case(), examples.worst_case())
    assert report["worst_case_accuracy"] == alone["worst_case_accuracy"]
    assert 0 < report["worst_case_accuracy"] < alone["clean_accuracy"]


def test_each_attack_is_given_what_the_bounded_ones_before_it_left(both):
    examples, cascaded = both[False][1], both[True][1]
    left, clean = examples.clean, examples.clean
    for name in ATTACKS:
        given = clean if name == "grey" else left
        np.testing.assert_array_equal(cascaded.attacks[name].given[0], given)
        expected = given & examples.robust(name)[0]
        np.testing.assert_array_equal(cascaded.robust(name)[0], expected)
        accuracy = both[True][0]["attacks"][name]["robust_accuracy"]
        assert accuracy == pytest.approx(expected.mean())
        left = left & expected if name != "grey" else left
    assert cascaded.attacks["margin"].given.sum() < cascaded.attacks["fgsm"].given.sum()


def test_it_is_marked(both):
    alone, report = both[False][0], both[True][0]
    assert (alone["cascade"], report["cascade"]) == (False, True)
    marks = {name: result["cumulative"] for name, result in report["attacks"].items()}
    assert marks == {"fgsm": True, "grey": False, "pgd": True, "margin": True}
    assert not any(result["cumulative"] for result in alone["attacks"].values())
    for text in (show(report), page(report, {})):
        assert "pgd (cumulative)" in text and "grey (cumulative)" not in text
    assert "is a cascade" in page(report, {}) and "cascade" not in page(alone, {})
    assert "cumulative" not in show(alone) + page(alone, {})


def test_it_resumes(both, monkeypatch):
    report, _, folder = both[True]
    monkeypatch.setattr(AttackStep, "__call__", lambda *_: pytest.fail("an attack ran again"))
    arguments = {"attacks": ATTACKS, "checked": False, "report_dir": folder}
    again = evaluation.evaluate(NET, (IMAGES, LABELS), cascade=True, batch_size=16, **arguments)
    assert again == report
