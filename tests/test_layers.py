"""The folders of the library import only what stands below them, lazy imports included."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "rlfat_tf"
# Of every folder, those below it. The top file, __init__.py, may import all of them.
BELOW: dict[str, set[str]] = {
    "core": set(),
    "storage": {"core"},
    "data": {"core"},
    "models": {"core"},
    "attacks": {"core"},
    "methods": {"attacks", "models", "data", "storage", "core"},
    "evaluation": {"methods", "attacks", "models", "data", "storage", "core"},
    "run": {"evaluation", "methods", "attacks", "models", "data", "storage", "core"},
}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "rlfat_tf"}


def test_every_folder_is_listed():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(BELOW)
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


def test_folders_import_only_what_stands_below_them():
    for path in PACKAGE.rglob("*.py"):
        folder = path.relative_to(PACKAGE).parts[0]
        if folder in BELOW:
            floors = {name.split(".")[1] for name in imported(path)}
            assert floors <= BELOW[folder] | {folder}, (path, floors - BELOW[folder] - {folder})


def test_no_modules_import_each_other_in_a_circle():
    modules = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = path
    edges = {
        name: {
            target if target in modules else target.rpartition(".")[0] for target in imported(path)
        }
        & (set(modules) - {name})
        for name, path in modules.items()
    }
    while leaves := {name for name, targets in edges.items() if not targets & set(edges)}:
        edges = {name: targets for name, targets in edges.items() if name not in leaves}
    assert not edges, f"these modules import each other: {sorted(edges)}"
