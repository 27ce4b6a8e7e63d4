"""Classes, confusions and what is judged, in the page, in the pictures and in the terminal."""

import json
import re

import numpy as np
import pytest

from rlfat_tf.evaluation.report import class_plots, plots
from rlfat_tf.evaluation.report.writing import show, write_report
from tests.evaluation.report.test_report import NASTY, PLAIN, Page, read
from tests.evaluation.test_classes import EXAMPLES, by_class, made

NAMES = [NASTY, "dog", "frog", "ship", "no example"]
JUDGED = {
    "network": "small_cnn",
    "parameters": 12345,
    "method": "trades",
    "training_attack": None,
    "file": "best.keras",
    "sha256": "0123456789abcdef" * 4,
}


def report(examples=EXAMPLES, names=NAMES):
    attacks = {name: dict(PLAIN["attacks"]["pgd"]) for name in examples.attacks}
    attacks["far"]["bounded"] = False
    return {**PLAIN, "attacks": attacks, "judged": JUDGED, **by_class(examples, names)}


REPORT = report()
MANY = report(made(1, 41, 3000), [f"class {number}" for number in range(41)])


def words(folder):
    return Page(read(folder)).text


def test_the_page_shows_every_class_the_worst_first(tmp_path):
    write_report(REPORT, tmp_path)
    text, ordered = words(tmp_path), sorted(
        (known for known in REPORT["classes"] if known["examples"]),
        key=lambda known: known["worst_case"],
    )  # fmt: skip
    places = []
    for known in ordered:
        low, high = (f"{100 * end:.1f}" for end in known["interval"])
        line = f"{known['name']} {known['worst_case']:.1%} {low}–{high}% {known['examples']}"
        line += "".join(f" {share:.1%}" for share in [known["clean"], *known["attacks"].values()])
        places.append(re.sub(r"\s", "", text).index(re.sub(r"\s", "", line)))
    assert places == sorted(places) and "no example" not in text
    worst = ordered[0]
    assert f"Worst class: {worst['name']}, {worst['worst_case']:.1%} (" in text
    assert f"Some classes have only {min(k['examples'] for k in ordered)} examples" in text
    assert "taken for examples" not in text and "the worst are shown" not in text


def test_of_many_classes_the_page_shows_the_worst_and_the_most_frequent_confusions(tmp_path):
    text = words(write_report(MANY, tmp_path).parent)
    assert "Of 41 classes the worst are shown." in text
    assert "Mean of the worst tenth of the classes" in text
    table = text[text.index("class worst case") :]
    assert len(re.findall(r"class \d+ +\d+\.\d%", table.split("taken for")[0])) == 10
    for found in MANY["confusion"]["most_frequent"]:
        line = f"class {found['label']} class {found['prediction']} {found['examples']}"
        assert line in table
    assert class_plots.confusion_map(MANY) is None
    assert len(class_plots.class_bars(MANY).axes[0].get_yticks()) == 10


def test_what_is_judged_stands_in_the_page(tmp_path):
    text = words(write_report(REPORT, tmp_path).parent)
    for expected in ("network small_cnn", "parameters 12,345", "method trades",
                     "training attack –", "file best.keras", "sha256 0123456789ab"):  # fmt: skip
        assert expected in text, expected


def test_the_terminal_names_the_worst_class():
    lines = show(REPORT).splitlines()
    assert any(line.startswith(f"Worst class: {REPORT['worst_class']['name']}") for line in lines)
    assert any(line.startswith("far (unbounded)") for line in lines)


def test_rows_of_numbers_are_lines_of_the_file(tmp_path):
    text = {**REPORT, "model": "a [1,\n  2] b [ 1,  2 ]"}
    write_report(text, tmp_path)
    written = (tmp_path / "report.json").read_text(encoding="utf-8")
    found = json.loads(written)
    assert found["model"] == text["model"] and found["confusion"] == REPORT["confusion"]
    row = REPORT["confusion"]["worst_case"][0]
    assert re.search(rf"^ +\[ {', '.join(map(str, row))} \],$", written, re.MULTILINE)


def test_bars_are_the_shares_and_whiskers_the_intervals():
    axes = class_plots.class_bars(REPORT).axes[0]
    known = {k["name"]: k for k in REPORT["classes"] if k["examples"]}
    widths = [patch.get_width() for patch in axes.patches]
    ordered = sorted(known.values(), key=lambda k: k["worst_case"])
    expected = [share for k in ordered for share in (k["clean"], k["worst_case"])]
    np.testing.assert_allclose(widths, expected)
    ends = [c.get_segments()[0][:, 0] for c in axes.collections]
    np.testing.assert_allclose(ends, [k["interval"] for k in ordered], atol=1e-6)
    unknown = {**REPORT, "classes": [{**k, "worst_case": None} for k in REPORT["classes"]]}
    assert len(class_plots.class_bars(unknown).axes[0].patches) == len(ordered)


@pytest.mark.parametrize("kind", ["worst_case", "clean"])
def test_the_map_shows_shares_of_the_rows(kind):
    shown = {**REPORT["confusion"], **({"worst_case": None} if kind == "clean" else {})}
    axes = class_plots.confusion_map({**REPORT, "confusion": shown}).axes[0]
    counts = np.array(REPORT["confusion"][kind])[:4]
    shares = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(axes.get_images()[0].get_array(), shares)
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    expected = {(c, r): f"{100 * s:.0f}" for (r, c), s in np.ndenumerate(shares) if s >= 0.005}
    assert numbers == expected
    assert len(axes.get_xticks()) == 5 and len(axes.get_yticks()) == 4


def test_unbounded_attacks_are_marked_and_no_line_over_epsilon(tmp_path):
    point = {key: REPORT[key] for key in ("attacks", "worst_case_accuracy", "worst_case_interval")}
    curve = [{"epsilon": epsilon, **point} for epsilon in (0.1, 0.2)]
    labels = [line.get_label() for line in plots.robustness_curve(curve).axes[0].get_lines()]
    assert labels == ["worst case", "a", "b"]
    bars = plots.attack_bars(REPORT).axes[0]
    assert [t.get_text() for t in bars.get_yticklabels()][-2] == "far (unbounded)"
    text = words(write_report({**REPORT, "curve": curve}, tmp_path).parent)
    assert "ε a b worst case 95% interval" in text and "far (unbounded) 43.2%" in text


@pytest.mark.parametrize(
    "attack, epsilon, caption",
    [
        ("a", 8 / 255, "are those of a at ε = 8/255."),
        ("a", None, "are those of a."),
        ("far", 8 / 255, "are those of far, which is not bounded by ε."),
    ],
)
def test_captions_name_the_attack_and_its_radius(tmp_path, attack, epsilon, caption):
    pictured = {"attack": attack, "epsilon": epsilon}
    figures = dict.fromkeys(("adversarial", "confusion"), plots.attack_bars(REPORT))
    write_report({**REPORT, "pictured": pictured}, tmp_path, figures)
    text = words(tmp_path)
    assert f"Adversarial images {caption}" in text
    assert "in per cent of the images of a class, in the worst case." in text


def test_no_folder_of_whoever_made_it_is_in_the_page(tmp_path):
    there = "/home/some one/secret runs/net.keras"
    report = {**REPORT, "model": there, "command": f"eval.py '--workdir={there}' --a='{there}'"}
    report["config"] = {"model_path": there, "compare": f"{there},{there}", "steps": 20}
    text = words(write_report(report, tmp_path).parent)
    assert "some one" not in text and "secret runs" not in text and text.count("net.keras") == 7
