"""Tables and pictures are those of the result files, the same to the byte each time."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from studies import bits, report, results
from studies.catalogue import STUDIES
from studies.runs import Folders, Run, Study

HERE = Path(__file__).parent
RESULTS = HERE / "results"  # two recipes of two seeds, 8 images
PAIR = (("x", "rlfat_p"), ("x", "pgdat"))
STUDY = Study(
    "Small",
    tuple(
        Run("x", recipe, seed, {}, 1, budget=60 if recipe == "pgdat" else 20)
        for recipe in ("pgdat", "rlfat_p", "late")
        for seed in (0, 1)
    ),
    compared=(PAIR,),
    drawn=PAIR,
)


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "x", STUDY)
    path = tmp_path / "docs" / "page.md"
    path.parent.mkdir()
    path.write_text("before\n<!-- studies: x: begin -->\nold\n<!-- studies: x: end -->\nafter\n")
    return path


def test_the_same_files_give_the_same_bytes(page):
    folders = Folders(RESULTS)
    report.write(["x", "a1"], folders, page)  # a page without marks of a1 keeps without
    first = {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}
    assert first[page].decode() == (HERE / "expected.md").read_text()
    assert sorted(path.name for path in first) == ["page.md", "x-1.svg", "x-2.svg"]
    for path in first:
        if path != page:
            path.unlink()
    report.write(["x"], folders, page)
    assert {path: path.read_bytes() for path in first} == first


def test_pictures_are_drawn_at_the_width_of_a_phone_with_text_of_a_readable_size(page):
    report.write(["x"], Folders(RESULTS), page)
    for path in (page.parent / "figures").iterdir():
        text = path.read_text()
        width = float(ElementTree.fromstring(text).attrib["width"].removesuffix("pt"))
        assert width <= 4 * 72 and "<dc:date>" not in text
        # Texts are drawn as paths at a scale of a hundredth of their points.
        scales = [float(scale) for scale in re.findall(r"scale\((0\.\d+) -0\.\d+\)", text)]
        assert scales and min(scales) * 100 * 360 / width >= 9  # pixels of 360


def test_the_cells_are_what_the_bits_say():
    """The files that are committed here are small enough to count."""
    accuracy = []
    for seed in (0, 1):
        found = json.loads((RESULTS / "x" / f"rlfat_p-seed{seed}.json").read_text())
        part = found["evaluation"]["last"]["pgd"]
        accuracy.append(bits.from_text(part["correct"], part["examples"]).mean())
    assert f"| {100 * np.mean(accuracy):.1f} (" in (HERE / "expected.md").read_text()


def test_a_table_shows_the_checkpoints_that_were_evaluated():
    finished = report.Finished([], Folders(RESULTS))
    both, one = ({"evaluation": dict.fromkeys(names)} for names in (("best", "last"), ("best",)))
    finished.by_recipe = {("x", "a"): {0: both, 1: both}, ("x", "b"): {0: one}}
    assert finished.checkpoints(("x", "a")) == ["best", "last"]
    assert finished.checkpoints(("x", "a"), ("x", "b")) == ["best"]


def test_the_page_holds_what_the_results_say():
    """Its tables are those of the committed results: ``python -m studies --tables`` writes them."""
    root = HERE.parents[1]
    text = (root / report.PAGE).read_text("utf-8")
    for name in re.findall(r"<!-- studies: (\w+): begin -->", text):
        content, pictures = report.section(
            name, STUDIES[name], Folders(root / "results" / "studies")
        )
        assert report.with_section(text, name, content) == text, name
        for file in pictures:
            assert (root / report.PAGE.parent / report.PICTURES / file).is_file()


def test_the_committed_results_are_of_the_runs_that_the_catalogue_describes():
    folders = Folders(HERE.parents[1] / "results" / "studies")
    for run in (run for study in STUDIES.values() for run in study.runs):
        found = results.read(run, folders)
        if found is None:
            continue
        assert (found["study"], found["run"], found["config"]["seed"]) == (
            run.study, run.name, run.seed,
        )  # fmt: skip
        made_of_the_budget = ("epochs", "train_steps", "ema") if run.budget else ()
        for flag, value in run.flags.items():
            assert flag in made_of_the_budget or found["config"][flag] == value, (run.key, flag)
        for part in (part for of in found["evaluation"].values() for part in of.values()):
            correct = bits.from_text(part["correct"], part["examples"])
            assert correct.mean() == pytest.approx(part["accuracy"])


def test_a_page_without_marks_is_told():
    with pytest.raises(ValueError, match="studies: a1: begin"):
        report.with_section("nothing", "a1", "content")
