"""Writes the cards of the networks that ship into their page: ``python tools/write_cards.py``.

Everything between the two marks of docs/pretrained.md is made of ``rlfat_tf.models.pretrained()``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.models.zoo import Pretrained, pretrained

PAGE = Path(__file__).resolve().parents[1] / "docs" / "pretrained.md"
BEGIN, END = "<!-- cards: begin -->", "<!-- cards: end -->"
HEADER = ("name", "norm, epsilon", "clean", "AutoAttack", "parameters", "file")
NORMS = {"linf": "maximum", "l2": "Euclidean"}


def radius(epsilon: float) -> str:
    """Returns a radius as people write it: in 255ths where it is a whole number of them."""
    share = Fraction(epsilon * 255).limit_denominator(1000)
    return f"{share.numerator}/255" if share.denominator == 1 else f"{epsilon:g}"


def row(card: Pretrained) -> str:
    """Returns the row of a network in the table."""
    cells = (
        f"[`{card.name}`](#{card.name})",
        f"{NORMS[card.norm]}, {radius(card.epsilon)}",
        f"{100 * card.accuracy:.1f} %",
        f"{100 * card.robust_accuracy:.1f} %",
        f"{card.parameters:,}",
        f"{card.path.stat().st_size / 1e6:.1f} MB",
    )
    return f"| {' | '.join(cells)} |"


def section(card: Pretrained) -> str:
    """Returns what the page says of one network."""
    low, high = wilson(round(card.robust_accuracy * card.robust_examples), card.robust_examples)
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    machine = card.machine.replace(" 0 GPUs", " no GPU")
    words = (
        f"`{card.network}`, trained by `{card.method}` on the training images of `{card.dataset}`, "
        f"for {len(card.class_names)} classes. It classifies {100 * card.accuracy:.2f} % of "
        f"{card.examples:,} test images correctly, and {100 * card.robust_accuracy:.1f} % of "
        f"{card.robust_examples:,} under standard AutoAttack (95 % interval for the images: "
        f"{100 * low:.1f} to {100 * high:.1f} %). Training took {card.hours:g} hours on "
        f"{machine} ({versions})."
    )
    command = "\n".join(map(_folded, card.command.splitlines()))
    text = textwrap.fill(words, 108, break_on_hyphens=False)
    return f"### {card.name}\n\n{text}\n\n<!-- not run: it takes long -->\n```\n{command}\n```"


def _folded(command: str) -> str:
    """Returns a command on several lines, for a shell."""
    lines = textwrap.wrap(command, 94, subsequent_indent="    ", break_on_hyphens=False)
    return " \\\n".join(lines)


def page_of(text: str, cards: Iterable[Pretrained]) -> str:
    """Returns the page with the table and the sections of these networks.

    Args:
        text: The page as it is.
        cards: Of the networks.
    """
    cards = list(cards)
    table = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}", *map(row, cards)]
    parts = ["\n".join(table), *map(section, cards)]
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n" + "\n\n".join(parts) + f"\n{END}{after}"


def main() -> None:
    """Writes the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page_of(text, pretrained().values()), encoding="utf-8")


if __name__ == "__main__":
    main()
