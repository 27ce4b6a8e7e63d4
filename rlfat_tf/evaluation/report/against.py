"""How a report tells of its comparison with another one."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from rlfat_tf.core.types import Report
from rlfat_tf.evaluation.report.html_parts import escaped, section, table
from rlfat_tf.evaluation.report.plots import COLOURS, FAINT, INK, WIDTH, chart, new_figure, plain

ABOUT_AGAINST = (
    "The accuracy of this classifier minus that of the other one, on the same images under the "
    "same attacks. The p-value is that of McNemar's exact test, for each line by itself; it is "
    "computed from the images that exactly one of the two classifies correctly. For a targeted "
    "attack the accuracy is the share of images that are not predicted as their target. For "
    "corruptions it is the mean corruption accuracy, for which an image may count in part."
)


def show_comparison(found: Report) -> str:
    """Returns what :func:`comparison.against` found, as text for the terminal."""
    lines = [f"against {found['report']}, in points:"]
    for name, one in found["by"].items():
        low, high = (f"{100 * end:+.1f}" for end in one["interval"])
        lines.append(
            f"  {measured_text(name, one):<18}{100 * one['difference']:>+6.1f}  ({low} to {high})  "
            f"only this {_count(one['only_a'])}, only that {_count(one['only_b'])} of "
            f"{one['examples']:,}, p {one['p_value']:.3g}"
        )
    return "\n".join([*lines, f"  {plan_text(found)}", *(f"  {c}" for c in found["caveats"])])


def plan_text(found: Report) -> str:
    """Returns the sentence on how many examples would show a difference of one point."""
    last = [one for one in found["by"].values() if one["examples_for_one_point"]][-1]
    return (
        "To see a difference of 1 point you need about "
        f"{last['examples_for_one_point']:,} examples (here {last['examples']:,})."
    )


def measured_text(name: str, comparison: Report) -> str:
    """Returns how people call what a comparison is of: an attack by its name."""
    if comparison.get("targeted"):
        return f"{name} (targeted)"
    return "worst case" if name == "worst_case" else name


def _count(value: int | None) -> str:
    """Returns a number of examples; a dash where they are right in part."""
    return "\N{EN DASH}" if value is None else f"{value:,}"


def against_section(report: Report, figure: str) -> str:
    """Returns the section of the page; nothing if the report is compared with none.

    Args:
        report: With ``against`` or without.
        figure: The chart as HTML, or nothing.
    """
    found = report.get("against")
    rows = () if found is None else _parts(found)
    model = "another report" if found is None else escaped(found["model"])
    return section(f"Compared with {model}", ABOUT_AGAINST, figure, *rows)


def _parts(found: Report) -> Iterator[str]:
    """Yields the table of differences from another report, and what they do not tell."""
    rows = [
        (
            "worst" if name == "worst_case" else "",
            escaped(measured_text(name, one)),
            f"{100 * one['difference']:+.1f}",
            " to ".join(f"{100 * end:+.1f}" for end in one["interval"]),
            _count(one["only_a"]),
            _count(one["only_b"]),
            f"{one['examples']:,}",
            f"{one['p_value']:.3g}",
        )
        for name, one in found["by"].items()
    ]
    head = ["", "points", "95% interval", "only this", "only the other", "examples", "p"]
    yield table(head, rows)
    for sentence in (plan_text(found), *found["caveats"]):
        yield f"<p>{escaped(sentence)}</p>"


def difference_bars(against: Report) -> Figure:
    """Draws the differences of two reports as bars from zero.

    Args:
        against: Of a report, ``{"by": {name: {"difference", "interval"}}}``.

    Returns:
        The figure; whiskers are the intervals.
    """
    found = against["by"]
    figure = new_figure(WIDTH, 0.9 + 0.32 * len(found))
    axes = chart(figure.add_subplot(), grid="x")
    for place, one in enumerate(found.values()):
        points, low, high = (100 * value for value in (one["difference"], *one["interval"]))
        sure = low > 0 or high < 0
        colour = COLOURS[2] if points > 0 else COLOURS[1]
        axes.barh(place, points, height=0.66, color=colour if sure else FAINT, alpha=0.85)
        whisker = [[max(points - low, 0.0)], [max(high - points, 0.0)]]
        axes.errorbar(points, place, xerr=whisker, color=INK, capsize=3, linewidth=1.2)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(found)), [plain(measured_text(*item)) for item in found.items()])
    axes.set_ylim(len(found) - 0.5, -0.5)
    reach = 1.1 * max(0.5, *(100 * abs(end) for one in found.values() for end in one["interval"]))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("points more (right) or fewer (left)")
    return figure
