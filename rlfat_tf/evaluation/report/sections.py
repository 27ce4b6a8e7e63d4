"""Sections of the page with tables of their own: what is judged, and the classes."""

from __future__ import annotations

from rlfat_tf.core.types import Report
from rlfat_tf.evaluation.report.html_parts import escaped, fact_list, section, table
from rlfat_tf.evaluation.report.table import (
    MANY_CLASSES,
    attack_text,
    few_examples_text,
    interval_text,
    percent_text,
    worst_class_text,
    worst_classes,
)

ABOUT_CLASSES = (
    "Shares are of the test images of a class. In the worst case an image is taken for the class "
    "that is predicted under the first bounded attack that broke it; what is wrong on clean images "
    "keeps its prediction. The worst class is chosen on these same images: to compare two models, "
    "compare the same class, or the intervals."
)


def judged_section(facts: Report) -> str:
    """Returns what is judged: a file, a network, how it was trained."""
    shown = {name.replace("_", " "): value for name, value in facts.items()}
    if "sha256" in facts:
        shown["sha256"] = f"{facts['sha256'][:16]}\N{HORIZONTAL ELLIPSIS}"
    if "parameters" in facts:
        shown["parameters"] = f"{facts['parameters']:,}"
    return section("Model", "", fact_list(shown)) if shown else ""


def class_section(report: Report, bars: str, heat_map: str) -> str:
    """Returns the accuracy of the classes and which is taken for which, around two figures."""
    sentences = (f"<p>{escaped(text)}</p>" for text in _sentences(report))
    parts = (bars, _classes(report), heat_map, _confusions(report))
    return section("Classes", ABOUT_CLASSES, *sentences, *parts)


def _sentences(report: Report) -> list[str]:
    """Returns the sentences on the worst class and on how few examples there are."""
    many = len(report.get("classes", [])) > MANY_CLASSES
    shown = f"Of {len(report['classes'])} classes the worst are shown." if many else ""
    return [s for s in (worst_class_text(report), few_examples_text(report), shown) if s]


def _classes(report: Report) -> str:
    rows = [
        (
            "",
            escaped(known["name"]),
            f"<strong>{percent_text(known['worst_case'])}</strong>",
            interval_text(known["interval"] or ()),
            f"{known['examples']:,}",
            percent_text(known["clean"]),
            *(percent_text(share) for share in known["attacks"].values()),
        )
        for known in worst_classes(report)
    ]
    head = ["class", "worst case", "95% interval", "examples", "clean"]
    return table(
        [*head, *(escaped(attack_text(*item)) for item in report["attacks"].items())], rows
    )


def _confusions(report: Report) -> str:
    """The most frequent confusions, where there are too many classes for a picture."""
    names = [known["name"] for known in report.get("classes", [])]
    if len(names) <= MANY_CLASSES:
        return ""
    rows = [
        ("", escaped(names[found["label"]]), escaped(names[found["prediction"]]),
         f"{found['examples']:,}")
        for found in report["confusion"]["most_frequent"]
    ]  # fmt: skip
    return table(["class", "taken for", "examples"], rows)
