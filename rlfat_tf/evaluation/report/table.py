"""The figures of a report as lines of a table, and how numbers are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MANY_CLASSES = 30  # beyond, a report shows the worst of them and the most frequent confusions
WORST_CLASSES = 10
FEW_EXAMPLES = 200  # of a class
NO_WORST_CASE = "no bounded untargeted attack ran"


class Row(NamedTuple):
    """A line of the table of attacks; its kind is clean, attack, unbounded, part or worst."""

    kind: str
    name: str
    accuracy: float | None
    interval: Sequence[float] | None = ()
    attack: str = ""
    examples: int | None = None
    broken: int | None = None
    median_l2: float | None = None
    seconds: float | None = None


def is_bounded(result: Mapping[str, Any]) -> bool:
    """Tells whether an attack of a report stays within epsilon and counts for the worst case."""
    return bool(result.get("bounded", True))


def bounded_attacks(points: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the names of the bounded attacks of a curve: epsilon is nothing to the others."""
    results = [entry for point in points for entry in point["attacks"].items()]
    return list(dict.fromkeys(name for name, result in results if is_bounded(result)))


def table_rows(report: Mapping[str, Any]) -> Iterator[Row]:
    """Yields clean, every attack, each before its parts, and the worst case."""
    yield Row("clean", "clean", report["clean_accuracy"], report["clean_interval"])
    for name, result in report["attacks"].items():
        parts = result.get("components", {})
        yield Row(
            "attack" if is_bounded(result) else "unbounded",
            attack_text(name, result),
            result["robust_accuracy"],
            result["interval"],
            result["attack"],
            result["examples"],
            broken_by(result),
            result.get("median_l2"),
            result["seconds"],
        )
        for name_of_part, part in parts.items():
            left = (part["examples"] - part["broken"]) / result["examples"]
            record = {key: part[key] for key in Row._fields if key in part}
            yield Row("part", name_of_part, left, **record)
    accuracy, interval = (report[f"worst_case_{name}"] for name in ("accuracy", "interval"))
    yield Row("worst", "worst case", accuracy, interval, examples=_judged(report))


def _judged(report: Mapping[str, Any]) -> int | None:
    """Returns on how many examples there is a worst case; None if on all."""
    counts = [result["examples"] for result in report["attacks"].values() if is_bounded(result)]
    fewer = max(counts, default=report["examples"])
    return fewer if fewer < report["examples"] else None


def attack_text(name: str, result: Mapping[str, Any]) -> str:
    """Returns the name of an attack, with a mark if it is unbounded or what a cascade left."""
    if not is_bounded(result):
        return f"{name} (unbounded)"
    return f"{name} (cumulative)" if result.get("cumulative") else name


def broken_by(result: Mapping[str, Any]) -> int | None:
    """Returns how many examples an attack broke, all its parts together."""
    parts = result.get("components", {}).values()
    return sum(part["broken"] for part in parts) if parts else result.get("broken")


def targeted_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields the targeted attacks of every radius, in words.

    Of each its name, success rate, interval, examples, those left out, median length and seconds.
    """
    points = report.get("curve", [report])
    for point in points:
        at = f", ε = {radius_text(point['epsilon'], report['norm'])}"
        for name, result in point.get("targeted", {}).items():
            target = "a given class" if result["target"] is None else f"{result['target']}"
            yield (
                f"{name} to {target.replace('_', ' ')}{at if len(points) > 1 else ''}",
                percent_text(result["success_rate"]),
                interval_text(result["interval"] or (), "-"),
                number_text(result["examples"], ",d"),
                number_text(result["left_out"], ",d"),
                number_text(result["median_l2"], ".3f"),
                number_text(result["seconds"], ",.1f"),
            )


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


def worst_classes(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the classes that have examples, the worst first; of many, only the worst."""
    found = [known for known in report.get("classes", []) if known["examples"]]
    found.sort(key=lambda known: (known["worst_case"] or 0.0, known["clean"]))
    return found if len(report.get("classes", [])) <= MANY_CLASSES else found[:WORST_CLASSES]


def worst_class_text(report: Mapping[str, Any]) -> str:
    """Returns a sentence on the worst class; nothing if there is none."""
    worst = report.get("worst_class")
    if not worst:
        return ""
    text = (
        f"Worst class: {worst['name']}, {percent_text(worst['worst_case'])} "
        f"({interval_text(worst['interval'], '-')}) of {_attacked(worst):,} examples."
    )
    if "worst_tenth" in worst:
        text += f" Mean of the worst tenth of the classes: {percent_text(worst['worst_tenth'])}."
    return text


def _attacked(known: Mapping[str, Any]) -> int:
    """Returns of how many examples of a class a report tells the worst case, or else the shares."""
    attacked = known.get("attacked")  # not in reports of version 0.1
    return int(known["examples"] if attacked is None else attacked)


def few_examples_text(report: Mapping[str, Any]) -> str:
    """Returns a warning if some class has too few examples to tell classes apart."""
    counts = [count for known in report.get("classes", []) if (count := _attacked(known))]
    if not counts or min(counts) >= FEW_EXAMPLES:
        return ""
    return (
        f"Some classes have only {min(counts):,} examples, fewer than {FEW_EXAMPLES}. Their "
        "accuracies are uncertain, and the lowest of them is probably too low. Compare the "
        "intervals, or evaluate more examples."
    )
