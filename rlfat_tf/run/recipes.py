"""Recipes: flagfiles of published experiments, and of our own choices where there is none.

They stand in the folder ``flags/`` of a checkout and travel inside an installed package. One is
there for every data set and method of our tables, ``<dataset>_<method>.cfg``, which is taken unless
``--recipe`` names another. ``tools/write_recipes.py`` writes them from one table. Two comments are
read by :func:`read` too, clean accuracy and accuracy under attack in per cent, then where from:

    # Published: 84.15 / 48.72; ResNet-18, best checkpoint: ...
    # Measured: 93.9 / 64.4 PGD-20; one seed, docs/results.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import importlib_resources

from rlfat_tf.core.errors import nearest
from rlfat_tf.run.config import NO_RECIPE, TrainConfig
from rlfat_tf.run.console import number_text

_CHECKOUT = Path(__file__).resolve().parents[2] / "flags"
LIST = "list"  # instead of a recipe's name
NOT_MEASURED = "not measured"
# The defaults that decide most of a run.
TOLD = ("model", "augment", "epochs", "batch_size", "epsilon", "optimizer", "learning_rate")


class Recipe(NamedTuple):
    """A recipe as it is read.

    Attributes:
        name: Of the file, without its ending.
        flags: One a string.
        published: Clean accuracy and that under AutoAttack, unless it says another attack; "-".
        measured: The same by this library, or "not measured".
    """

    name: str
    flags: list[str]
    published: str = "-"
    measured: str = NOT_MEASURED


def folder() -> Any:
    """Returns the folder of the recipes, as a path or as a package resource."""
    try:
        return importlib_resources.files("rlfat_tf.flags")
    except ModuleNotFoundError:  # not installed, or installed in place
        return _CHECKOUT


def names() -> list[str]:
    """Returns the recipes that there are."""
    return sorted(f.name[: -len(".cfg")] for f in folder().iterdir() if f.name.endswith(".cfg"))


def read(name: str) -> Recipe:
    """Reads a recipe.

    Raises:
        ValueError: If there is none of that name.
    """
    known = names()
    if name not in known:
        near = nearest(name, known, 3)
        guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"Unknown recipe {name!r}.{guess} --recipe={LIST} shows all of them.")
    text = (folder() / f"{name}.cfg").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    flags = [line for line in lines if line and not line.startswith(("#", "//"))]
    found = {}
    for line in lines:
        label, colon, rest = line.lstrip("# ").partition(": ")
        if line.startswith("#") and colon:
            found[label] = rest.partition(";")[0].strip()
    measured = found.get("Measured", "not yet")
    return Recipe(
        name,
        flags,
        published=found.get("Published", "-"),
        measured=NOT_MEASURED if measured.startswith("not") else measured,
    )


def chosen(name: str | None, dataset: str, method: str) -> list[str]:
    """Returns the flags beneath those of the command line.

    Args:
        name: Of ``--recipe``; None: the recipe of the data set and method, if there is one;
            "none": no recipe.
        dataset: Of ``--dataset``.
        method: Of ``--method``.

    Raises:
        ValueError: If there is no recipe of that name.
    """
    if name is None:
        pair = f"{dataset}_{method}"
        return read(pair).flags if pair in names() else []  # a name may hold what no file's can
    return [] if name in (LIST, NO_RECIPE) else read(name).flags


def missing(dataset: str, method: str) -> str | None:
    """Returns one line that tells of a data set and method without a recipe; else None."""
    known = names()
    if f"{dataset}_{method}" in known:
        return None
    alike = [name for name in known if name.startswith(f"{dataset}_")]
    same = [name for name in known if f"--method={method}" in read(name).flags]
    defaults = " ".join(
        f"--{name}={number_text(value) if isinstance(value, float) else value}"
        for name, value in ((name, getattr(TrainConfig, name)) for name in TOLD)
    )
    return (
        f"There is no recipe for --dataset={dataset} --method={method}: what no flag says has its "
        f"built-in default ({defaults} ...). Recipes for this data set: "
        f"{_some(alike)}; for this method: {_some(same)}. "
        f"--recipe=<name> takes one of them, --recipe={LIST} shows all; other flags win over it."
    )


def _some(names: list[str], most: int = 4) -> str:
    """Returns names for a sentence, not more than a line of them."""
    shown, more = names[:most], len(names) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") if names else "none"


def table(rows: list[tuple[str, ...]]) -> str:
    """Returns rows of text in columns, the first row above a line."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
