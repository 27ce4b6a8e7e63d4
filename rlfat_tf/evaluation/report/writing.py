"""The report of an evaluation: ``report.json``, ``report.html``, a table for the terminal."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.core.errors import given
from rlfat_tf.core.types import Report
from rlfat_tf.data.corruptions import parse
from rlfat_tf.evaluation.report import corruptions
from rlfat_tf.evaluation.report.page import page
from rlfat_tf.evaluation.report.plots import png_bytes
from rlfat_tf.evaluation.report.table import (
    few_examples_text,
    interval_text,
    number_text,
    percent_text,
    radius_text,
    table_rows,
    targeted_rows,
    worst_class_text,
)
from rlfat_tf.storage.files import replacing, write_text
from rlfat_tf.storage.reading import Damaged, read_json

# Of a configuration: what changes no figure, and where the model is.
PRESENTATION = ("data_dir", "download", "memory", "cache_dir", "batch_size", "report_dir",
                "corruption_baseline", "overwrite", "checks", "pictures", "compare", "against",
                "brightness", "gamma")  # fmt: skip
PATHS = ("workdir", "model_path")
# What the configuration of the attacks says too.
OF_ATTACKS = ("steps", "step_size", "restarts", "loss", "budget", "eot", "autoattack",
              "autoattack_parts", "source_model", "targeted", "pixels")  # fmt: skip
# A list of numbers, such as a row of a matrix, over several lines. No text of JSON holds a line's
# end, so it is none of these.
LINES_OF_NUMBERS = re.compile(r"\[\n[-+.\deE,\s]*\]")
PNG = b"\x89PNG\r\n\x1a\n"


def write_report(
    report: Report, folder: str | Path, figures: Mapping[str, Any] | None = None
) -> Path:
    """Writes ``figures/<name>.png``, ``report.html`` and ``report.json``, each in one step.

    Args:
        report: As ``docs/evaluation.md`` describes it. Numbers that are not finite become null.
        folder: Where to; made if missing.
        figures: By name, a :class:`matplotlib.figure.Figure` or the bytes of a PNG file; those
            of ``page.CAPTIONS`` have their places in the page, others come last.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: If a figure's name cannot be a file's, or its bytes are no PNG.
    """
    folder, report = Path(folder), _strict(report)
    pictures = {}
    for name, figure in (figures or {}).items():
        picture = figure if isinstance(figure, bytes) else png_bytes(figure)
        if not re.fullmatch(r"[\w-]+", name) or not picture.startswith(PNG):
            raise ValueError(
                "Expected figures that are PNG files, by names of letters, digits, _ and -; "
                f"received {name!r}: {picture[:8]!r}."
            )
        pictures[name] = picture
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    text = LINES_OF_NUMBERS.sub(lambda found: " ".join(found[0].split()), text)
    html = page(report, pictures)
    for name, picture in pictures.items():
        with replacing(folder / "figures" / f"{name}.png") as written:
            written.write_bytes(picture)
    write_text(folder / "report.html", html)
    write_text(folder / "report.json", text + "\n")
    return folder / "report.html"


def refuse_to_replace(
    folder: str | Path, config: Report, attacks: Mapping[str, object] | None = None
) -> None:
    """Refuses to write over the report of another evaluation, whose figures would be lost.

    The same evaluation again, or with further attacks, may.

    Args:
        folder: Where a report may be.
        config: The configuration of the evaluation that is to be written there, completed.
        attacks: Its attacks at the first epsilon, by name: where all attacks of the report are
            among them, their settings are the same, whatever further ones are set to.

    Raises:
        ValueError: If there is a report whose configuration is another one.
    """
    path = Path(folder) / "report.json"
    try:
        report = read_json(path)
        there = report.get("config")
    except (FileNotFoundError, Damaged):
        return
    if not isinstance(there, dict):
        return  # none of the command's
    there = {"test_subset": "first", **there}  # what it was before there was a choice
    ignored = PRESENTATION if config["report_dir"] is not None else (*PRESENTATION, *PATHS)
    if attacks is not None and _attacks_of(report) <= {(n, str(a)) for n, a in attacks.items()}:
        ignored = (*ignored, *OF_ATTACKS)
    lost = [
        f"{name} is {given(there[name])} there and {given(here)} here"
        for name, here in _strict(config).items()
        if name in there
        and name not in ignored
        and _loses(name, there[name], here)
        and not (name == "corruption_dir" and not there.get("corruptions"))
    ]
    if lost:
        raise ValueError(
            f"{path} is the report of another evaluation: {', '.join(lost)}. Give this one a "
            "folder of its own by --report_dir, or --overwrite that report."
        )


def _attacks_of(report: Report) -> set[tuple[str, str]]:
    """Returns the attacks of a report in words."""
    found = {**(report.get("attacks") or {}), **(report.get("targeted") or {})}
    return {(name, str(result.get("attack"))) for name, result in found.items()}


def _loses(name: str, there: Any, here: Any) -> bool:
    """Tells whether figures of a setting there are not among those of the setting here."""
    if name == "attacks":
        now = {part.strip() for part in here.split(",")}
        return not {part.strip() for part in str(there).split(",")} <= {"", "clean", *now}
    if name == "corruptions":
        asked, made = (set(parse(text) if text else ()) for text in (here, there))
        return not made <= asked
    if name in PATHS and there is not None and here is not None:
        return os.path.realpath(str(there).replace("\0", "")) != os.path.realpath(here)
    return bool(there != here and (name, there) != ("inference", None))


def show(report: Report) -> str:
    """Returns the report for the terminal: a table, and the warnings below it."""
    lines = [("", "accuracy", "95% interval", "seconds")]
    for row in table_rows(report):
        name = f"  {row.name}" if row.kind == "part" else row.name
        if row.kind in ("attack", "unbounded") and row.examples != report["examples"]:
            name += f" (first {row.examples})"
        ends = interval_text(row.interval, "-")
        lines.append((name, percent_text(row.accuracy), ends, number_text(row.seconds, ",.1f")))
    for point in report.get("curve", [])[1:]:
        name = f"worst case, epsilon {radius_text(point['epsilon'], report['norm'])}"
        ends = interval_text(point["worst_case_interval"], "-")
        lines.append((name, percent_text(point["worst_case_accuracy"]), ends, ""))
    table = _aligned(lines)
    aimed = list(targeted_rows(report))
    if aimed:
        head = ("towards a class", "reached", "95% interval", "examples", "seconds")
        texts = [(name, *figures[:3], figures[-1]) for name, *figures in aimed]
        table += ["", *_aligned([head, *texts])]
    data = f" of {report['dataset']}" if "dataset" in report else ""
    norm = report["norm"] or "several norms"
    title = (
        f"{report['model']}: {report['examples']} examples{data}, {norm}, "
        f"epsilon {radius_text(report['epsilon'], report['norm'])}, seed {report['seed']}"
    )
    classes = [text for text in (worst_class_text(report), few_examples_text(report)) if text]
    found = [f"warning: {w['message']} See {w['page']}." for w in report["warnings"]]
    extra = ["", corruptions.show(report["corruptions"])] if "corruptions" in report else []
    return "\n".join([title, *table, *classes, *found, *extra])


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Returns lines of a table, of which all columns but the first are set to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip()
        for first, *rest in lines
    ]


def _strict(value: Any) -> Any:
    """Returns what strict JSON can hold: no NaN, no tuple, nothing of NumPy."""
    if isinstance(value, Mapping):
        return {str(name): _strict(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return _strict(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
