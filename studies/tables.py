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
    """The results of a study's finished runs."""

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

    def seeds(self, *recipes: Recipe) -> list[int]:
        """Returns the seeds of which all these recipes have a result."""
        found = [set(self.by_recipe.get(recipe, {})) for recipe in recipes]
        return sorted(set.intersection(*found))

    def correct(
        self, recipe: Recipe, seeds: Sequence[int], checkpoint: str, measured: str
    ) -> Table:
        """Returns which examples are correctly classified, [seeds, examples]."""
        parts = [self.by_recipe[recipe][seed]["evaluation"][checkpoint][measured] for seed in seeds]
        return np.stack([bits.from_text(part["correct"], part["examples"]) for part in parts])

    def checkpoints(self, *recipes: Recipe) -> list[str]:
        """Returns the checkpoints of which all these recipes have a result."""
        found = [run["evaluation"] for each in recipes for run in self.by_recipe[each].values()]
        return [name for name in found[0] if all(name in evaluation for evaluation in found)]

    def minutes(self, recipe: Recipe) -> float:
        """Returns the minutes of training: the budget of the recipe, or the mean of its runs."""
        if recipe in self.budgets:
            return float(self.budgets[recipe])
        return float(
            np.mean([r["seconds"]["training"] / 60 for r in self.by_recipe[recipe].values()])
        )


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


def accuracies(name: str, finished: Finished) -> str:
    """Returns the accuracies of every recipe, by checkpoint."""
    rows = []
    for recipe in finished.by_recipe:
        seeds = finished.seeds(recipe)
        for checkpoint in finished.checkpoints(recipe):
            cells = [
                accuracy(over_seeds.accuracy(finished.correct(recipe, seeds, checkpoint, key)))
                for key in MEASURED
            ]
            minutes = f"{finished.minutes(recipe):.0f}"
            rows.append([label(recipe, name), checkpoint, *cells, str(len(seeds)), minutes])
    header = ["recipe", "checkpoint", *(f"{text}, %" for text in MEASURED.values())]
    return table([*header, "seeds", "minutes"], rows)


def short(name: str, finished: Finished) -> str:
    """Returns the accuracies of the best checkpoints in fewer columns."""
    measured = [key for key in MEASURED if key != "cw"]
    rows = []
    for recipe in finished.by_recipe:
        seeds = finished.seeds(recipe)
        found = (finished.correct(recipe, seeds, "best", key) for key in measured)
        cells = [accuracy(over_seeds.accuracy(correct)) for correct in found]
        rows.append([label(recipe, name), f"{finished.minutes(recipe):.0f}", *cells])
    return table(["recipe", "minutes", *(f"{MEASURED[key]}, %" for key in measured)], rows)


def differences(name: str, study: Study, finished: Finished) -> str:
    """Returns the differences of the pairs of recipes, as far as both are there.

    Of recipes that are drawn by epoch it also says what they lose from the best checkpoint to the
    last.
    """

    def row(first: str, second: str, seeds: Sequence[int], *of: tuple[Recipe, str]) -> list[str]:
        cells = [
            difference(
                over_seeds.difference(
                    *(finished.correct(recipe, seeds, checkpoint, key) for recipe, checkpoint in of)
                )
            )
            for key in MEASURED
        ]
        return [first, second, *cells, str(len(seeds))]

    rows = []
    for one, other in study.compared:
        seeds = finished.seeds(one, other)
        for checkpoint in finished.checkpoints(one, other) if seeds else ():
            pair = f"{label(one, name)} minus {label(other, name)}"
            rows.append(row(pair, checkpoint, seeds, (one, checkpoint), (other, checkpoint)))
    for recipe in study.drawn:
        seeds = finished.seeds(recipe)
        if seeds and {"best", "last"} <= set(finished.checkpoints(recipe)):
            ends = (recipe, "last"), (recipe, "best")
            rows.append(row(label(recipe, name), "last minus best", seeds, *ends))
    header = ["difference", "checkpoint", *(f"{text}, points" for text in MEASURED.values())]
    return table([*header, "seeds"], rows) if rows else ""


def gaps(name: str, finished: Finished) -> str:
    """Returns what AutoAttack breaks of what PGD-20 leaves, on AutoAttack's examples."""
    rows = []
    for recipe in finished.by_recipe:
        seeds = finished.seeds(recipe)
        strong = finished.correct(recipe, seeds, "best", "autoattack").astype(float)
        weak = finished.correct(recipe, seeds, "best", "pgd")[:, : strong.shape[1]].astype(float)
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
