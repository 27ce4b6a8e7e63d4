"""Recipes: the flagfiles of published experiments, ``<dataset>_<method>.cfg``.

They stand in the folder ``flags/`` of a checkout and travel inside an installed package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import importlib_resources

_CHECKOUT = Path(__file__).resolve().parents[2] / "flags"


def folder() -> Any:
    """Returns the folder of the recipes, as a path or as a package resource."""
    try:
        return importlib_resources.files("rlfat_tf.flags")
    except ModuleNotFoundError:  # not installed, or installed in place
        return _CHECKOUT


def names() -> list[str]:
    """Returns the recipes that there are, ``<dataset>_<method>``."""
    return sorted(f.name[: -len(".cfg")] for f in folder().iterdir() if f.name.endswith(".cfg"))


def read(name: str) -> list[str]:
    """Returns the flags of a recipe, one a string; an empty list if there is no such recipe."""
    if name not in names():  # a data set's name may hold what no file name can
        return []
    text = (folder() / f"{name}.cfg").read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "//"))]
