"""What the page of a report is made of: its frame and style, sections, tables, lists and figures.

It loads nothing and runs nothing (its own policy forbids both), so it can be mailed, archived and
printed.
"""

from __future__ import annotations

import base64
import html
import re
import string
import struct
from collections.abc import Iterable, Sequence

from rlfat_tf.core.types import Report
from rlfat_tf.evaluation.report.plots import DPI

# The folders of an absolute path: whom a page is sent to has others. Spaces only within quotes.
FOLDERS = re.compile(r"(?<=[='\"])/(?:[^/=:<>'\"]+/)+(?=[^/'\"]*['\"])"
                     r"|(?<![\w.:/<])/(?:[^\s/,=:<>'\"]+/)+")  # fmt: skip
SMALLEST = 2 / 3  # of a picture, where its letters can still be read
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
  vertical-align: top; background: linear-gradient(to right, var(--page) 40%, transparent) local,
  linear-gradient(to left, var(--page) 40%, transparent) 100% 0 local,
  linear-gradient(to right, var(--line), transparent), linear-gradient(to left, var(--line),
  transparent) 100% 0; background-repeat: no-repeat;
  background-size: 2.5rem 100%, 2.5rem 100%, .9rem 100%, .9rem 100%; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 0 .35rem 1.4rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: baseline; white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; } tbody th { font-weight: 600; }
thead th { border-bottom-width: 2px; color: var(--soft); font-weight: 500; }
tr.part th { padding-left: 1.2rem; font-weight: 400; } tr.worst > * { font-weight: 700; }
.text td { text-align: left; white-space: normal; } .text th:last-child { text-align: left; }
code, pre { font: .8rem/1.45 ui-monospace, Menlo, Consolas, monospace; }
pre { padding: .7rem 1rem; border-radius: .4rem; background: var(--card); white-space: pre-wrap; }
figure { margin: 1.2rem 0; } figure .wide { display: block; margin: 0; }
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


def document(title: str, headline: str, sections: Iterable[str]) -> str:
    """Returns the whole page; empty sections are left out."""
    main = "\n".join(filter(None, sections))
    return PAGE.substitute(style=STYLE, model=escaped(title), cards=headline, main=main)


def fact_list(facts: Report) -> str:
    """Returns names and values as a list in columns."""
    lines = []
    for name, value in facts.items():
        values = value if isinstance(value, list) else [value]
        shown = ", ".join(
            f"{v:.6g}" if isinstance(v, float) else without_folders(str(v)) for v in values
        )
        shown = "\N{EN DASH}" if value is None else escaped(shown)
        lines.append(f"<div><dt>{escaped(name)}</dt><dd>{shown}</dd></div>")
    return "\n".join(['<dl class="facts">', *lines, "</dl>"])


def section(title: str, about: str, *parts: str) -> str:
    """Returns a section, or nothing if there is nothing in it."""
    filled = [part for part in parts if part]
    if not filled:
        return ""
    head = [f"<h2>{title}</h2>", *([f"<p>{about}</p>"] if about else [])]
    return "\n".join(["<section>", *head, *filled, "</section>"])


def table(head: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
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


def picture(name: str, data: bytes, caption: str) -> str:
    """Returns a figure with a PNG in it, as large as matplotlib meant it.

    Where there is less room it is made smaller, down to two thirds; from there on it is scrolled,
    as wide tables are.
    """
    width = round(struct.unpack(">I", data[16:20])[0] * 96 / DPI)  # 96 pixels: an inch in CSS
    least = f"min-width: {round(SMALLEST * width)}px"
    source = base64.b64encode(data).decode("ascii")
    return (
        f'<figure>\n<div class="wide"><img alt="{escaped(name)}" width="{width}" style="{least}" '
        f'src="data:image/png;base64,{source}"></div>'
        f"\n<figcaption>{caption}</figcaption>\n</figure>"
    )


def without_folders(path: str) -> str:
    """Returns an absolute path, or several joined by commas, without folders; else what it is."""
    parts = (p.rpartition("/")[2] if p.startswith("/") else p for p in path.split(","))
    return ",".join(parts)


def escaped(value: object) -> str:
    """Returns what a user supplied as text of a page, without the folders of absolute paths."""
    return html.escape(FOLDERS.sub("", str(value)))
