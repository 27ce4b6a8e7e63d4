"""Pictures of studies: SVG that is the same to the byte each time, readable at a phone's width."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rlfat_tf.evaluation.over_seeds import Estimate
from rlfat_tf.evaluation.report.plots import COLOURS, FAINT, INK, MARKERS, new_figure

WIDTH = 3.8  # inches, on which 9 points are some 12 pixels of a phone
Line = Sequence[tuple[float, float]]


def svg(figure: Figure) -> str:
    """Returns a figure as SVG, without dates and names that are drawn at random."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "studies", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def curves(recipes: Mapping[str, Sequence[Line]], x: str, y: str) -> Figure:
    """Draws one line for each recipe, the mean over its seeds, and each seed in a faint one.

    Args:
        recipes: By recipe the line of each seed, (x, share) pairs of the same x.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
    """
    figure, axes = _chart()
    for number, (name, lines) in enumerate(recipes.items()):
        style = _style(number)
        if len(lines) > 1:
            for line in lines:
                axes.plot(*zip(*line), color=style["color"], alpha=0.3, linewidth=0.8)
        common = sorted(set.intersection(*({place for place, _ in line} for line in lines)))
        mean = [np.mean([dict(line)[place] for line in lines]) for place in common]
        axes.plot(common, mean, label=name, **style)
    axes.set_xlabel(x, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))  # epochs, or blocks
    _percent(axes, y)
    _legend(axes)
    return figure


def against_minutes(points: Mapping[str, tuple[float, Estimate]]) -> Figure:
    """Draws the accuracy of each recipe against its minutes of training, with intervals.

    Args:
        points: By recipe its minutes and its accuracy.
    """
    figure, axes = _chart(3.9)
    budgets = [minutes for minutes, _ in points.values()]
    for number, (name, (minutes, found)) in enumerate(points.items()):
        # Recipes of the same budget stand side by side.
        beside = budgets[:number].count(minutes) - (budgets.count(minutes) - 1) / 2
        place = minutes + beside * max(budgets) / 40
        reach = [[found.mean - found.low], [found.high - found.mean]]
        fill = "white" if number >= len(COLOURS) else _style(number)["color"]
        style = {**_style(number), "linestyle": "none", "markerfacecolor": fill}
        axes.errorbar(place, found.mean, yerr=reach, label=name, capsize=2, **style)
    axes.set_xticks(sorted(set(budgets)))
    axes.set_xlim(0, 1.25 * max(budgets))
    axes.set_xlabel("minutes of training", fontsize=9)
    _percent(axes, "accuracy under AutoAttack")
    _legend(axes)
    return figure


def salience(images: Any, maps: Mapping[str, Any]) -> Figure:
    """Draws images and, below, each network's salience map of them.

    Args:
        images: Numbers in [0, 1], [n, H, W, C].
        maps: By network [n, H, W] in [0, 1].
    """
    rows = {"image": images, **maps}
    figure = new_figure(WIDTH, WIDTH * len(rows) / len(images) + 0.1)
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for line, (name, pictures) in zip(grid, rows.items()):
        for axes, picture in zip(line, pictures):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=8)
    return figure


def _chart(height: float = 3.3) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=9, color=FAINT, labelcolor=INK)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _style(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.6,
        "linestyle": "-" if number < len(COLOURS) else "--",
    }


def _percent(axes: Axes, label: str) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.set_ylabel(label, fontsize=9)
    axes.set_ylim(bottom=0)


def _legend(axes: Axes) -> None:
    """Puts the legend below the chart, which keeps the whole width."""
    place: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
    axes.legend(frameon=False, fontsize=9, ncols=2, **place)
