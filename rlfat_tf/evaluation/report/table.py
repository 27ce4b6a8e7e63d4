"""The figures of a report as lines of a table, and how numbers are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

NO_WORST_CASE = "no bounded attack ran"


class Row(NamedTuple):
    """A line of the table of attacks."""

    kind: str
    name: str
    accuracy: float | None
    interval: Sequence[float] | None = ()
    attack: str = ""
    examples: int | None = None
    broken: int | None = None
    median_l2: float | None = None
    seconds: float | None = None


def table_rows(report: Mapping[str, Any]) -> Iterator[Row]:
    """Yields clean, every attack, each before its parts, and the worst case."""
    yield Row("clean", "clean", report["clean_accuracy"], report["clean_interval"])
    for name, result in report["attacks"].items():
        parts = result.get("components", {})
        yield Row(
            "attack",
            attack_text(name, result),
            result["robust_accuracy"],
            result["interval"],
            result["attack"],
            result["examples"],
            sum(part["broken"] for part in parts.values()) if parts else result.get("broken"),
            result.get("median_l2"),
            result["seconds"],
        )
        for name_of_part, part in parts.items():
            left = (part["examples"] - part["broken"]) / result["examples"]
            record = {key: part[key] for key in Row._fields if key in part}
            yield Row("part", name_of_part, left, **record)
    yield Row("worst", "worst case", report["worst_case_accuracy"], report["worst_case_interval"])


def attack_text(name: str, result: Mapping[str, Any]) -> str:
    """Returns the name of an attack, and whether its accuracy is what a cascade left after it."""
    return f"{name} (cumulative)" if result.get("cumulative") else name


def number_text(value: float | None, form: str) -> str:
    """Returns a number in a format, or nothing for None."""
    return "" if value is None else format(value, form)


def percent_text(share: float | None) -> str:
    """Returns a share as per cent with one decimal."""
    return number_text(share, ".1%")


def interval_text(ends: Sequence[float] | None, dash: str = "\N{EN DASH}") -> str:
    """Returns an interval of shares in per cent; nothing for an empty one.

    Only a worst case may have none at all, and then the text says why.
    """
    if ends is None:
        return NO_WORST_CASE
    return f"{100 * ends[0]:.1f}{dash}{100 * ends[1]:.1f}%" if ends else ""


def radius_text(epsilon: float | None, norm: str | None) -> str:
    """Returns a radius as people write it: 8/255, 0.03."""
    if epsilon is None:
        return "by attack"
    pixels = round(255 * epsilon)
    whole = norm == "linf" and 0 < pixels < 255 and abs(255 * epsilon - pixels) < 1e-3
    return f"{pixels}/255" if whole else f"{epsilon:.4g}"
