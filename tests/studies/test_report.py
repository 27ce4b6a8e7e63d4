"""Tables and pictures are those of the result files, the same to the byte each time."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from rlfat_tf.data.corruptions.making import BENCHMARK
from studies import bits, report, results, tables
from studies.catalogue import STUDIES
from studies.runs import Folders, Look, Run, Study

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
def root(tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "x", STUDY)
    for page in report.PAGES:
        path = tmp_path / page
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "before\n<!-- studies: x: begin -->\nold\n<!-- studies: x: end -->\nafter\n"
        )
    return tmp_path


def test_the_same_files_give_the_same_bytes(root):
    folders = Folders(RESULTS)
    report.write(["x", "a1"], folders, root)  # a page without marks of a1 keeps without
    first = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for page in report.PAGES:
        assert first[root / page].decode() == (HERE / f"expected_{page.name}").read_text()
    pictures = [path for path in first if path.parent == root / "docs" / "figures"]
    assert sorted(path.name for path in pictures) == ["x-1.svg", "x-2.svg"]
    assert len(first) == 4
    for path in pictures:
        path.unlink()
    report.write(["x"], folders, root)
    assert {path: path.read_bytes() for path in first} == first


def test_what_is_lost_by_the_last_epoch_is_paired_by_seed():
    """Three seeds that lose the same: the interval is of examples alone, not of seeds."""
    found = report.Finished([], Folders(RESULTS))
    rng = np.random.default_rng(0)
    best = rng.random((3, 400)) < [[0.3], [0.5], [0.7]]
    lost = np.tile(np.arange(400) % 10 == 0, (3, 1))
    correct = {"best": best | lost, "last": best & ~lost}  # a tenth of the examples, by every seed

    def part(values):
        return {"correct": bits.to_text(values), "examples": len(values)}

    found.by_recipe = {
        ("x", name): {
            seed: {
                "evaluation": {
                    checkpoint: dict.fromkeys(tables.MEASURED, part(values[seed]))
                    for checkpoint, values in correct.items()
                }
            }
            for seed in range(seeds)
        }
        for name, seeds in (("pgdat", 3), ("rlfat_p", 2))
    }
    rows = tables.differences("x", STUDY, found).splitlines()
    cells = {tuple(row.split(" | ")[:2]): row.split(" | ")[2] for row in rows[2:]}
    reach = 100 * 1.959964 * 0.3 / 20
    wanted = f"-10.0 ({-10 - reach:+.1f} to {-10 + reach:+.1f})"
    assert cells["| `pgdat`", "last minus best"] == wanted
    pair = cells["| `rlfat_p` minus `pgdat`", "last minus best"]
    assert pair.replace("-", "+") == "+0.0 (+0.0 to +0.0)"
    assert [row.split(" | ")[-1] for row in rows[3:5]] == ["3 |", "2 / 3 |"]


def test_the_readme_has_a_short_table_where_nothing_is_drawn_by_epoch():
    undrawn = dataclasses.replace(STUDY, drawn=())
    content, pictures = report.section("x", undrawn, Folders(RESULTS), report.README)
    assert list(pictures) == ["x-1.svg"] and "](docs/figures/x-1.svg)" in content
    assert content.splitlines()[-2:] == [
        "| `pgdat` | 60 | 81.2 (60 to 93) | 62.5 (1 to 100) | 62.5 (0 to 100) |",
        "| `rlfat_p` | 20 | 87.5 (66 to 96) | 68.8 (51 to 83) | 75.0 (1 to 100) |",
    ]


def test_pictures_are_drawn_at_the_width_of_a_phone_with_text_of_a_readable_size(root):
    report.write(["x"], Folders(RESULTS), root)
    for path in (root / "docs" / "figures").iterdir():
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
    assert f"| {100 * np.mean(accuracy):.1f} (" in (HERE / "expected_results.md").read_text()


def test_a_table_shows_the_checkpoints_that_were_evaluated():
    finished = report.Finished([], Folders(RESULTS))
    both, one = ({"evaluation": dict.fromkeys(names)} for names in (("best", "last"), ("best",)))
    finished.by_recipe = {("x", "a"): {0: both, 1: both}, ("x", "b"): {0: one}}
    assert finished.checkpoints(("x", "a")) == ["best", "last"]
    assert finished.checkpoints(("x", "a"), ("x", "b")) == ["best"]


@pytest.mark.parametrize("page", report.PAGES, ids=str)
def test_a_page_holds_what_the_results_say(page):
    """Its tables are those of the committed results: ``python -m studies --tables`` writes them."""
    root = HERE.parents[1]
    text = (root / page).read_text("utf-8")
    for name in re.findall(r"<!-- studies: (\w+): begin -->", text):
        folders = Folders(root / report.RESULTS)
        content, pictures = report.section(name, STUDIES[name], folders, page)
        assert report.with_section(text, name, content) == text, name
        for file in pictures:
            assert (root / report.PICTURES / file).is_file()


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
        for name, part in (each for of in found["evaluation"].values() for each in of.items()):
            assert part["examples"] == (run.autoattack if name == "autoattack" else run.examples)
            correct = bits.from_text(part["correct"], part["examples"])
            assert correct.mean() == pytest.approx(part["accuracy"])


def test_corruptions_are_shown_by_their_kind():
    by = dict.fromkeys(BENCHMARK, 0.5) | {"fog": 0.3, "snow": 0.1, "jpeg_compression": 0.1}
    found = {"clean_accuracy": 0.6, "mean_accuracy": 0.43, "mean_interval": [0.4, 0.46]}
    look = Look("d", "corruptions", Run("c", "n_fgsm", 0, {}, 1), 1)
    *_, row = tables.corruptions({look: {**found, "by_corruption": by}}).splitlines()
    assert row == "| `n_fgsm` of c | 60.0 | 50.0 | 50.0 | 35.0 | 40.0 | 43.0 (40 to 46) |"


def test_a_page_without_marks_is_told():
    with pytest.raises(ValueError, match="studies: a1: begin"):
        report.with_section("nothing", "a1", "content")
