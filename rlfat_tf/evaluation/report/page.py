"""The page of a report: its sections, and the sentences that explain them.

It is one HTML file that holds all that it shows. What a user supplies, such as names and paths, is
escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rlfat_tf.core.types import Report
from rlfat_tf.evaluation.report import corruptions
from rlfat_tf.evaluation.report.against import against_section
from rlfat_tf.evaluation.report.html_parts import (
    document,
    escaped,
    fact_list,
    picture,
    section,
    table,
    without_folders,
)
from rlfat_tf.evaluation.report.sections import class_section, judged_section
from rlfat_tf.evaluation.report.table import (
    attack_text,
    bounded_attacks,
    interval_text,
    is_bounded,
    number_text,
    percent_text,
    radius_text,
    table_rows,
    targeted_rows,
)

NORMS = {"linf": "L<sub>∞</sub>", "l2": "L<sub>2</sub>"}
# Of the figures that have their place in the page.
CAPTIONS = {
    "attacks": "Accuracy on clean images, under each attack, and in the worst case, with 95% "
    "confidence intervals.",
    "classes": "Accuracy of the classes: pale on clean images, full in the worst case, with 95% "
    "confidence intervals that hold for all classes together.",
    "confusion": "Which class is taken for which, in per cent of the images of a class",
    "against": "Differences in points with 95% confidence intervals; grey where the interval holds "
    "zero.",
    "curve": "Robust accuracy for each radius ε.",
    "adversarial": "Clean images, their perturbations (enlarged) and the adversarial images. The "
    "prediction of the model stands above each image.",
    "corruptions": "One image under every corruption, from the mildest severity to the strongest.",
    "salience": "Salience maps (SmoothGrad): how strongly each pixel influences the logit of the "
    "true class.",
    "block_shuffle": "Random Block Shuffle: an image, the same with its horizontal strips "
    "shuffled, and the same with its vertical strips shuffled as well.",
    "shuffled": "Accuracy on test images whose blocks are shuffled.",
    "sensitivity": "Loss sensitivity for each strength of the transformation.",
}
PIXELS = {
    "float": "pixels in [0, 1]",
    "8bit": "8-bit pixels",
}
OF_ONE_ATTACK = ("adversarial", "sensitivity")
OF_THE_WORST_CASE = ("attacks", "classes", "confusion")
ABOUT_ATTACKS = (
    "An example is robust under an attack if it is classified correctly both before and after the "
    "attack. In the worst case it is robust if this holds for every attack that stays within ε; "
    "attacks marked as unbounded do not count, what counts of them is the median length. "
    "The parts of an ensemble such as AutoAttack run one after the other: each part attacks the "
    "examples that the parts before it have not broken, and its accuracy is the share of all "
    "examples that are still robust after it. The median L<sub>2</sub> is that of the "
    "perturbations that broke an example."
)
ABOUT_CASCADE = (
    " This evaluation is a cascade: each attack that stays within ε was given only the examples "
    "that those before it had left. Its accuracy is cumulative, the share of all examples that are "
    "still robust after it, and does not compare with that of the attack alone. The worst case is "
    "the same either way."
)
ABOUT_TARGETED = (
    "A targeted attack succeeds where an example is taken for its target. The success rate is of "
    "the examples whose label is another class, those misclassified as they are included. It is no "
    "robust accuracy: where a targeted attack fails, an untargeted one may well succeed."
)
ABOUT_INFERENCE = (
    "A non-adaptive attack attacks the classifier alone, and the inference transform is applied to "
    "its adversarial examples afterwards. An adaptive attack attacks the classifier and the "
    "transform together. Only the accuracy under adaptive attacks measures robustness against an "
    "adversary who knows of the transform."
)
ABOUT_FEATURES = (
    "Shuffling its blocks destroys the global structure of an image and keeps the structure within "
    "each block. The accuracy that remains is due to local features."
)
ABOUT_SENSITIVITY = (
    "The mean norm of the gradient of the loss with respect to the image, at test images that were "
    "transformed. The smaller it is, the smoother is the loss around images that differ from those "
    "of training."
)


def page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """Returns the whole page."""
    radius = radius_text(report["epsilon"], report["norm"])
    at = "" if report["epsilon"] is None else f" at ε = {radius}"
    figure = {name: _figure(name, data, report) for name, data in pictures.items()}
    placed = {name: figure.pop(name, "") for name in CAPTIONS}
    sensitivity = report.get("sensitivity", {}).items()
    about = ABOUT_ATTACKS + ABOUT_CASCADE * bool(report.get("cascade"))
    sections = [
        _warnings(report),
        judged_section(report.get("judged", {})),
        section(f"Attacks{at}", about, placed["attacks"], *_attacks(report)),
        section("Targeted attacks", ABOUT_TARGETED, _targeted(report)),
        class_section(report, placed["classes"], placed["confusion"]),
        against_section(report, placed["against"]),
        section("Inference transform", ABOUT_INFERENCE, _inference(report.get("inference", {}))),
        section("Robust accuracy by radius", "", placed["curve"], _curve(report)),
        section("Adversarial examples", "", placed["adversarial"]),
        _corruptions(report.get("corruptions"), placed["corruptions"]),
        section("Salience maps", "", placed["salience"]),
        section(
            "Local features",
            ABOUT_FEATURES,
            placed["block_shuffle"],
            placed["shuffled"],
            _shuffled(report.get("shuffled", {})),
        ),
        section(
            "Loss sensitivity",
            ABOUT_SENSITIVITY,
            placed["sensitivity"],
            *(_sensitivity(name, series) for name, series in sensitivity),
        ),
        section("Further figures", "", *figure.values()),
        section("How to reproduce this report", "", *_origin(report)),
    ]
    return document(without_folders(report["model"]), _cards(report, radius), sections)


def _aims(report: Report) -> str:
    """Says where the attacks of a report aim."""
    if not report.get("targeted"):
        return "untargeted"
    return "untargeted and targeted" if report["attacks"] else "targeted"


def _cards(report: Report, radius: str) -> str:
    """Returns the headline."""
    clean, worst = report["clean_interval"], report["worst_case_interval"]
    dash = "\N{EN DASH}"
    norm = NORMS.get(report["norm"], "Several norms,")
    pixels = PIXELS[report.get("pixels", "float")]
    cards = [
        ("clean", "Clean accuracy", percent_text(report["clean_accuracy"]), interval_text(clean)),
        (
            "worst",
            "Worst-case accuracy",
            percent_text(report["worst_case_accuracy"]) or dash,
            interval_text(worst),
        ),
        ("", "Threat model", f"{norm} {radius}", f"{_aims(report)}, {pixels}"),
        ("", "Examples", f"{report['examples']:,}", escaped(report.get("dataset", ""))),
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
        check, message, page = (escaped(found[key]) for key in ("check", "message", "page"))
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
            escaped(row.name),
            percent_text(row.accuracy),
            interval_text(row.interval),
            number_text(row.examples, ",d"),
            number_text(row.broken, ",d"),
            number_text(row.median_l2, ".3f"),
            number_text(row.seconds, ",.1f"),
        )
        for row in table_rows(report)
    ]
    yield table([*head, "seconds"], rows)
    settings = [
        (row.kind, escaped(row.name), f"<code>{escaped(row.attack)}</code>")
        for row in table_rows(report)
        if row.attack
    ]
    yield table(["attack", "configuration"], settings, "text")


def _targeted(report: Report) -> str:
    """Returns the table of the targeted attacks; nothing if there are none."""
    head = ["attack", "success rate", "95% interval", "examples", "left out"]
    rows = [("", escaped(name), *figures) for name, *figures in targeted_rows(report)]
    return table([*head, "median L<sub>2</sub>", "seconds"], rows)


def _curve(report: Report) -> str:
    points = sorted(report.get("curve", []), key=lambda point: point["epsilon"])
    names = bounded_attacks(points)
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
    heads = [escaped(attack_text(name, points[0]["attacks"][name])) for name in names]
    return table(["ε", *heads, "worst case", "95% interval"], rows)


def _shuffled(accuracies: Mapping[str, float]) -> str:
    found = sorted((int(count), accuracy) for count, accuracy in accuracies.items())
    rows = [("", f"{count} × {count}", percent_text(accuracy)) for count, accuracy in found]
    return table(["blocks", "accuracy"], rows)


def _corruptions(found: Report | None, drawn: str) -> str:
    """Accuracy by corruption and severity."""
    if found is None:
        return ""
    parts = corruptions.html_facts(found), corruptions.html_table(found), drawn
    return section("Common corruptions", corruptions.about(found), *parts)


def _inference(forms: Report) -> str:
    """The forms of ATLD's transform, under attacks that know of it and that do not."""
    if not forms:
        return ""
    names = list(next(iter(forms.values()))["adaptive"])
    lines = [
        (
            "",
            escaped(f"{form}, {knows.replace('_', '-')}"),
            percent_text(results["clean_accuracy"]),
            *(percent_text(results[knows][name]) for name in names),
        )
        for form, results in forms.items()
        for knows in ("non_adaptive", "adaptive")
    ]
    return table(["form, attacks", "clean", *map(escaped, names)], lines)


def _sensitivity(transform: str, series: Report) -> str:
    """Returns the table of one transformation: magnitudes down, kinds of images across."""
    values = {name: {e["magnitude"]: e["value"] for e in found} for name, found in series.items()}
    magnitudes = sorted({magnitude for found in values.values() for magnitude in found})
    rows = [
        ("", f"{m:g}", *(number_text(found.get(m), ".4f") for found in values.values()))
        for m in magnitudes
    ]
    return table([escaped(transform), *map(escaped, values)], rows)


def _origin(report: Report) -> Iterator[str]:
    """Yields what one needs to know to do it again."""
    if "command" in report:
        yield f"<pre>{escaped(report['command'])}</pre>"
    facts = {name: report[name] for name in ("seed", "batch_size", "machine") if name in report}
    yield fact_list({**facts, **report["versions"]})
    if "config" in report:
        yield "<h3>Configuration</h3>"
        yield fact_list(report["config"])


def _figure(name: str, data: bytes, report: Report) -> str:
    caption = CAPTIONS.get(name, escaped(name))
    if name == "confusion":
        under_attack = report.get("confusion", {}).get("worst_case") is not None
        caption += ", in the worst case." if under_attack else ", on clean images."
    bounded = bounded_attacks([report])
    if name in OF_THE_WORST_CASE and bounded and report["epsilon"] is not None:
        radius = radius_text(report["epsilon"], report["norm"])
        caption += f" Attacked at ε = {radius} by {escaped(', '.join(bounded))}."
    pictured = report.get("pictured")
    if pictured and name in OF_ONE_ATTACK:
        name_of_attack, radius = pictured["attack"], pictured["epsilon"]
        if not is_bounded(report["attacks"][name_of_attack]):
            at = ", which is not bounded by ε"
        else:
            at = "" if radius is None else f" at ε = {radius_text(radius, report['norm'])}"
        caption += f" Adversarial images are those of {escaped(name_of_attack)}{at}."
    return picture(name, data, caption)
