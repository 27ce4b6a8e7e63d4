"""The corruptions of a report: their part of the page, the table for the terminal, the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from rlfat_tf.core.types import Array, Report
from rlfat_tf.evaluation.report.html_parts import escaped, fact_list, table
from rlfat_tf.evaluation.report.pictures import SMALL, side_label
from rlfat_tf.evaluation.report.plots import INK, new_figure
from rlfat_tf.evaluation.report.table import interval_text, number_text, percent_text

ABOUT = (
    "Corruptions are what happens to images without an adversary. Severities go from 1 to 5. The "
    "mean is over the 15 corruptions of the benchmark; the four extra ones are for validation and "
    "not in it, and none of them counts for the worst case under attack."
)
ABOUT_MADE = (
    " These images were made here in the manner of the published ones, of which they are no "
    "substitute: their figures cannot be compared with those of CIFAR-10-C or ImageNet-C."
)
ROW, LABEL = 0.52, 1.5  # inches


def about(found: Report) -> str:
    """Returns what a reader must know of the figures."""
    return ABOUT + (ABOUT_MADE if found["kind"].startswith("made here") else "")


def facts(found: Report) -> list[tuple[str, str]]:
    """Returns names and values of what sums the corruptions up, as text."""
    lines = [("images", f"{found['examples']:,}, {found['kind']}")]
    if found["mean_accuracy"] is None:
        lines.append(("mean corruption accuracy", "needs all 15 at the same severities"))
    else:
        of = ", ".join(map(str, found["severities"]))
        lines.append(
            (
                "mean corruption accuracy",
                f"{percent_text(found['mean_accuracy'])} "
                f"({interval_text(found['mean_interval'], '-')}; severity {of})",
            )
        )
    if found["clean_accuracy"] is not None:
        lines.append(("clean accuracy", percent_text(found["clean_accuracy"])))
    if found["mce"] is not None:
        mce, relative = found["mce"]["mce"], found["mce"]["relative_mce"]
        lines.append((f"mCE against {found['mce']['baseline']}", f"{100 * mce:.1f}"))
        if relative is not None:
            lines.append(("relative mCE", f"{100 * relative:.1f}"))
    return lines


def rows(found: Report) -> Iterator[tuple[str, bool, list[str], str]]:
    """Yields name, whether of the benchmark, accuracies by severity and mean, as text."""
    every = severities(found)
    for name, entry in found["by_corruption"].items():
        shown = dict(zip(entry["severities"], entry["accuracy"]))
        cells = [number_text(shown.get(severity), ".1%") for severity in every]
        yield name.replace("_", " "), entry["benchmark"], cells, percent_text(entry["mean"])


def severities(found: Report) -> list[int]:
    """Returns the severities that any corruption has."""
    return sorted({s for entry in found["by_corruption"].values() for s in entry["severities"]})


def html_table(found: Report) -> str:
    """Returns the table of the page: corruptions down, severities across."""
    lines = [
        ("", escaped(name if benchmark else f"{name} (extra)"), *cells, f"<strong>{mean}</strong>")
        for name, benchmark, cells, mean in rows(found)
    ]
    return table(["corruption", *map(str, severities(found)), "mean"], lines)


def html_facts(found: Report) -> str:
    """Returns the list of what sums the corruptions up."""
    return fact_list(dict(facts(found)))


def show(found: Report) -> str:
    """Returns the corruptions for the terminal."""
    lines = [["corruption", *(f"severity {s}" for s in severities(found)), "mean"]]
    for name, benchmark, cells, mean in rows(found):
        lines.append([name if benchmark else f"{name} (extra)", *cells, mean])
    widths = [max(map(len, column)) for column in zip(*lines)]
    shown = [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip()
        for first, *rest in lines
    ]
    return "\n".join(["Corruptions", *(f"{a}: {b}" for a, b in facts(found)), *shown])


def grid(corrupted: Sequence[tuple[str, Array]]) -> Figure:
    """Draws one image under every corruption: a strip of its severities for each.

    Args:
        corrupted: Of each corruption its name, and uint8 images [severities, H, W, C].
    """
    columns = 2 if len(corrupted) > 8 else 1
    down = -(-len(corrupted) // columns)
    most = max(len(some) for _, some in corrupted)
    figure = new_figure(columns * (LABEL + ROW * most), 0.1 + ROW * down)
    panels = figure.subplots(down, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for place, (name, some) in enumerate(corrupted):
        axes = panels[place % down, place // down]
        axes.set_axis_on()
        height, width = some.shape[1:3]
        gap = max(1, width // 16)
        strip = np.full((height, most * (width + gap) - gap, 3), 255, np.uint8)
        for number, image in enumerate(some):
            left = number * (width + gap)
            strip[:, left : left + width] = image
        smooth = "nearest" if max(height, width) < SMALL else "antialiased"
        axes.imshow(strip, interpolation=smooth)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.yaxis.label.set_color(INK)
        side_label(axes, name.replace("_", " "))
    return figure
