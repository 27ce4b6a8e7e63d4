"""Charts of an evaluation: robustness curves, bars of attacks, sensitivity, shuffled accuracy.

    plots.save_png(plots.attack_bars(report), "attacks.png")

Every function returns a ``matplotlib.figure.Figure`` of its own. Nothing here touches pyplot, its
list of open figures, the global settings or a display, so it works in any process and thread.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from rlfat_tf.core.types import Report
from rlfat_tf.evaluation.report.table import attack_text, bounded_attacks, is_bounded
from rlfat_tf.storage.files import replacing

DPI = 150
LINE, COLUMNS = 0.2, 2  # of a legend: inches of a line, columns
WIDTH = 4.2  # inches of a chart: a telephone shows it without making its letters small
INK, FAINT = "#222222", "#9A9A9A"
# Okabe and Ito's colours, which colour-blind people can tell apart; markers for print in gray.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NORMS = {"linf": "$L_\\infty$", "l2": "$L_2$"}
TRANSFORMS = {"brightness": "brightness shift", "gamma": "gamma exponent"}
Accuracies = Mapping[Union[int, str], float]


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """Makes a figure of that many inches that arranges its parts itself."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Returns the figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def save_png(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes the figure to a PNG file in one step; missing folders are made."""
    with replacing(Path(path)) as written:
        written.write_bytes(png_bytes(figure))


def robustness_curve(
    curve: Sequence[Report],
    *,
    clean_accuracy: float | None = None,
    clean_interval: Sequence[float] | None = None,
    norm: str = "linf",
) -> Figure:
    """Draws robust accuracy by epsilon: a line for every bounded attack, the worst case in bold.

    Args:
        curve: For every radius ``{"epsilon", "attacks": {name: {"robust_accuracy", "interval"}},
            "worst_case_accuracy", "worst_case_interval"}``; epsilon in units of pixels in [0, 1].
        clean_accuracy: Where all lines start, at epsilon 0; None: they start at the first radius.
        clean_interval: Its interval.
        norm: ``"linf"`` or ``"l2"``, for the label.

    Returns:
        The figure; bands are the intervals.
    """
    points = sorted(curve, key=lambda point: point["epsilon"])
    names = bounded_attacks(points)
    figure = new_figure(WIDTH, 3.2 + LINE * -(-(len(names) + 1) // COLUMNS))
    axes = chart(figure.add_subplot())

    def line(found: list[tuple[float, float, Sequence[float]]], **style: Any) -> None:
        if clean_accuracy is not None:
            interval = clean_interval or (clean_accuracy, clean_accuracy)
            found = [(0.0, clean_accuracy, interval), *found]
        radii, shares, intervals = zip(*found)
        low, high = zip(*intervals)
        axes.fill_between(radii, low, high, color=style["color"], alpha=0.1, linewidth=0)
        axes.plot(radii, shares, clip_on=False, **style)

    worst = [
        (p["epsilon"], p["worst_case_accuracy"], p["worst_case_interval"])
        for p in points
        if p["worst_case_accuracy"] is not None
    ]
    if worst:
        line(worst, label="worst case", color=INK, linewidth=3.2, marker="o", markersize=3)
    for number, name in enumerate(names):
        found = [
            (p["epsilon"], p["attacks"][name]["robust_accuracy"], p["attacks"][name]["interval"])
            for p in points
            if name in p["attacks"]
        ]
        line(found, label=plain(name), **_series(number))
    radii = [point["epsilon"] for point in points]
    axes.set_xticks(*epsilon_ticks(radii if clean_accuracy is None else [0.0, *radii]))
    axes.set_xlabel(f"epsilon ({NORMS.get(norm, norm)}, pixels in [0, 1])")
    percent_axis(axes.yaxis, "robust accuracy")
    axes.set_ylim(0, 1)
    _legend(axes, axes.get_lines())
    return figure


def attack_bars(report: Report) -> Figure:
    """Draws clean accuracy, accuracy under every attack, and under the worst of them, as bars.

    Args:
        report: ``{"clean_accuracy", "clean_interval", "attacks": {name: {"robust_accuracy",
            "interval"}}, "worst_case_accuracy", "worst_case_interval"}``.

    Returns:
        The figure; whiskers are the intervals. Attacks that are not bounded by epsilon are grey.
    """
    rows = [
        ("clean", report["clean_accuracy"], report["clean_interval"], COLOURS[2]),
        *(
            (
                attack_text(name, result),
                result["robust_accuracy"],
                result["interval"],
                COLOURS[0] if is_bounded(result) else FAINT,
            )
            for name, result in report["attacks"].items()
        ),
        ("worst case", report["worst_case_accuracy"], report["worst_case_interval"], COLOURS[1]),
    ]
    rows = [row for row in rows if row[1] is not None]  # no bounded attack, no worst case
    figure = new_figure(WIDTH, 0.8 + 0.32 * len(rows))
    axes = chart(figure.add_subplot(), grid="x")
    for place, (_, share, (low, high), colour) in enumerate(rows):
        axes.barh(place, share, height=0.66, color=colour, alpha=0.85)
        whisker = [[max(share - low, 0.0)], [max(high - share, 0.0)]]
        axes.errorbar(share, place, xerr=whisker, color=INK, capsize=3, linewidth=1.2)
        axes.text(max(share, high) + 0.025, place, f"{share:.1%}", va="center_baseline", fontsize=9)
    axes.set_yticks(range(len(rows)), [plain(name) for name, *_ in rows])
    axes.get_yticklabels()[-1].set_fontweight("bold" if rows[-1][0] == "worst case" else "normal")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.16)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    percent_axis(axes.xaxis, "accuracy")
    return figure


def sensitivity_lines(
    results: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
) -> Figure:
    """Draws loss sensitivity by the magnitude of each transformation, in a panel for each.

    Args:
        results: By transformation (``"brightness"``, ``"gamma"``) and by series (clean and
            adversarial images, or several models): the list that
            :func:`rlfat_tf.evaluation.sensitivity.loss_sensitivity` returns.

    Returns:
        The figure.
    """
    names = list(dict.fromkeys(name for series in results.values() for name in series))
    figure = new_figure(WIDTH, 2.2 * len(results) + LINE * -(-len(names) // COLUMNS))
    panels = figure.subplots(len(results), 1, sharey=True, squeeze=False)[:, 0]
    lines = {}
    for axes, (transform, series) in zip(panels, results.items()):
        chart(axes)
        for name, found in series.items():
            points = sorted((entry["magnitude"], entry["value"]) for entry in found)
            style = _series(names.index(name))
            (lines[name],) = axes.plot(*zip(*points), label=plain(name), **style)
        if transform == "gamma":  # 1/2 and 2 are equally far from 1, where nothing changes
            axes.set_xscale("log", base=2)
            axes.xaxis.set_minor_locator(NullLocator())
        magnitudes = sorted({e["magnitude"] for found in series.values() for e in found})
        axes.set_xticks(magnitudes, [f"{m:g}".replace("-", "\u2212") for m in magnitudes])
        axes.set_xlabel(TRANSFORMS.get(transform, transform))
        axes.set_ylabel("loss sensitivity  $\\|\\nabla L\\|_2$")
    entries = [e for series in results.values() for found in series.values() for e in found]
    known = [entry["value"] for entry in entries if entry["value"] is not None]
    panels[0].set_ylim(0, 1.06 * max(known, default=0.0) or 1.0)
    _legend(panels[0], list(lines.values()))
    return figure


def shuffle_lines(accuracies: Mapping[str, Accuracies], *, classes: int | None = None) -> Figure:
    """Draws the accuracy on block-shuffled images by the number of blocks, a line for each model.

    Args:
        accuracies: By model, what :func:`rlfat_tf.evaluation.shuffled.shuffled_accuracy` returns;
            numbers of blocks may be text, as JSON has them.
        classes: Number of classes, for a line at chance.

    Returns:
        The figure.
    """
    figure = new_figure(WIDTH, 2.8 + LINE * -(-(len(accuracies) + 1) // COLUMNS))
    axes = chart(figure.add_subplot())
    counts = sorted({int(count) for found in accuracies.values() for count in found})
    for number, (name, found) in enumerate(accuracies.items()):
        points = sorted((int(count), share) for count, share in found.items())
        axes.plot(*zip(*points), label=plain(name), **_series(number))
    if classes is not None:
        axes.axhline(1 / classes, color=FAINT, linestyle="--", linewidth=1.2, label="chance")
    axes.set_xticks(counts, ["1\n(whole)" if count == 1 else str(count) for count in counts])
    axes.set_xlabel("blocks along each axis")
    percent_axis(axes.yaxis, "accuracy on shuffled images")
    axes.set_ylim(0, 1)
    _legend(axes, axes.get_lines())
    return figure


def epsilon_ticks(radii: Sequence[float]) -> tuple[list[float], list[str]]:
    """Returns places and labels of an epsilon axis: n/255 where all radii are of that kind.

    Labels that would crowd each other are left empty, from the right.
    """
    whole = all(abs(255 * radius - round(255 * radius)) < 1e-3 for radius in radii)
    room = 0.085 * (max(radii) - min(radii))
    places, labels, last = sorted(set(radii), reverse=True), [], float("inf")
    for place in places:
        text = f"{round(255 * place)}/255" if whole and place else f"{place:.3g}"
        labels.append(text if last - place >= room else "")
        last = place if labels[-1] else last
    return places, labels


def _series(number: int) -> dict[str, Any]:
    """Returns how the line of that number looks."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": "-" if number < len(COLOURS) else "--",
        "linewidth": 1.6,
        "markersize": 5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }


def chart(axes: Axes, grid: Any = "y") -> Axes:
    """Gives a chart its plain look: two spines, a faint grid, small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=9, color=FAINT, labelcolor=INK)
    axes.grid(axis=grid, color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def percent_axis(axis: Axis, label: str) -> None:
    """Writes an axis of shares in per cent."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.set_label_text(label)


def plain(text: str) -> str:
    """Returns a text of a user's as it is drawn: what is between two dollars is no mathematics."""
    return text.replace("$", r"\$")


def _legend(axes: Axes, lines: Sequence[Any]) -> None:
    """Puts the legend above the chart, where it hides nothing."""
    place: Any = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncol": COLUMNS}
    axes.legend(handles=list(lines), frameon=False, fontsize=9, **place)
