"""The tables of a study, as Markdown, made of the JSON files of its runs and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from rlfat_tf.data.corruptions.making import BENCHMARK
from rlfat_tf.evaluation import over_seeds
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.over_seeds import Estimate, Table
from studies import bits, results
from studies.runs import Folders, Look, Pair, Recipe, Run, Study

# The common corruptions of the benchmark by kind, after Hendrycks & Dietterich (ICLR 2019).
KINDS = {
    "noise": list(BENCHMARK)[:3],
    "blur": list(BENCHMARK)[3:7],
    "weather": list(BENCHMARK)[7:11],
    "digital": list(BENCHMARK)[11:],
}
FORMS_ATTACKS = {
    "pgd": "PGD-20",
    "apgd_ce": "APGD-CE",
    "apgd_t": "APGD-T",
    "worst_case": "worst case",
}
Cell = tuple[Estimate, int]  # and of how many images it is
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
        correct = [bits.from_text(part["correct"], part["examples"]) for part in parts]
        return np.stack(correct).astype(np.float64)

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
    """Returns a Markdown table, and nothing where there are no rows."""
    rows = list(rows)
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def paired(most: float, *tables: Table) -> Estimate:
    """Returns the sum of the tables' means, with an interval that is never of no width.

    Two examples are added, of which one speaks for each side, as Bonett and Price do ("Adjusted
    Wald confidence interval for a difference of binomial proportions based on paired data", Journal
    of Educational and Behavioral Statistics, 2012): where few examples tell two networks apart,
    the interval without them is too narrow.

    Args:
        most: How great the sum can be.
        *tables: [seeds, examples], see :mod:`rlfat_tf.evaluation.over_seeds`.
    """
    added = [[1.0, -1.0] if number == 0 else [0.0, 0.0] for number in range(len(tables))]
    more = [np.hstack([each, np.tile(two, (len(each), 1))]) for each, two in zip(tables, added)]
    found = over_seeds.mean(*more)
    mean = float(sum(each.mean() for each in tables))
    return Estimate(mean, max(-most, found.low), min(most, found.high))


class Columns:
    """The columns of a table of accuracies, or of differences of them.

    Of how many images AutoAttack's are, the head says, or each cell where they differ.
    """

    def __init__(self, finished: Finished, unit: str, measured: Iterable[str] = MEASURED):
        images = finished.images("autoattack")
        names = {key: MEASURED[key] for key in measured}
        self._alike = len(images) == 1
        if self._alike:
            names["autoattack"] += f" ({images.pop()} images)"
        self.heads = {key: f"{name}, {unit}" for key, name in names.items()}

    def cells(self, write: Callable[[Estimate], str], tables: Callable[[str], Cell]) -> list[str]:
        """Returns the cells of a row, whose values ``tables`` gives by what was measured."""
        found = []
        for key in self.heads:
            estimate, examples = tables(key)
            named = key != "autoattack" or self._alike
            found.append(write(estimate) + ("" if named else f", {examples} images"))
        return found


def accuracies(name: str, finished: Finished, short: bool = False) -> str:
    """Returns the accuracies of every recipe, with the budgets where there are.

    Args:
        name: Of the study.
        finished: Its results.
        short: Whether only those of the best checkpoints, in fewer columns.
    """
    kept = [key for key in MEASURED if not (short and key == "cw")]
    columns = Columns(finished, "%", kept)

    def row(recipe: Recipe, checkpoint: str) -> list[str]:
        def cell(key: str) -> Cell:
            correct = finished.correct(recipe, checkpoint, key)
            return over_seeds.accuracy(correct), correct.shape[1]

        budget = [str(finished.budgets[recipe])] if finished.budgets else []
        seeds = str(len(finished.seeds(recipe)))
        which = [] if short else [checkpoint]
        return [label(recipe, name), *budget, *which, *columns.cells(accuracy, cell), seeds]

    budget = ["minutes"] if finished.budgets else []
    which = [] if short else ["checkpoint"]
    return table(
        ["recipe", *budget, *which, *columns.heads.values(), "seeds"],
        [
            row(recipe, checkpoint)
            for recipe in finished.by_recipe
            for checkpoint in (["best"] if short else finished.checkpoints(recipe))
        ],
    )


def differences(name: str, study: Study, finished: Finished) -> str:
    """Returns the differences of the pairs of recipes, as far as both are there.

    Of some recipes it also says what each loses from the best checkpoint to the last, paired by
    seed and example, and how these losses differ; and of some pairs, how their differences differ.
    """
    columns = Columns(finished, "points")
    rows: list[list[str]] = []

    def lost(recipe: Recipe, key: str) -> Table:
        best, last = (finished.correct(recipe, each, key) for each in ("best", "last"))
        return last - best

    def add(
        text: str,
        of: str,
        recipes: Sequence[Recipe],
        values: Callable[[Recipe, str], Table],
        most: float,
    ) -> None:
        signs = (1, -1, -1, 1)

        def cell(key: str) -> Cell:
            found = [sign * values(recipe, key) for sign, recipe in zip(signs, recipes)]
            return paired(most, *found), found[0].shape[1]

        numbers = dict.fromkeys(str(len(finished.seeds(recipe))) for recipe in recipes)
        rows.append([text, of, *columns.cells(difference, cell), " / ".join(numbers)])

    def add_checkpoints(text: str, recipes: Sequence[Recipe]) -> None:
        for checkpoint in finished.checkpoints(*recipes):
            add(
                text,
                checkpoint,
                recipes,
                lambda recipe, key, at=checkpoint: finished.correct(recipe, at, key),  # type: ignore[misc]
                len(recipes) / 2,
            )

    def minus(pair: Pair) -> str:
        return " minus ".join(label(recipe, name) for recipe in pair)

    there = [
        recipe
        for recipe in study.lost
        if finished.seeds(recipe) and {"best", "last"} <= set(finished.checkpoints(recipe))
    ]
    for recipe in there:
        add(label(recipe, name), "last minus best", [recipe], lost, 1)
    for pair in study.compared:
        if all(map(finished.seeds, pair)):
            add_checkpoints(minus(pair), pair)
            if set(pair) <= set(there):
                add(minus(pair), "last minus best", pair, lost, 2)
    for pair, other in study.changes:
        if all(map(finished.seeds, pair + other)):
            add_checkpoints(f"({minus(pair)}) minus ({minus(other)})", pair + other)
    header = ["difference", "checkpoint", *columns.heads.values(), "seeds"]
    return table(header, rows)


def gaps(name: str, finished: Finished) -> str:
    """Returns what AutoAttack breaks of what PGD-20 leaves, on AutoAttack's examples."""
    rows = []
    for recipe in finished.by_recipe:
        strong = finished.correct(recipe, "best", "autoattack")
        weak = finished.correct(recipe, "best", "pgd")[:, : strong.shape[1]]
        cells = [accuracy(over_seeds.accuracy(part)) for part in (weak, strong)]
        gap = difference(paired(1, weak - strong))
        rows.append([label(recipe, name), *cells, gap, str(strong.shape[1])])
    header = ["recipe, best checkpoint", "PGD-20, %", "AutoAttack, %", "gap, points", "images"]
    return table(header, rows)


def local(taken: dict[Look, dict[str, Any]]) -> str:
    """Returns loss sensitivity and the accuracy on shuffled blocks."""
    rows = []
    for look, found in taken.items():
        sensitivity = [
            "-" if point["value"] is None else f"{point['value']:.2f}"
            for points in found["sensitivity"].values()
            for point in points
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
            transformed = form != "atld-"  # which has no transform to know of
            for knows in ("non_adaptive", "adaptive") if transformed else ("adaptive",):
                known = {"non_adaptive": "no", "adaptive": "yes"}[knows] if transformed else "-"
                shares = (by["clean_accuracy"], *by[knows].values())
                cells = [_share(share, found["examples"]) for share in shares]
                rows.append([f"`{form}`", known, *cells])
        names = [FORMS_ATTACKS.get(name, name) for name in by["adaptive"]]
        images = found["examples"]
    header = ["form", "attack knows the transform", f"clean ({images} images), %"]
    return table([*header, *(f"{name}, %" for name in names)], rows)


def _share(share: float, examples: int) -> str:
    return accuracy(Estimate(share, *wilson(round(share * examples), examples)))
