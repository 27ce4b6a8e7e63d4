"""The report: strict JSON, a page that is whole, safe and complete, a table for the terminal."""

import base64
import copy
import html
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from rlfat_tf.evaluation.report.page import CAPTIONS
from rlfat_tf.evaluation.report.plots import png_bytes
from rlfat_tf.evaluation.report.writing import show, write_report

NASTY = "<script>alert('$model \"&\\')</script>"
EMPTY_ELEMENTS = {"meta", "img", "link", "br", "hr", "input"}


def attacks(robust):
    """An attack, one on a part of the examples, one with parts; the second one's name is nasty."""
    return {
        "pgd": {
            "robust_accuracy": robust,
            "interval": [robust - 0.021, robust + 0.022],
            "examples": 2000,
            "attack": "PGD(norm='linf', steps=20)",
            "broken": 1234,
            "median_l2": 0.98765,
            "seconds": 12.345,
        },
        f"few{NASTY}": {
            "robust_accuracy": 0.505,
            "interval": [0.477, 0.533],
            "examples": 1500,
            "attack": f"NAttack({NASTY})",
            "broken": 321,
            "median_l2": None,
            "seconds": 4000.06,
        },
        "autoattack": {
            "robust_accuracy": 0.401,
            "interval": [0.38, 0.423],
            "examples": 2000,
            "attack": "AutoAttack(version='standard')",
            "seconds": 77.0,
            "components": {
                "apgd_ce": {
                    "attack": "APGD(loss='ce')",
                    "examples": 1640,
                    "broken": 810,
                    "median_l2": 1.5,
                    "seconds": 60.0,
                },
                "square": {
                    "attack": "Square(queries=5000)",
                    "examples": 830,
                    "broken": 28,
                    "median_l2": 1.25,
                    "seconds": 17.0,
                },
            },
        },
    }


def point(epsilon, robust):
    worst = {"worst_case_accuracy": 0.4, "worst_case_interval": [0.379, 0.4216]}
    return {"epsilon": epsilon, "attacks": attacks(robust), **worst}


FIRST, SECOND = point(8 / 255, 0.432), point(0.01, 0.611)
PLAIN = {
    "schema": 1,
    "model": "SavedModel",
    "examples": 2000,
    "norm": "linf",
    "seed": 4557077,
    "clean_accuracy": 0.82,
    "clean_interval": [0.8026, 0.8362],
    **FIRST,
    "warnings": [],
    "versions": {"rlfat_tf": "0.1.0", "tensorflow": "9.8.7"},
}


def light(first):
    return [{"magnitude": m, "value": first + m} for m in (0.25, 0.75)]


FULL = {
    **PLAIN,
    "model": f"runs/{NASTY}",
    "dataset": NASTY,
    "warnings": [
        {"check": "masking", "message": f"Look at {NASTY}", "page": "docs/evaluation_checks.md#a"},
        {"check": "web", "message": "More.", "page": "https://example.org/?a=1&b=\"'><b>"},
        {"check": "not web", "message": "More.", "page": "javascript:alert(1)"},
    ],
    "curve": [FIRST, SECOND],
    "batch_size": 97,
    "machine": NASTY,
    "command": f"eval.py --workdir={NASTY}",
    "config": {"workdir": NASTY, "budget": 0.5, "step_size": None, "epsilon": [8 / 255, 0.01]},
    "inference": {
        "atld": {
            "clean_accuracy": 0.81,
            "non_adaptive": {"pgd": 0.7, "worst_case": 0.69},
            "adaptive": {"pgd": 0.4, "worst_case": 0.39},
        },
    },
    "sensitivity": {
        "brightness": {"clean": light(0.125), NASTY: light(0.375)},
        "gamma": {"clean": light(2.0)},
    },
    "shuffled": {"1": 0.82, "2": 0.713, "10": 0.1},
}


def figures():
    """A figure for every place, as bytes but for one, and one that has no place."""
    found = {}
    with_table = {"corruptions"}  # whose picture stands by its table, which FULL has not
    for number, name in enumerate(
        [name for name in (*CAPTIONS, "another_one") if name not in with_table]
    ):
        figure = Figure(figsize=(1 + number / 10, 1), dpi=150)
        found[name] = figure if name == "curve" else png_bytes(figure)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "made by write_report"
    assert write_report(FULL, folder, figures()) == folder / "report.html"
    return folder


class Page(HTMLParser):
    """A parsed page; complains about tags that are not balanced."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def read(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_json_holds_the_report(folder):
    text = (folder / "report.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=no_constant) == FULL
    assert text.startswith('{\n  "schema": 1,')


def test_what_json_cannot_hold_becomes_what_it_can(tmp_path):
    report = copy.deepcopy(PLAIN)
    report["sensitivity"] = {"gamma": {"clean": [{"magnitude": 2.0, "value": math.nan}]}}
    report["shuffled"] = {1: np.float32(0.5)}
    report["config"] = {"epsilon": (0.5, math.inf), "numbers": np.arange(2)}
    write_report(report, tmp_path)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=no_constant)
    assert found["sensitivity"]["gamma"]["clean"] == [{"magnitude": 2.0, "value": None}]
    assert found["shuffled"] == {"1": 0.5}
    assert found["config"] == {"epsilon": [0.5, None], "numbers": [0, 1]}
    assert "nan" not in Page(read(tmp_path)).text.split()


def test_figures_are_files_and_within_the_page(folder):
    page = Page(read(folder))
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    inlined = {base64.b64decode(source.split("base64,")[1]) for source in sources}
    files = {path.stem: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert set(files) == set(figures()) and set(files.values()) == inlined
    assert len(sources) == len(files)
    for name, picture in figures().items():
        if name != "curve":
            assert files[name] == picture
    assert all(CAPTIONS.get(name, name) in page.text for name in files)
    widths = [int(attrs["width"]) for tag, attrs in page.tags if tag == "img"]
    assert widths[0] == 96, "an inch"


def test_the_page_needs_nothing_and_runs_nothing(folder):
    text = read(folder)
    page = Page(text)
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "b")
        assert not any(name.startswith("on") for name in attrs)
        for name in {"src", "href", "srcset", "data", "poster"} & set(attrs):
            assert attrs[name].startswith("data:image/png;base64,") or tag == "a"
    assert "url(" not in text and "@import" not in text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == ["https://example.org/?a=1&b=\"'><b>"], "only web pages are links"


def test_nasty_names_are_shown_as_they_are(folder):
    text = read(folder)
    assert "<script" not in text and html.escape(NASTY) in text
    # Model (title, heading), data, attack (3 tables, 3 captions) and its repr, warning, machine,
    # command, workdir, series of the sensitivity.
    assert text.count(html.escape(NASTY)) == 15


def test_the_page_says_everything(folder):
    text = Page(read(folder)).text
    for expected in (
        "Clean accuracy 82.0% 95% interval 80.3–83.6%",
        "Worst-case accuracy 40.0% 95% interval 37.9–42.2%",
        "8/255 untargeted",
        "Examples 2,000",
        "masking : Look at",
        "See docs/evaluation_checks.md#a.",
        "Attacks at ε = 8/255",
        "clean 82.0% 80.3–83.6%",
        "pgd 43.2% 41.1–45.4% 2,000 1,234 0.988 12.3",
        " 50.5% 47.7–53.3% 1,500 321 4,000.1",
        "autoattack 40.1% 38.0–42.3% 2,000 838 77.0",
        "apgd_ce 41.5% 1,640 810 1.500 60.0",
        "square 40.1% 830 28 1.250 17.0",
        "worst case 40.0% 37.9–42.2%",
        "pgd PGD(norm='linf', steps=20)",
        "autoattack AutoAttack(version='standard')",
        "square Square(queries=5000)",
        "0.01 61.1% 50.5% 40.1% 40.0% 37.9–42.2%",
        "8/255 43.2% 50.5% 40.1% 40.0% 37.9–42.2%",
        "form, attacks clean pgd worst_case atld, non-adaptive 81.0% 70.0% 69.0%",
        "atld, adaptive 81.0% 40.0% 39.0%",
        "2 × 2 71.3% 10 × 10 10.0%",
        "0.25 0.3750 0.6250 0.75 0.8750 1.1250",
        "gamma clean 0.25 2.2500 0.75 2.7500",
        "seed 4557077 batch_size 97",
        "tensorflow 9.8.7",
        "budget 0.5 step_size – epsilon 0.0313725, 0.01",
    ):
        assert re.sub(r"\s", "", expected) in re.sub(r"\s", "", text), expected


def test_a_report_of_the_library_has_no_empty_sections(tmp_path):
    page = Page(read(write_report({**PLAIN, "epsilon": None}, tmp_path).parent))
    assert not any(tag in ("img", "h3", "pre") for tag, _ in page.tags)
    assert [tag for tag, _ in page.tags].count("h2") == 2
    for word in ("Warnings", "Several", "Adversarial examples", "Local", "sensitivity", "None"):
        assert word not in page.text
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("name, picture", [("../up", png_bytes(Figure())), ("fine", b"GIF89a")])
def test_figures_that_are_refused(tmp_path, name, picture):
    with pytest.raises(ValueError, match="Expected figures that are PNG files"):
        write_report(PLAIN, tmp_path / "new", {name: picture})
    assert not (tmp_path / "new").exists()


def test_the_same_report_again_replaces_the_files(tmp_path):
    write_report(PLAIN, tmp_path, {"curve": png_bytes(Figure(figsize=(1, 1)))})
    write_report(FULL, tmp_path, figures())
    once = {path.name: path.stat().st_size for path in tmp_path.rglob("*")}
    write_report(FULL, tmp_path, figures())
    assert {path.name: path.stat().st_size for path in tmp_path.rglob("*")} == once
    assert set(once) == {"report.html", "report.json", "figures"} | {f"{n}.png" for n in figures()}


def test_the_terminal_shows_an_aligned_table():
    plain = {**FULL, "model": "runs/a", "dataset": "digits"}
    lines = show(plain).splitlines()
    assert lines[0] == "runs/a: 2000 examples of digits, linf, epsilon 8/255, seed 4557077"
    table = lines[1:-3]
    right = lines[1].index("accuracy") + len("accuracy")
    assert all(line[:right].endswith(("%", "accuracy")) for line in table)
    cells = [re.split(r"\s{2,}", line.strip()) for line in table]
    assert cells == [
        ["accuracy", "95% interval", "seconds"],
        ["clean", "82.0%", "80.3-83.6%"],
        ["pgd", "43.2%", "41.1-45.4%", "12.3"],
        [f"few{NASTY} (first 1500)", "50.5%", "47.7-53.3%", "4,000.1"],
        ["autoattack", "40.1%", "38.0-42.3%", "77.0"],
        ["apgd_ce", "41.5%", "60.0"],
        ["square", "40.1%", "17.0"],
        ["worst case", "40.0%", "37.9-42.2%"],
        ["worst case, epsilon 0.01", "40.0%", "37.9-42.2%"],
    ]
    assert lines[-3] == f"warning: Look at {NASTY} See docs/evaluation_checks.md#a."
    assert show(PLAIN).isascii()


def browse(browser, profile, page):
    """Opens a page without a window; returns its elements and what the console says."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command = [browser, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_shows_it_without_complaint(folder, tmp_path):
    names = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("needs Chromium or Chrome on PATH")
    elements, console = browse(browser, tmp_path / "profile", folder / "report.html")
    assert console == []
    page = Page(elements)
    assert "Clean accuracy" in page.text and "82.0%" in page.text and NASTY in page.text
    # What the page forbids would have been heard of.
    broken = tmp_path / "broken.html"
    broken.write_text(read(folder).replace("<main>", '<main><img src="http://example.org/a.png">'))
    assert browse(browser, tmp_path / "profile", broken)[1]
