"""Writes the tables of flags: ``python tools/write_flags.py``.

The rows ``| `--flag` | default | what |`` of docs/training.md and docs/evaluation.md have the
defaults and the help texts of the flags; in which group a row stands is up to the page.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.help import default_text, flag_text

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES: dict[str, type] = {"training.md": TrainConfig, "evaluation.md": EvalConfig}
ROW = re.compile(r"^\| `--(\w+)` \|[^|]*\|[^|]*\|$", re.M)
PLACEHOLDER = re.compile(r"[^\s(]*<\S*>(?:[^\s.,;)]|[,.](?=\w))*")  # <file>, which HTML swallows


def row(field: dataclasses.Field[object]) -> str:
    """Returns the row of a flag."""
    text = PLACEHOLDER.sub(lambda found: f"`{found[0]}`", flag_text(field))
    return f"| `--{field.name}` | {default_text(field)} | {text} |"


def page_of(text: str, config: type) -> str:
    """Returns a page with the rows of its flags.

    Args:
        text: The page as it is.
        config: Whose fields are the flags.
    """
    rows = {field.name: row(field) for field in dataclasses.fields(config)}
    return ROW.sub(lambda found: rows.get(found[1], found[0]), text)


def main() -> None:
    """Writes both pages."""
    for name, config in PAGES.items():
        path = DOCS / name
        path.write_text(page_of(path.read_text(encoding="utf-8"), config), encoding="utf-8")


if __name__ == "__main__":
    main()
