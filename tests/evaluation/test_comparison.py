"""Two evaluations, or several seeds of two methods, compared example by example."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from rlfat_tf import evaluation
from rlfat_tf.data.corruptions import parse
from rlfat_tf.evaluation import comparison, over_seeds
from rlfat_tf.evaluation import evaluated as kept
from rlfat_tf.evaluation.corrupted_records import Corrupted, write_corrupted
from rlfat_tf.evaluation.records import Examples, Outcomes, write_examples
from rlfat_tf.evaluation.report.against import difference_bars, show_comparison

COUNT = 1000


def outcomes(broken, bounded=True):
    n = broken.size
    zeros = np.zeros((1, n))
    return Outcomes("linf", bounded, n, zeros == 0, broken[None], zeros.astype(int), zeros)


def evaluated(folder, robust, clean=None, **changes):
    """Writes a report under which ``robust`` examples are left by the attack of that name."""
    clean = np.ones(COUNT, bool) if clean is None else clean
    left = {"pgd": robust, "apgd": robust | (np.arange(COUNT) == 0)}
    attacks = {name: outcomes(clean & ~one) for name, one in left.items()}
    attacks["cw_l2"] = outcomes(clean, bounded=False)
    for name, one in attacks.items():
        attacks[name] = dataclasses.replace(one, given=clean[None])
    examples = Examples(
        np.arange(COUNT), np.zeros(COUNT, int), np.where(clean, 0, 1), np.array([0.1]), attacks,
        changes.pop("data", "d" * 64),
    )  # fmt: skip
    texts = {name: {"attack": f"{name.upper()}(steps=20)"} for name in attacks}
    for name in changes.pop("without", ()):
        del texts[name], attacks[name]
    texts.update(changes.pop("attacks", {}))
    report = {"model": folder.name, "norm": "linf", "epsilon": 0.1, "attacks": texts, **changes}
    folder.mkdir()
    write_examples(examples, folder)
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """12 examples that only the first leaves robust, 25 that only the second does."""
    folder = tmp_path_factory.mktemp("reports")
    one, other = np.zeros((2, COUNT), bool)
    one[:112], other[12:137] = True, True
    few = np.arange(COUNT) < 900
    return evaluated(folder / "a", one), evaluated(folder / "b", other, few)


def test_the_figures_of_one_pair(pair):
    found = evaluation.compare(*pair)
    assert found["difference"] == pytest.approx(-0.013)
    np.testing.assert_allclose(found["interval"], [-0.0249, -0.0011], atol=5e-5)
    assert (found["only_a"], found["only_b"], found["examples"]) == (12, 25, 1000)
    assert found["p_value"] == pytest.approx(0.0470, abs=5e-5)
    assert (found["accuracy_a"], found["accuracy_b"]) == pytest.approx((0.112, 0.125))
    assert found["examples_for_one_point"] == evaluation.examples_for_difference(0.01, 0.037)
    assert found["seeds"] == [1, 1] and "another seed of training" in found["caveats"][0]
    assert "depends on the attacks" in found["caveats"][1] and len(found["caveats"]) == 2
    back = evaluation.compare(*reversed(pair))
    assert back["difference"] == -found["difference"] and back["p_value"] == found["p_value"]
    same = evaluation.compare(pair[0], str(pair[0]))
    assert (same["difference"], same["p_value"], same["interval"]) == (0, 1, [0, 0])
    assert "Fewer than 25" in same["caveats"][-1]


def test_what_is_compared_may_be_chosen(pair):
    clean = evaluation.compare(*pair, under="clean")
    assert (clean["only_a"], clean["only_b"]) == (100, 0)
    assert not any("attacks" in sentence for sentence in clean["caveats"])
    # Under this attack one example more is left, of both.
    assert evaluation.compare(*pair, under="apgd")["accuracy_b"] == pytest.approx(0.126)
    assert evaluation.compare(*pair, under="cw_l2")["accuracy_a"] == 0
    with pytest.raises(ValueError, match="'fgsm'.*apgd, clean, corruptions, cw_l2, pgd, w"):
        evaluation.compare(*pair, under="fgsm")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "e" * 64}, "checksum of the examples is d{16} in .*e{16}"),
        ({"norm": "l2"}, "norm is linf in .* and l2 in"),
        ({"epsilon": 0.2}, "epsilon is 0.1 in .* and 0.2 in"),
        (
            {"attacks": {"pgd": {"attack": "PGD(steps=7)"}}},
            r"attack pgd is PGD\(steps=20\) on 1000 examples in .*PGD\(steps=7\) on 1000",
        ),
        ({"without": ["apgd"]}, "attack apgd is APGD.* and not there in"),
    ],
)
def test_what_was_evaluated_differently_is_refused(pair, tmp_path, changes, said):
    other = evaluated(tmp_path / "other", np.zeros(COUNT, bool), **changes)
    with pytest.raises(ValueError, match=said):
        evaluation.compare(pair[0], other)
    reads = [kept.read_evaluated(folder) for folder in (pair[0], other)]
    with pytest.raises(ValueError, match=said):
        kept.refuse_unlike(*map(kept.conditions_of, reads), ("this", "that"))


def test_of_a_cascade_only_the_worst_case_is_compared(pair, tmp_path):
    part = {"attacks": {"apgd": {"attack": "APGD(steps=20)", "cumulative": True}}}
    other = evaluated(tmp_path / "other", np.zeros(COUNT, bool), **part)
    assert evaluation.compare(pair[0], other)["only_b"] == 0
    with pytest.raises(ValueError, match="apgd of .*other was given only what .* had left"):
        evaluation.compare(pair[0], other, under="apgd")
    reads = map(kept.read_evaluated, (other, pair[0]))
    assert list(comparison.against(*reads)["by"]) == ["clean", "pgd", "cw_l2", "worst_case"]


def test_an_unbounded_attack_of_one_alone_counts_for_nothing(pair, tmp_path):
    other = evaluated(tmp_path / "other", np.zeros(COUNT, bool), without=["cw_l2"])
    assert evaluation.compare(pair[0], other)["only_b"] == 0
    reads = [kept.read_evaluated(folder) for folder in (pair[0], other)]
    kept.refuse_unlike(*map(kept.conditions_of, reads), ("this", "that"))
    assert list(comparison.against(*reads)["by"]) == ["clean", "pgd", "apgd", "worst_case"]


def corrupted(folder, right, cells=None, data="d"):
    """Writes what happened under corruptions: in ``right[cell]`` these examples are right."""
    cells = cells or parse("benchmark", (2, 3))
    wrong = {cell: (~one).astype(np.int32) for cell, one in zip(cells, right)}
    data = {cell: f"{data} {cell}" for cell in wrong}
    write_corrupted(Corrupted(np.arange(COUNT), np.zeros(COUNT), wrong, data), folder)


def test_corruptions_are_compared_by_the_mean(pair, tmp_path):
    one, other = (shutil.copytree(folder, tmp_path / folder.name) for folder in pair)
    with pytest.raises(ValueError, match="a has no mean corruption accuracy, .*=benchmark"):
        evaluation.compare(one, other, under="corruptions")
    random = np.random.RandomState(1)
    right = random.uniform(size=(2, 30, COUNT)) < random.uniform(size=COUNT)
    right[1] |= random.uniform(size=COUNT) < 0.02
    corrupted(one, right[0])
    corrupted(other, right[1])
    found = evaluation.compare(one, other, under="corruptions")
    gaps = right[0].mean(0) - right[1].mean(0)
    error = gaps.std() / COUNT**0.5
    assert found["difference"] == pytest.approx(gaps.mean()) and found["accuracy_a"] > 0.4
    expected = gaps.mean() - 1.959964 * error, gaps.mean() + 1.959964 * error
    assert found["interval"] == pytest.approx(expected, abs=1e-7)
    assert found["p_value"] == pytest.approx(math.erfc(abs(gaps.mean()) / error / 2**0.5))
    assert found["only_a"] is found["only_b"] is found["examples_for_one_point"] is None
    reads = [kept.read_evaluated(folder) for folder in (one, other)]
    both = comparison.against(*reads)
    assert list(both["by"])[:2] == ["clean", "corruptions"]
    assert "only this \N{EN DASH}, only that \N{EN DASH} of 1,000" in show_comparison(both)
    corrupted(other, right[1], data="e")
    with pytest.raises(ValueError, match="checksum of the corrupted images is"):
        evaluation.compare(one, other, under="corruptions")
    unlike = comparison.against(reads[0], kept.read_evaluated(other))
    assert "corruptions" not in unlike["by"]
    assert "the checksum of the corrupted images differ" in unlike["caveats"][-1]
    corrupted(other, right[1], parse("benchmark", (1, 3)))
    with pytest.raises(ValueError, match="severities of corruptions is 2, 3 in .*and 1, 3 in"):
        evaluation.compare(one, other, under="corruptions")


def test_several_seeds_of_each(tmp_path):
    random = np.random.RandomState(0)
    ease = random.uniform(size=COUNT)
    tables = [np.stack([ease < share for share in shares]) for shares in ((0.5, 0.6), (0.4, 0.5))]
    a, b = (
        [evaluated(tmp_path / f"{name}{i}", row) for i, row in enumerate(table)]
        for name, table in zip("ab", tables)
    )
    found = evaluation.compare(a, b)
    expected = over_seeds.difference(*tables)
    assert (found["difference"], *found["interval"]) == pytest.approx(expected)
    assert found["p_value"] == over_seeds.p_value(*tables) > 0.05  # two seeds tell little
    assert evaluation.compare(a[0], b[0])["p_value"] < 1e-9
    counts = [(one & ~other).sum() for one in tables[0] for other in tables[1]]
    assert found["only_a"] == pytest.approx(np.mean(counts)) and found["only_b"] == 0
    assert "accounts for 2 and 2 seeds" in found["caveats"][0]
    assert "another seed" in evaluation.compare(a, b[0])["caveats"][0]
    with pytest.raises(ValueError, match="each once"):
        evaluation.compare([a[0], a[0]], b)


def test_what_is_not_there_is_named(pair, tmp_path):
    with pytest.raises(FileNotFoundError, match="no .*report.json.*report_dir"):
        evaluation.compare(pair[0], tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="examples.npz"):
        evaluation.compare(pair[0], tmp_path)


def test_the_text(pair):
    found = comparison.against(*map(kept.read_evaluated, pair))
    text = show_comparison(found)
    assert "worst case" in text and "-1.3  (-2.5 to -0.1)  only this 12, only that 25" in text
    assert "of 1 point you need about 2," in text and text.count("seed of training") == 1


def test_the_chart(pair):
    found = comparison.against(*map(kept.read_evaluated, pair))
    (axes,) = difference_bars(found).axes
    widths = [bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(widths, [10.0, -1.3, -1.4, 0.0, -1.3])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["clean", "pgd", "apgd", "cw_l2", "worst case"]
    low, high = axes.get_xlim()
    assert low == -high and high > 100 * found["by"]["clean"]["interval"][1]
