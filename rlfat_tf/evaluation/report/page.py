"""The page of a report: one HTML file that holds all that it shows.

It loads nothing and runs nothing (its own policy forbids both), so it can be mailed, archived and
printed. What a user supplies, such as names and paths, is escaped.
"""

from __future__ import annotations

import base64
import html
import re
import string
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rlfat_tf.core.types import Report
from rlfat_tf.evaluation.report.plots import DPI
from rlfat_tf.evaluation.report.table import (
    interval_text,
    number_text,
    percent_text,
    radius_text,
    table_rows,
)

NORMS = {"linf": "L<sub>∞</sub>", "l2": "L<sub>2</sub>"}
# Of the figures that have their place in the page.
CAPTIONS = {
    "attacks": "Accuracy on clean images, under every attack, and in the worst case. Whiskers: 95% "
    "intervals.",
    "curve": "Robust accuracy by the radius of the ball.",
    "adversarial": "Images, what was added to them (enlarged), and what came of it. Above each: "
    "what the model says.",
    "salience": "Salience maps (SmoothGrad): how much each pixel moves the true class's logit.",
    "block_shuffle": "Random Block Shuffle: an image, its horizontal strips shuffled, then its "
    "vertical strips too.",
    "shuffled": "Accuracy on shuffled test images.",
    "sensitivity": "Loss sensitivity by the strength of the change.",
}
OF_ONE_ATTACK = ("adversarial", "sensitivity")
# The folders of an absolute path: whom a page is sent to has others.
FOLDERS = re.compile(r"(?<![\w.:/<])/(?:[^\s/,=:<>'\"]+/)+")
ABOUT_ATTACKS = (
    "An example is robust under an attack if it is correctly classified before and after it; in "
    "the worst case, if it is robust under every attack that keeps within ε. The parts of an "
    "attack "
    "run one after the other, each on what those before it have left, and their accuracy is what "
    "is left then. Median L<sub>2</sub>: of the perturbations that broke an example."
)
ABOUT_INFERENCE = (
    "Non-adaptive attacks see the classifier alone, and what they make is transformed afterwards; "
    "adaptive ones attack through the transform. Only the adaptive figures say what withstands an "
    "adversary who knows of it."
)
ABOUT_FEATURES = (
    "Shuffling destroys the structure of the whole image and keeps what is within the blocks: the "
    "accuracy that is left is owed to local features."
)
ABOUT_SENSITIVITY = (
    "Mean length of the loss's gradient at images that were made brighter or darker: the less, the "
    "smoother the classifier around images that it was not trained on."
)
STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5c6670; --line: #d9dee3; --page: #fff;
  --card: #f5f7f9; --clean: #00785a; --worst: #c43e00; --warn: #fff6e0; --link: #0060a0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8eb; --soft: #a0aab3; --line: #39424a;
  --page: #14181c; --card: #1e2429; --clean: #35c79c; --worst: #ff8a4c; --warn: #33290f;
  --link: #7cc4f2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; overflow-wrap: anywhere;
  color: var(--ink); background: var(--page);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, Helvetica, sans-serif; }
a { color: var(--link); } sub { line-height: 0; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; } h3 { margin: 1.5rem 0 0; font-size: 1rem; }
h2 { margin: 2.5rem 0 .5rem; padding-top: .8rem; border-top: 1px solid var(--line);
  font-size: 1.25rem; }
p, figcaption { margin: .4rem 0; max-width: 46rem; color: var(--soft); font-size: .92rem;
  text-wrap: pretty; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: .8rem;
  margin: 1.5rem 0 0; }
.cards div { padding: .8rem 1rem; border-radius: .5rem; border-top: 3px solid var(--line);
  background: var(--card); }
.cards dt, .cards small { display: block; color: var(--soft); font-size: .85rem; font-weight: 400; }
.cards dd { margin: 0; font-size: 1.75rem; font-weight: 600; line-height: 1.4; }
.cards .clean { border-color: var(--clean); } .cards .clean dd { color: var(--clean); }
.cards .worst { border-color: var(--worst); } .cards .worst dd { color: var(--worst); }
.warnings { margin: 1.5rem 0 0; padding: .7rem 1rem .9rem; border-left: 4px solid #e69f00;
  border-radius: .25rem; background: var(--warn); }
.warnings h2 { margin: 0; padding: 0; border: 0; font-size: 1rem; }
.warnings ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.wide { display: inline-block; max-width: 100%; margin: .8rem 2.5rem .8rem 0; overflow-x: auto;
  vertical-align: top; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 0 .35rem 1.4rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: baseline; white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; } tbody th { font-weight: 600; }
thead th { border-bottom-width: 2px; color: var(--soft); font-weight: 500; }
tr.part th { padding-left: 1.2rem; font-weight: 400; } tr.worst > * { font-weight: 700; }
.text td { text-align: left; white-space: normal; } .text th:last-child { text-align: left; }
code, pre { font: .8rem/1.45 ui-monospace, Menlo, Consolas, monospace; }
pre { padding: .7rem 1rem; border-radius: .4rem; background: var(--card); white-space: pre-wrap; }
figure { margin: 1.2rem 0; }
figure img { display: block; max-width: 100%; height: auto; padding: .5rem; border-radius: .4rem;
  background: #fff; }
.facts { margin: .8rem 0; columns: 20rem; column-gap: 2.5rem; font-size: .9rem; }
.facts div { display: flex; gap: 1rem; justify-content: space-between; padding: .15rem 0;
  border-bottom: 1px solid var(--line); break-inside: avoid; }
.facts dt { color: var(--soft); white-space: nowrap; } .facts dd { margin: 0; text-align: right; }
@media (max-width: 40rem) { th, td { padding-left: .9rem; } .wide { margin-right: 0; } }
@media print { html { font-size: 11px; } body { max-width: none; padding: 0; }
  .wide { overflow: visible; }
  figure, tr, .cards, .warnings { break-inside: avoid; } h2, h3, p { break-after: avoid; } }
"""
PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Robustness of $model</title>
<style>$style</style>
</head>
<body>
<header>
<p>Adversarial robustness</p>
<h1>$model</h1>
$cards
</header>
<main>
$main
</main>
</body>
</html>
""")


def page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """Returns the whole page."""
    radius = radius_text(report["epsilon"], report["norm"])
    at = "" if report["epsilon"] is None else f" at ε = {radius}"
    figure = {name: _figure(name, picture, report) for name, picture in pictures.items()}
    placed = {name: figure.pop(name, "") for name in CAPTIONS}
    sensitivity = report.get("sensitivity", {}).items()
    sections = [
        _warnings(report),
        _section(f"Attacks{at}", ABOUT_ATTACKS, placed["attacks"], *_attacks(report)),
        _section("Inference transform", ABOUT_INFERENCE, _inference(report.get("inference", {}))),
        _section("Several radii", "", placed["curve"], _curve(report)),
        _section("Adversarial examples", "", placed["adversarial"]),
        _section("What the model looks at", "", placed["salience"]),
        _section(
            "Local features",
            ABOUT_FEATURES,
            placed["block_shuffle"],
            placed["shuffled"],
            _shuffled(report.get("shuffled", {})),
        ),
        _section(
            "Loss sensitivity",
            ABOUT_SENSITIVITY,
            placed["sensitivity"],
            *(_sensitivity(name, series) for name, series in sensitivity),
        ),
        _section("Further figures", "", *figure.values()),
        _section("How it was made", "", *_origin(report)),
    ]
    return PAGE.substitute(
        style=STYLE,
        model=_text(report["model"]),
        cards=_cards(report, radius),
        main="\n".join(filter(None, sections)),
    )


def _cards(report: Report, radius: str) -> str:
    """Returns the headline."""
    clean, worst = report["clean_interval"], report["worst_case_interval"]
    dash = "\N{EN DASH}"
    norm = NORMS.get(report["norm"], "Several norms,")
    cards = [
        ("clean", "Clean accuracy", percent_text(report["clean_accuracy"]), interval_text(clean)),
        (
            "worst",
            "Worst-case accuracy",
            percent_text(report["worst_case_accuracy"]) or dash,
            interval_text(worst),
        ),
        ("", "Threat model", f"{norm} {radius}", "untargeted, pixels in [0, 1]"),
        ("", "Examples", f"{report['examples']:,}", _text(report.get("dataset", ""))),
    ]
    filled = [
        f'<div class="{kind}"><dt>{name}</dt><dd>{value}<small>'
        f"{'95% interval ' if kind and value != dash else ''}{note}</small></dd></div>"
        for kind, name, value, note in cards
    ]
    return "\n".join(['<dl class="cards">', *filled, "</dl>"])


def _warnings(report: Report) -> str:
    if not report["warnings"]:
        return ""
    lines = ["<h2>Warnings: read these before the numbers</h2>", "<ul>"]
    for found in report["warnings"]:
        check, message, page = (_text(found[key]) for key in ("check", "message", "page"))
        if re.match("https?://", page):
            page = f'<a href="{page}">{page}</a>'
        lines.append(f"<li><strong>{check}</strong>: {message} See {page}.</li>")
    return "\n".join(['<section class="warnings">', *lines, "</ul>", "</section>"])


def _attacks(report: Report) -> Iterator[str]:
    """Yields the table of results and that of configurations."""
    head = ["attack", "accuracy", "95% interval", "examples", "broken", "median L<sub>2</sub>"]
    rows = [
        (
            row.kind,
            _text(row.name),
            percent_text(row.accuracy),
            interval_text(row.interval),
            number_text(row.examples, ",d"),
            number_text(row.broken, ",d"),
            number_text(row.median_l2, ".3f"),
            number_text(row.seconds, ",.1f"),
        )
        for row in table_rows(report)
    ]
    yield _table([*head, "seconds"], rows)
    settings = [
        (row.kind, _text(row.name), f"<code>{_text(row.attack)}</code>")
        for row in table_rows(report)
        if row.attack
    ]
    yield _table(["attack", "configuration"], settings, "text")


def _curve(report: Report) -> str:
    points = sorted(report.get("curve", []), key=lambda point: point["epsilon"])
    names = list(dict.fromkeys(name for point in points for name in point["attacks"]))
    rows = [
        (
            "",
            radius_text(point["epsilon"], report["norm"]),
            *(percent_text(point["attacks"][name]["robust_accuracy"]) for name in names),
            f"<strong>{percent_text(point['worst_case_accuracy'])}</strong>",
            interval_text(point["worst_case_interval"]),
        )
        for point in points
    ]
    return _table(["ε", *map(_text, names), "worst case", "95% interval"], rows)


def _shuffled(accuracies: Mapping[str, float]) -> str:
    found = sorted((int(count), accuracy) for count, accuracy in accuracies.items())
    rows = [("", f"{count} × {count}", percent_text(accuracy)) for count, accuracy in found]
    return _table(["blocks", "accuracy"], rows)


def _inference(forms: Report) -> str:
    """The forms of ATLD's transform, under attacks that know of it and that do not."""
    if not forms:
        return ""
    names = list(next(iter(forms.values()))["adaptive"])
    lines = [
        (
            "",
            _text(f"{form}, {knows.replace('_', '-')}"),
            percent_text(results["clean_accuracy"]),
            *(percent_text(results[knows][name]) for name in names),
        )
        for form, results in forms.items()
        for knows in ("non_adaptive", "adaptive")
    ]
    return _table(["form, attacks", "clean", *map(_text, names)], lines)


def _sensitivity(transform: str, series: Report) -> str:
    """Returns the table of one transformation: magnitudes down, kinds of images across."""
    values = {name: {e["magnitude"]: e["value"] for e in found} for name, found in series.items()}
    magnitudes = sorted({magnitude for found in values.values() for magnitude in found})
    rows = [
        ("", f"{m:g}", *(number_text(found.get(m), ".4f") for found in values.values()))
        for m in magnitudes
    ]
    return _table([_text(transform), *map(_text, values)], rows)


def _origin(report: Report) -> Iterator[str]:
    """Yields what one needs to know to do it again."""
    if "command" in report:
        yield f"<pre>{_text(report['command'])}</pre>"
    facts = {name: report[name] for name in ("seed", "batch_size", "machine") if name in report}
    yield _facts({**facts, **report["versions"]})
    if "config" in report:
        yield "<h3>Configuration</h3>"
        yield _facts(report["config"])


def _facts(facts: Report) -> str:
    lines = []
    for name, value in facts.items():
        values = value if isinstance(value, list) else [value]
        shown = ", ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in values)
        shown = "\N{EN DASH}" if value is None else _text(shown)
        lines.append(f"<div><dt>{_text(name)}</dt><dd>{shown}</dd></div>")
    return "\n".join(['<dl class="facts">', *lines, "</dl>"])


def _section(title: str, about: str, *parts: str) -> str:
    """Returns a section, or nothing if there is nothing in it."""
    filled = [part for part in parts if part]
    if not filled:
        return ""
    head = [f"<h2>{title}</h2>", *([f"<p>{about}</p>"] if about else [])]
    return "\n".join(["<section>", *head, *filled, "</section>"])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
    """Returns a table. Rows are a class and cells of HTML, the first of which is the row's head."""
    lines = []
    for kind, first, *rest in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        lines.append(f'<tr class="{kind}"><th scope="row">{first}</th>{cells}</tr>')
    if not lines:
        return ""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    start = f'<div class="wide"><table class="{style}">'
    body = ["<tbody>", *lines, "</tbody>", "</table></div>"]
    return "\n".join([start, f"<thead><tr>{top}</tr></thead>", *body])


def _figure(name: str, picture: bytes, report: Report) -> str:
    """Returns a figure with the picture in it, as large as matplotlib meant it."""
    width = round(struct.unpack(">I", picture[16:20])[0] * 96 / DPI)  # 96 pixels: an inch in CSS
    data = base64.b64encode(picture).decode("ascii")
    caption = CAPTIONS.get(name, _text(name))
    pictured = report.get("pictured")
    if pictured and name in OF_ONE_ATTACK:
        radius = radius_text(pictured["epsilon"], report["norm"])
        caption += f" Adversarial images are those of {_text(pictured['attack'])} at ε = {radius}."
    return (
        f'<figure>\n<img alt="{_text(name)}" width="{width}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{caption}</figcaption>\n</figure>"
    )


def _text(value: Any) -> str:
    """Returns what a user supplied as text of a page, without the folders of absolute paths."""
    return html.escape(FOLDERS.sub("", str(value)))
