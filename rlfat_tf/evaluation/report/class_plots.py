"""Charts of the classes: accuracy of each, and which is taken for which."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from rlfat_tf.core.types import Report
from rlfat_tf.evaluation.report.pictures import shortened
from rlfat_tf.evaluation.report.plots import COLOURS, INK, WIDTH, chart, new_figure, percent_axis
from rlfat_tf.evaluation.report.table import MANY_CLASSES, worst_classes

NUMBERED = 12  # classes, up to which there is room for numbers in a heat map
ROOM = 24  # letters of a name beside a chart


def class_bars(report: Report) -> Figure:
    """Draws the accuracy of every class, the worst on top: clean (pale), and in the worst case.

    Args:
        report: With ``classes``, see ``docs/evaluation.md``; of many, the worst are shown.

    Returns:
        The figure; whiskers are the intervals, which hold for all classes together.
    """
    classes = worst_classes(report)
    figure = new_figure(WIDTH, 0.9 + 0.27 * len(classes))
    axes = chart(figure.add_subplot(), grid="x")
    for place, known in enumerate(classes):
        axes.barh(place, known["clean"], height=0.7, color=COLOURS[2], alpha=0.35)
        if known["worst_case"] is None:
            continue
        share, (low, high) = known["worst_case"], known["interval"]
        axes.barh(place, share, height=0.7, color=COLOURS[1], alpha=0.9)
        whisker = [[max(share - low, 0.0)], [max(high - share, 0.0)]]
        axes.errorbar(share, place, xerr=whisker, color=INK, capsize=2.5, linewidth=1.1)
    axes.set_yticks(range(len(classes)), [shortened(known["name"], ROOM) for known in classes])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    percent_axis(axes.xaxis, "accuracy")
    return figure


def confusion_map(report: Report) -> Figure | None:
    """Draws which class is taken for which: in the worst case, or clean if there is none.

    Args:
        report: With ``classes`` and ``confusion``.

    Returns:
        The figure, one row for each class that has examples; the shares of a row add up to 1. None
        if there are too many classes to see anything.
    """
    matrix = report["confusion"]["worst_case"] or report["confusion"]["clean"]
    if matrix is None or len(matrix) > MANY_CLASSES:
        return None
    counts, classes = np.array(matrix, np.float64), report["classes"]
    rows = [known["label"] for known in classes if known["examples"]]
    shares = counts[rows] / np.array([[classes[row]["examples"]] for row in rows])
    names = [shortened(known["name"], ROOM) for known in classes]
    figure = new_figure(WIDTH, 0.75 + 3.3 * len(rows) / len(names) + 0.06 * max(map(len, names)))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0.0, 1.0), aspect="auto")
    size = 8.5 if len(names) <= NUMBERED else 6
    turned = 90 if max(map(len, names)) > 2 else 0
    axes.set_xticks(range(len(names)), names, rotation=turned, fontsize=size, color=INK)
    axes.set_yticks(range(len(rows)), [names[row] for row in rows], fontsize=size, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("class of the image", fontsize=9)
    if len(names) <= NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                colour = "white" if share > 0.4 else INK
                text = f"{100 * share:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    return figure
