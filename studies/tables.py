"""The tables of a study, as Markdown, made of the JSON files of its runs and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rlfat_tf.data.corruptions.making import BENCHMARK
from rlfat_tf.evaluation import over_seeds
from rlfat_tf.evaluation.over_seeds import Estimate, Table
from studies import bits, results
from studies.runs import Folders, Look, Recipe, Run, Study

# The common corruptions of the benchmark by kind, after Hendrycks & Dietterich (ICLR 2019).
KINDS = {
    "noise": list(BENCHMARK)[:3],
    "blur": list(BENCHMARK)[3:7],
    "weather": list(BENCHMARK)[7:11],
    "digital": list(BENCHMARK)[11:],
}
MEASURED = {"clean": "clean", "pgd": "PGD-20", "cw": "CW", "autoattack": "AutoAttack"}


class Finished:
    """The results of a study's finished runs.

    Attributes:
        by_recipe: By recipe and seed the content of a result file.
        missing: By recipe the seeds without a result file.
        budgets: Minutes of training, of recipes that have a budget.
    """

    def __init__(self, runs: Iterable[Run], folders: Folders):
        self.by_recipe: dict[Recipe, dict[int, dict[str, Any]]] = {}
        self.missing: dict[Recipe, list[int]] = {}
        self.budgets: dict[Recipe, int] = {}
        for run in runs:
            if run.budget is not None:
                self.budgets[run.of] = run.budget
            result = results.read(run, folders)
            if result is None:
                self.missing.setdefault(run.of, []).append(run.seed)
            else:
                self.by_recipe.setdefault(run.of, {})[run.seed] = result

    def seeds(self, recipe: Recipe) -> list[int]:
        """Returns the seeds of which a recipe has a result."""
        return sorted(self.by_recipe.get(recipe, {}))

    def correct(self, recipe: Recipe, checkpoint: str, measured: str) -> Table:
        """Returns which examples are correctly classified, [seeds, examples]."""
        runs = [self.by_recipe[recipe][seed] for seed in self.seeds(recipe)]
        parts = [run["evaluation"][checkpoint][measured] for run in runs]
        return np.stack([bits.from_text(part["correct"], part["examples"]) for part in parts])

    def images(self, measured: str) -> set[int]:
        """Returns how many examples were evaluated, the numbers of all results."""
        runs = [run for by_seed in self.by_recipe.values() for run in by_seed.values()]
        evaluations = [found for run in runs for found in run["evaluation"].values()]
        return {found[measured]["examples"] for found in evaluations}

    def checkpoints(self, *recipes: Recipe) -> list[str]:
        """Returns the checkpoints of which all these recipes have a result."""
        found = [run["evaluation"] for each in recipes for run in self.by_recipe[each].values()]
        return [name for name in found[0] if all(name in evaluation for evaluation in found)]


def label(recipe: Recipe, study: str) -> str:
    """Returns how a table calls a recipe: with its study, where that is another one."""
    return f"`{recipe[1]}`" if recipe[0] == study else f"`{recipe[1]}` of {recipe[0]}"


def accuracy(found: Estimate) -> str:
    """Returns a cell: an accuracy in per cent and its interval."""
    low, high = (f"{100 * end:.0f}" for end in (found.low, found.high))
    return f"{100 * found.mean:.1f} ({low} to {high})"


def difference(found: Estimate) -> str:
    """Returns a cell: a difference in points and its interval."""
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in found))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def headings(finished: Finished, measured: Iterable[str], unit: str) -> list[str]:
    """Returns the heads of columns of accuracies, with AutoAttack's number of images."""
    names = {key: MEASURED[key] for key in measured}
    images = finished.images("autoattack")
    if len(images) == 1:
        names["autoattack"] += f" ({images.pop()} images)"
    return [f"{name}, {unit}" for name in names.values()]


def accuracies(name: str, finished: Finished) -> str:
    """Returns the accuracies of every recipe, by checkpoint, with the budgets where there are."""
    rows = []
    for recipe in finished.by_recipe:
        for checkpoint in finished.checkpoints(recipe):
            correct = [finished.correct(recipe, checkpoint, key) for key in MEASURED]
            cells = [accuracy(over_seeds.accuracy(part)) for part in correct]
            budget = [str(finished.budgets[recipe])] if finished.budgets else []
            seeds = str(len(finished.seeds(recipe)))
            rows.append([label(recipe, name), *budget, checkpoint, *cells, seeds])
    budget = ["minutes"] if finished.budgets else []
    header = ["recipe", *budget, "checkpoint", *headings(finished, MEASURED, "%"), "seeds"]
    return table(header, rows)


def short(name: str, finished: Finished) -> str:
    """Returns the accuracies of the best checkpoints in fewer columns."""
    measured = [key for key in MEASURED if key != "cw"]
    rows = []
    for recipe in finished.by_recipe:
        correct = [finished.correct(recipe, "best", key) for key in measured]
        cells = [accuracy(over_seeds.accuracy(part)) for part in correct]
        budget = [str(finished.budgets[recipe])] if finished.budgets else []
        rows.append([label(recipe, name), *budget, *cells])
    budget = ["minutes"] if finished.budgets else []
    return table(["recipe", *budget, *headings(finished, measured, "%")], rows)


def differences(name: str, study: Study, finished: Finished) -> str:
    """Returns the differences of the pairs of recipes, as far as both are there.

    Of recipes that are drawn by epoch it also says what each loses from the best checkpoint to the
    last, paired by seed and example, and how these losses differ.
    """

    def lost(recipe: Recipe, key: str) -> Table:
        best, last = (finished.correct(recipe, each, key) for each in ("best", "last"))
        return last.astype(np.float64) - best.astype(np.float64)

    def within(most: float, found: Estimate) -> Estimate:
        return Estimate(found.mean, max(-most, found.low), min(most, found.high))

    def row(text: str, of: str, recipes: Sequence[Recipe], found: list[Estimate]) -> list[str]:
        numbers = dict.fromkeys(str(len(finished.seeds(recipe))) for recipe in recipes)
        return [text, of, *map(difference, found), " / ".join(numbers)]

    rows = []
    drawn = [
        recipe
        for recipe in study.drawn
        if finished.seeds(recipe) and {"best", "last"} <= set(finished.checkpoints(recipe))
    ]
    for recipe in drawn:
        losses = [within(1, over_seeds.mean(lost(recipe, key))) for key in MEASURED]
        rows.append(row(label(recipe, name), "last minus best", [recipe], losses))
    for one, other in study.compared:
        if not (finished.seeds(one) and finished.seeds(other)):
            continue
        pair = f"{label(one, name)} minus {label(other, name)}"
        for checkpoint in finished.checkpoints(one, other):
            found = [
                over_seeds.difference(
                    finished.correct(one, checkpoint, key), finished.correct(other, checkpoint, key)
                )
                for key in MEASURED
            ]
            rows.append(row(pair, checkpoint, (one, other), found))
        if one in drawn and other in drawn:
            found = [
                within(2, over_seeds.mean(lost(one, key), -lost(other, key))) for key in MEASURED
            ]
            rows.append(row(pair, "last minus best", (one, other), found))
    header = ["difference", "checkpoint", *headings(finished, MEASURED, "points"), "seeds"]
    return table(header, rows) if rows else ""


def gaps(name: str, finished: Finished) -> str:
    """Returns what AutoAttack breaks of what PGD-20 leaves, on AutoAttack's examples."""
    rows = []
    for recipe in finished.by_recipe:
        strong = finished.correct(recipe, "best", "autoattack").astype(float)
        weak = finished.correct(recipe, "best", "pgd")[:, : strong.shape[1]].astype(float)
        cells = [accuracy(over_seeds.accuracy(part)) for part in (weak, strong)]
        gap = difference(over_seeds.mean(weak - strong))
        rows.append([label(recipe, name), *cells, gap, str(strong.shape[1])])
    header = ["recipe, best checkpoint", "PGD-20, %", "AutoAttack, %", "gap, points", "examples"]
    return table(header, rows)


def local(taken: dict[Look, dict[str, Any]]) -> str:
    """Returns loss sensitivity and the accuracy on shuffled blocks."""
    rows = []
    for look, found in taken.items():
        sensitivity = [
            f"{point['value']:.2f}" for points in found["sensitivity"].values() for point in points
        ]
        shares = [f"{100 * share:.1f}" for share in found["shuffled"].values()]
        rows.append([label(look.run.of, look.study), *shares, *sensitivity])
    some = next(iter(taken.values()))
    header = ["recipe", *(f"k = {blocks}, %" for blocks in some["shuffled"])]
    for transform, points in some["sensitivity"].items():
        header += [f"{transform} {point['magnitude']:g}" for point in points]
    return table(header, rows)


def corruptions(taken: dict[Look, dict[str, Any]]) -> str:
    """Returns the accuracy under common corruptions, by their kind."""
    rows = []
    for look, found in taken.items():
        by = found["by_corruption"]
        kinds = [np.mean([by[name] for name in names]) for names in KINDS.values()]
        low, high = found["mean_interval"]
        mean = Estimate(found["mean_accuracy"], low, high)
        cells = [f"{100 * share:.1f}" for share in (found["clean_accuracy"], *kinds)]
        rows.append([label(look.run.of, look.study), *cells, accuracy(mean)])
    header = ["clean", *KINDS, "mean of the 15"]
    return table(["recipe", *(f"{name}, %" for name in header)], rows)


def forms(taken: dict[Look, dict[str, Any]]) -> str:
    """Returns the forms of ATLD's transform under attacks that know of it or not."""
    rows = []
    for found in taken.values():
        for form, by in found["forms"].items():
            for knows in ("non_adaptive", "adaptive"):
                cells = [f"{100 * share:.1f}" for share in by[knows].values()]
                clean = f"{100 * by['clean_accuracy']:.1f}"
                rows.append([f"`{form}`", "yes" if knows == "adaptive" else "no", clean, *cells])
        names = list(next(iter(found["forms"].values()))["adaptive"])
    return table(["form", "attack knows", "clean, %", *(f"{name}, %" for name in names)], rows)
