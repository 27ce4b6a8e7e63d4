"""Writes flags/*.cfg from the tables beside this file: ``python tools/write_recipes.py``.

So is the table of docs/frame.md, of the recipes with a name or a published figure. ``--check``
writes nothing and fails if a file is not what the tables say.
"""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from pathlib import Path

from recipe_datasets import Recipe
from recipe_frames import frames
from recipe_pairs import pairs
from recipe_photos import photos

from rlfat_tf.run import cli
from rlfat_tf.run.config import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ROOT / "flags"
PAGE = ROOT / "docs" / "frame.md"
BEGIN, END = "<!-- recipes: begin -->\n", "<!-- recipes: end -->\n"
# Ours: per cent, clean / under attack; where the run is. A figure needs its run in docs/results.md.
MEASURED = {
    "digits_standard": "99.2 / 17.2 PGD-20; one seed, docs/results.md.",
    "digits_pgdat": "99.4 / 87.8 PGD-20; one seed, docs/results.md.",
    "digits_rlfat_p": "95.6 / 68.3 PGD-20; one seed, docs/results.md.",
}
ORDER = [field.name for field in dataclasses.fields(TrainConfig)]


def text_of(recipe: Recipe) -> str:
    """Returns the content of a recipe's file: comments, then the flags in TrainConfig's order."""
    notes, flags = recipe.setting
    pair = f"{flags['dataset']}_{flags['method']}"
    chosen = f"--dataset={flags['dataset']} --method={flags['method']}"
    if recipe.name != pair:
        chosen = f"--recipe={recipe.name}"
    comments = [recipe.title, f"Command: python train.py {chosen}", *notes]
    if recipe.published:
        comments.append(f"Published: {recipe.published}")
    comments.append(f"Measured: {MEASURED.get(recipe.name, 'not yet at full size.')}")
    lines = [
        textwrap.fill(
            text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        for text in comments
    ]
    lines += [f"--{name}={flags[name]}" for name in sorted(flags, key=ORDER.index)]
    return "\n".join(lines) + "\n"


def files() -> dict[Path, str]:
    """Returns the content of every file in flags/."""
    recipes = (*pairs(), *frames(), *photos())
    return {FLAGS / f"{recipe.name}.cfg": text_of(recipe) for recipe in recipes}


def page_of(text: str, rows: list[tuple[str, ...]]) -> str:
    """Returns docs/frame.md with its table of recipes.

    Args:
        text: The page as it is.
        rows: Of ``--recipe=list``.
    """
    head, *others = rows
    named = {recipe.name for recipe in frames()}
    shown = [row for row in others if row[0] in named or row[4] != "-"]
    lines = [head, ("---",) * len(head), *((f"`{row[0]}`", *row[1:]) for row in shown)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table + END + rest.partition(END)[2]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail instead of writing")
    wanted, check = files(), parser.parse_args().check
    there = {path: path.read_text(encoding="utf-8") for path in FLAGS.glob("*.cfg")}
    for path in sorted({*wanted, *there}):
        if wanted.get(path) == there.get(path):
            continue
        if check:
            raise SystemExit(f"{path} is not what the tables say; python tools/write_recipes.py")
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
        print(path)
    page = PAGE.read_text(encoding="utf-8")
    made = page_of(page, cli.recipe_rows())
    if made != page and check:
        raise SystemExit(f"{PAGE} is not what the tables say; python tools/write_recipes.py")
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
