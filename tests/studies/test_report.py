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
from studies.runs import Folders, Look, NotPossible, Run, Study

HERE = Path(__file__).parent
RESULTS = HERE / "results"  # two recipes of two seeds, 8 images
PAIR = (("x", "rlfat_p"), ("x", "pgdat"))
STUDY = Study(
    "Small",
    tuple(
        Run("x", recipe, seed, {}, 1, 8, 4, budget=60 if recipe == "pgdat" else 20)
        for recipe in ("pgdat", "rlfat_p", "late")
        for seed in (0, 1)
    ),
    compared=(PAIR,),
    drawn=PAIR,
    lost=PAIR,
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
    # Two examples are added, one for each side.
    middle, reach = -40 / 402, 1.959964 * np.sqrt((42 / 402 - (40 / 402) ** 2) / 402)
    ends = (100 * (middle + sign * reach) for sign in (-1, 1))
    wanted = "-10.0 ({:+.1f} to {:+.1f})".format(*ends)
    assert cells["| `pgdat`", "last minus best"] == wanted
    pair = cells["| `rlfat_p` minus `pgdat`", "last minus best"]
    assert pair.replace("-", "+") == "+0.0 (+0.7 to +0.7)"
    assert [row.split(" | ")[-1] for row in rows[3:5]] == ["3 |", "2 / 3 |"]


def test_the_readme_has_a_short_table_where_nothing_is_drawn_by_epoch():
    undrawn = dataclasses.replace(STUDY, drawn=())
    content, pictures = report.section("x", undrawn, Folders(RESULTS), report.README)
    assert list(pictures) == ["x-1.svg"] and "](docs/figures/x-1.svg)" in content
    assert content.splitlines()[-2:] == [
        "| `pgdat` | 60 | 81.2 (14 to 99) | 62.5 (8 to 97) | 62.5 (8 to 97) | 2 |",
        "| `rlfat_p` | 20 | 87.5 (66 to 96) | 68.8 (12 to 97) | 75.0 (12 to 99) | 2 |",
    ]


def test_a_study_without_a_run_of_its_own_draws_no_curves():
    found = report.Finished(STUDY.runs, Folders(RESULTS))
    assert report._by_epoch("x", STUDY, found) is not None
    assert report._by_epoch("y", STUDY, found) is None


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
        found = results.read(run, folders)  # refuses other settings
        for part in (
            each
            for of in (found or {"evaluation": {}})["evaluation"].values()
            for each in of.values()
        ):
            correct = bits.from_text(part["correct"], part["examples"])
            assert correct.mean() == pytest.approx(part["accuracy"])


def test_a_result_of_other_settings_is_refused(tmp_path):
    folders = Folders(HERE.parents[1] / "results" / "studies")
    run = next(run for run in STUDIES["a1"].runs if run.name == "pgdat-seed0")
    for changes, message in (
        ({"flags": {**run.flags, "epochs": 90}}, "epochs 100 instead of 90"),
        ({"autoattack": 150}, "best, autoattack: 100 images of 150"),
    ):
        with pytest.raises(NotPossible, match=f"{message}.*Move it away"):
            results.read(dataclasses.replace(run, **changes), folders)


def test_an_interval_of_a_difference_has_a_width():
    """Bonett and Price: 7 against 1 of 100 are 8 and 2 of 102; and of none one each of n + 2."""
    one, other = np.zeros((2, 1, 100))
    found = tables.paired(1, one, -other)
    error = np.sqrt(2 / 102) / np.sqrt(102)
    np.testing.assert_allclose(found, [0, -1.959964 * error, 1.959964 * error], rtol=1e-6)
    one[0, :7], other[0, 7] = 1, 1
    middle, error = 6 / 102, np.sqrt((10 / 102 - (6 / 102) ** 2) / 102)
    expected = [0.06, middle - 1.959964 * error, middle + 1.959964 * error]
    np.testing.assert_allclose(tables.paired(1, one, -other), expected, rtol=1e-6)


def test_how_a_difference_changes_and_of_how_many_images_it_is():
    """What a method gives beside others' practice, and alone; AutoAttack on 2 or 4 images."""

    def run(correct, attacked):
        def part(n):
            return {"correct": bits.to_text(np.array(correct[:n], bool)), "examples": n}

        found = {key: part(attacked if key == "autoattack" else 4) for key in tables.MEASURED}
        return {0: {"evaluation": {"best": found}}}

    found = report.Finished([], Folders(RESULTS))
    found.by_recipe = {
        ("x", "framed"): run([1, 1, 1, 0], 4),
        ("x", "frame"): run([1, 0, 0, 0], 4),
        ("y", "one"): run([1, 1, 1, 1], 2),
        ("y", "other"): run([1, 0, 0, 0], 2),
    }
    pairs = (("x", "framed"), ("x", "frame")), (("y", "one"), ("y", "other"))
    alike = dataclasses.replace(STUDY, compared=pairs, changes=())
    *_, first, second = tables.differences("x", alike, found).splitlines()
    assert "| +50.0 (" in first and "4 images" in first and "2 images" in second
    found.by_recipe = {recipe: run([*by[0]], 4) for recipe, by in (
        (("x", "framed"), [[1, 1, 1, 0]]), (("x", "frame"), [[1, 0, 0, 0]]),
        (("y", "one"), [[1, 1, 1, 1]]), (("y", "other"), [[1, 0, 0, 0]]),
    )}  # fmt: skip
    changed = dataclasses.replace(STUDY, compared=(), changes=(pairs,))
    *_, row = tables.differences("x", changed, found).splitlines()
    assert row.startswith(
        "| (`framed` minus `frame`) minus (`one` of y minus `other` of y) | best | -25.0 ("
    )


def test_the_forms_of_a_transform_are_shown_with_their_intervals():
    by = {"pgd": 0.5, "worst_case": 0.25}
    forms = {
        name: {"clean_accuracy": 0.75, "adaptive": by, "non_adaptive": {**by, "pgd": 0.75}}
        for name in ("atld-", "atld+")
    }
    look = Look("e", "forms", Run("c", "atld-60", 0, {}, 1), 1)
    head, _, *rows = tables.forms({look: {"examples": 4, "forms": forms}}).splitlines()
    assert "clean (4 images), % | PGD-20, % | worst case, %" in head
    assert [row.split(" | ")[1] for row in rows] == ["-", "no", "yes"]
    assert " | 75.0 (30 to 95) | 50.0 (15 to 85) | " in rows[0]


def test_results_without_marks_in_the_page_are_told(root):
    (root / "results" / "f").mkdir(parents=True)
    with pytest.raises(ValueError, match="studies: f: begin"):
        report.write(["f"], Folders(root / "results"), root)


def test_a_look_without_a_value_and_a_table_without_rows():
    points = [{"magnitude": 0.0, "value": 0.25}, {"magnitude": 0.3, "value": None}]
    found = {"shuffled": {"1": 0.5}, "sensitivity": {"brightness": points}}
    look = Look("d", "local", Run("a1", "pgdat", 0, {}, 1), 1)
    *_, row = tables.local({look: found}).splitlines()
    assert row == "| `pgdat` of a1 | 50.0 | 0.25 | - |"
    assert tables.accuracies("d", report.Finished([], Folders(RESULTS))) == ""


def test_corruptions_are_shown_by_their_kind():
    by = dict.fromkeys(BENCHMARK, 0.5) | {"fog": 0.3, "snow": 0.1, "jpeg_compression": 0.1}
    found = {"clean_accuracy": 0.6, "mean_accuracy": 0.43, "mean_interval": [0.4, 0.46]}
    look = Look("d", "corruptions", Run("c", "n_fgsm", 0, {}, 1), 1)
    *_, row = tables.corruptions({look: {**found, "by_corruption": by}}).splitlines()
    assert row == "| `n_fgsm` of c | 60.0 | 50.0 | 50.0 | 35.0 | 40.0 | 43.0 (40 to 46) |"


def test_a_page_without_marks_is_told():
    with pytest.raises(ValueError, match="studies: a1: begin"):
        report.with_section("nothing", "a1", "content")
