"""Writes what the studies found into the README and the page of results, and their pictures.

A page has marks, ``<!-- studies: a1: begin -->`` and ``... end -->``, between which everything is
made of the JSON files of the runs; the words around them are somebody's.
"""

from __future__ import annotations

import base64
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.evaluation import over_seeds
from rlfat_tf.storage.files import write_text
from studies import figures, results, tables
from studies.catalogue import STUDIES
from studies.runs import Folders, Look, Study
from studies.tables import Finished

PICTURES = Path("docs/figures")
RESULTS = Path("results/studies")
README = Path("README.md")
PAGES = (Path("docs/results.md"), README)


def section(
    name: str, study: Study, folders: Folders, page: Path = PAGES[0]
) -> tuple[str, dict[str, str]]:
    """Returns the text of a study and its pictures, SVG by name.

    Args:
        name: Of the study.
        study: The study.
        folders: Where its results are.
        page: From where the pictures and results are linked; the README has a picture of what is
            drawn by epoch, and of other studies a short table too.
    """
    finished = Finished(study.runs, folders)
    links = [posixpath.relpath(folder, page.parent) for folder in (PICTURES, RESULTS)]
    taken = {look: found for look in study.looks if (found := results.read(look, folders))}
    parts: list[str] = []
    pictures: dict[str, str] = {}

    def picture(figure: Any, title: str) -> None:
        file = f"{name}-{len(pictures) + 1}.svg"
        pictures[file] = figures.svg(figure)
        parts.append(f"![{title}]({links[0]}/{file})")

    def draw_all() -> None:
        for draw, title in DRAWN.items():
            figure = draw(name, study, finished)
            if figure is not None:
                picture(figure, title)

    if page == README:
        draw_all()
        if finished.by_recipe and not study.drawn:
            parts.append(tables.accuracies(name, finished, short=True))
        if not parts:
            parts.append("Not finished yet.")
        return "\n\n".join(parts), pictures
    own = any(run.study == name for run in study.runs)  # else there are others' and looks at them
    if (folders.results / name).is_dir() or (len(finished.by_recipe) > 1 and not own):
        if name == "e":
            parts.append(tables.gaps(name, finished))
        else:
            parts += [tables.accuracies(name, finished), tables.differences(name, study, finished)]
        draw_all()
    local, forms, corrupted = (
        {look: found for look, found in taken.items() if look.kind == kind}
        for kind in ("local", "forms", "corruptions")
    )
    if local:
        parts.append(tables.local(local))
        picture(_shuffled(local), "Accuracy on images whose blocks are shuffled")
        picture(_salience(local), "Salience maps of the same images by each network")
    if corrupted:
        parts.append(tables.corruptions(corrupted))
    if forms:
        parts.append(tables.forms(forms))
    missing = [
        f"{tables.label(recipe, name)} (seed {', '.join(map(str, seeds))})"
        for recipe, seeds in finished.missing.items()
    ]
    untaken = Counter(look.kind for look in study.looks if look not in taken)
    missing += [
        f"`{kind}` of {number} network{'s' * (number > 1)}" for kind, number in untaken.items()
    ]
    if missing:
        parts.append(f"Not finished yet: {'; '.join(missing)}.")
    made = f"`python -m studies {name}`"
    if (folders.results / name).is_dir():
        made += f", [json]({links[1]}/{name})"
    parts.append(f"{made}.")
    return "\n\n".join(part for part in parts if part), pictures


def _by_epoch(name: str, study: Study, finished: Finished) -> Any:
    """Draws robust accuracy on the validation images by epoch.

    Two recipes must be there, and one of them be the study's own: others' are shown elsewhere.
    """
    found = [recipe for recipe in study.drawn if recipe in finished.by_recipe]
    if len(found) < 2 or all(recipe[0] != name for recipe in found):
        return None
    lines = {
        _with_seeds(tables.label(recipe, name).replace("`", ""), finished.seeds(recipe)): [
            [
                (epoch + 1, share)
                for epoch, share in zip(
                    result["epochs"]["epoch"], result["epochs"]["val_adv_accuracy"]
                )
                if share is not None
            ]
            for result in finished.by_recipe[recipe].values()
        ]
        for recipe in found
    }
    return figures.curves(lines, "epoch", "robust accuracy, validation")


def _with_seeds(text: str, seeds: list[int]) -> str:
    return f"{text}, {len(seeds)} seeds" if len(seeds) > 1 else text


def _by_minutes(name: str, study: Study, finished: Finished) -> Any:
    """Draws AutoAttack accuracy against the budget of time, where runs have one."""
    budgets = {run.of: run.budget for run in study.runs if run.budget is not None}
    found = [recipe for recipe in finished.by_recipe if recipe in budgets]
    if name == "e" or len(found) < 2:
        return None
    points = {}
    for recipe in found:
        correct = finished.correct(recipe, "best", "autoattack")
        points[recipe[1]] = float(budgets[recipe] or 0), over_seeds.accuracy(correct)
    return figures.against_minutes(points)


DRAWN: dict[Callable[[str, Study, Finished], Any], str] = {
    _by_epoch: "Accuracy on validation images under the attack of training, by epoch. Of several "
    "seeds it is the mean, and each of them is a faint line",
    _by_minutes: "Accuracy under AutoAttack against minutes of training, with intervals of 95 %",
}


def _shuffled(taken: dict[Look, dict[str, Any]]) -> Any:
    lines = {
        look.run.recipe: [[(int(k), share) for k, share in found["shuffled"].items()]]
        for look, found in taken.items()
    }
    return figures.curves(lines, "blocks along each axis", "accuracy")


def _salience(taken: dict[Look, dict[str, Any]]) -> Any:
    def numbers(texts: Iterable[str]) -> Any:
        return np.stack([np.frombuffer(base64.b64decode(text), np.uint8) for text in texts]) / 255

    some = next(iter(taken.values()))
    images = numbers(some["images"]).reshape(len(some["images"]), 32, 32, 3)
    maps = {
        look.run.recipe: numbers(found["salience"]).reshape(-1, 32, 32)
        for look, found in taken.items()
    }
    return figures.salience(images, maps)


def with_section(text: str, name: str, content: str) -> str:
    """Puts a study's section between its marks of a page.

    Raises:
        ValueError: If the page has no such marks.
    """
    begin, end = f"<!-- studies: {name}: begin -->", f"<!-- studies: {name}: end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"Expected {begin} and {end} in the page.")
    return f"{before}{begin}\n{content}\n{end}{after}"


def write(names: Iterable[str], folders: Folders, root: Path = Path()) -> None:
    """Writes the sections of the studies that a page has marks for, and their pictures.

    Args:
        names: Of the studies.
        folders: Where their results are.
        root: Folder of the repository.

    Raises:
        ValueError: If the page of results has no marks for a study that has results.
    """
    for page in PAGES:
        text = (root / page).read_text("utf-8")
        for name in names:
            begun = page == PAGES[0] and (folders.results / name).is_dir()
            if f"<!-- studies: {name}: begin -->" not in text and not begun:
                continue
            content, pictures = section(name, STUDIES[name], folders, page)
            text = with_section(text, name, content)
            for file, picture in pictures.items():
                write_text(root / PICTURES / file, picture)
        write_text(root / page, text)
