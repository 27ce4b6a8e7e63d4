"""Writes the table of docs/performance.md from ``results/benchmarks/*.json``.

python -m benchmarks.table            # writes
python -m benchmarks.table --check    # fails if the table is not what the results say
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
# In which page the rows of which files stand.
PAGES = {
    "docs/performance.md": ("train_step", "attack", "overhead", "scaling"),
}


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    unit = "" if row["unit"] == "x" else f" {row['unit']}"
    times = "x" if row["unit"] == "x" else ""
    sign = "≥" if row["better"] == "higher" else "≤"
    native = row["machine"]["native_bfloat16"] or "bfloat16" not in row["name"]
    reached = "yes" if row["reached"] else "no" if native else "no (emulated)"
    return (
        f"| {row['name']} | {row['measured']:.2f}{times}{unit} "
        f"| {row['min']:.2f} to {row['max']:.2f} ({row['pairs']}) "
        f"| {sign} {row['target']:g}{times}{unit} | {reached} |"
    )


def table(names: Sequence[str]) -> str:
    """The table of some result files; one that is not there has no rows."""
    lines = ["| figure | measured | range (pairs) | target | reached |", "|---|---|---|---|---|"]
    for name in names:
        path = ROOT / "results" / "benchmarks" / f"{name}.json"
        if path.exists():
            lines += [line(row) for row in json.loads(path.read_text("utf-8"))["rows"]]
    return "\n".join(lines)


def with_table(text: str, names: Sequence[str]) -> str:
    """Puts the table between the marks of a page.

    Raises:
        ValueError: If the page has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"Expected {BEGIN} and {END} in the page.")
    return f"{before}{BEGIN}\n{table(names)}\n{END}{after}"


def main(argv: Sequence[str]) -> None:
    """Writes or checks the pages."""
    stale = []
    for page, names in PAGES.items():
        path = ROOT / page
        text = path.read_text("utf-8")
        wanted = with_table(text, names)
        if wanted != text:
            stale.append(page)
            if "--check" not in argv:
                path.write_text(wanted, "utf-8")
    if stale and "--check" in argv:
        raise SystemExit(f"Not what the results say: {', '.join(stale)}. Run without --check.")


if __name__ == "__main__":
    main(sys.argv[1:])
