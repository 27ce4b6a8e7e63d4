"""Evaluates a classifier: on clean images, under every attack, and under the worst of them.

    report = rlfat_tf.evaluation.evaluate(
        model, (images, labels), attacks="pgd,autoattack", epsilon=8 / 255
    )
    report["worst_case_accuracy"], report["attacks"]["pgd"]["robust_accuracy"]

An example counts as robust under an attack if it is correctly classified before and after it; the
worst case is over all attacks that stay within epsilon, example by example, and None without any.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlfat_tf.attacks.arguments import check_count
from rlfat_tf.attacks.base import Attack
from rlfat_tf.attacks.pixels import is_on_grid
from rlfat_tf.attacks.targeted import class_number
from rlfat_tf.core.errors import warn
from rlfat_tf.core.random import plain_seed
from rlfat_tf.core.types import Images, Labels
from rlfat_tf.core.versions import VERSION, versions
from rlfat_tf.evaluation.attacking import accuracy, attack_examples, under_attacks
from rlfat_tf.evaluation.checks import results as checks
from rlfat_tf.evaluation.checks.findings import Finding
from rlfat_tf.evaluation.classes import by_class
from rlfat_tf.evaluation.classifier import Classifier, as_classifier
from rlfat_tf.evaluation.examples import as_arrays, check_width
from rlfat_tf.evaluation.fitting import check_fits
from rlfat_tf.evaluation.judged import network_facts
from rlfat_tf.evaluation.plan import Plan, balls, make_plan
from rlfat_tf.evaluation.progress import EvaluationProgress
from rlfat_tf.evaluation.recognition import KnownClassifiers
from rlfat_tf.evaluation.records import Examples, write_examples
from rlfat_tf.evaluation.report.writing import write_report
from rlfat_tf.evaluation.runner import AttackRunner
from rlfat_tf.evaluation.targeted import attack_towards, divided
from rlfat_tf.evaluation.watching import OnProgress
from rlfat_tf.storage.files import check_folder

SCHEMA = 2
DIGESTED = 512  # images at once


def evaluate(
    model: Any,
    data: Any,
    *,
    attacks: str | Mapping[str, Attack] = "pgd,autoattack",
    epsilon: float | Sequence[float] | None = None,
    norm: str = "linf",
    batch_size: int = 128,
    seed: int = 0,
    report_dir: str | Path | None = None,
    checked: bool = True,
    cascade: bool = False,
    class_names: Sequence[str] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Evaluates a classifier.

    Args:
        model: A Keras model, a loaded SavedModel or a function from images to logits.
        data: (images, labels), :class:`rlfat_tf.data.Arrays`, or a ``tf.data.Dataset`` of batches.
            Images are floats in [0, 1] or 8-bit, [n, H, W, C]; labels integers [n].
        attacks: Names from :data:`EVALUATION_ATTACKS` joined by commas; or attacks by name, which
            bring their own epsilon and norm.
        epsilon: Radius of the ball, in units of pixels in [0, 1]; or several, for a curve. The
            report's other figures are of the first. Default: 8 / 255, in ``"l2"`` 0.5.
        norm: ``"linf"`` or ``"l2"``.
        batch_size: Changes speed and memory, not the result.
        seed: Of all attacks.
        report_dir: Where to keep progress, so that a killed evaluation goes on, and to write
            ``report.json``, ``report.html`` and what happened to each example, see
            :func:`read_examples`, over those of an earlier evaluation; None: nowhere.
        checked: Whether the evaluation itself is checked, see :mod:`rlfat_tf.evaluation.checks`;
            every finding is a Python warning and stands in the report.
        cascade: Whether each attack is given only what the bounded ones before it have left: the
            same worst case for less, but their accuracies are then cumulative.
        class_names: One for each class, for the report; default: the numbers of the classes.
        **settings: Of the attacks, see :class:`rlfat_tf.evaluation.suite.Settings`.

    Returns:
        The report, see ``docs/evaluation.md``; all accuracies are in [0, 1].

    Raises:
        TypeError: If the model, the data or the attacks are of no kind that is known.
        ValueError: If the data, the model and the attacks do not fit together.
    """
    classifier, seed = as_classifier(model), plain_seed(seed)
    images, labels = as_arrays(data)
    class_names = None if class_names is None else [str(name) for name in class_names]
    if settings.get("targeted") is not None:
        settings["targeted"] = class_number(settings["targeted"], class_names or ())
    plan = make_plan(attacks, epsilon, norm, settings)
    norms = {name for _, made in plan for name, _ in balls(made)}
    shared = norms.pop() if len(norms) == 1 else None if norms else norm
    runner = make_runner(
        classifier, images, labels, plan, batch_size=batch_size, seed=seed, report_dir=report_dir
    )
    check_width(data, runner.classes)
    found = run_plan(
        runner,
        plan,
        norm=shared,
        seed=seed,
        checked=checked,
        cascade=cascade,
        class_names=class_names,
    )
    if report_dir is not None:
        write_examples(found.examples, report_dir)
        write_report(found.report, report_dir)
    return found.report


def make_runner(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    plan: Plan,
    *,
    batch_size: int = 128,
    seed: int = 0,
    report_dir: str | Path | None = None,
    keep: int = 0,
    on_progress: OnProgress | None = None,
) -> AttackRunner:
    """Puts everything in place and refuses what cannot work.

    Raises:
        ValueError: See :func:`check_fits`; or if ``batch_size`` is no count or ``report_dir`` no
            folder.
    """
    batch_size = check_count(None, "batch_size", batch_size)
    if report_dir is not None:
        check_folder(Path(report_dir), "report_dir")
    check_fits(plan, classifier, images, labels, batch_size)
    folder = None if report_dir is None else Path(report_dir) / "state"
    return AttackRunner(
        classifier,
        images,
        labels,
        batch_size=batch_size,
        seed=seed,
        progress=_progress(folder, classifier, images, labels, seed),
        keep=keep,
        on_progress=on_progress,
    )


def _progress(
    folder: Path | None, classifier: Classifier, images: Images, labels: Labels, seed: int
) -> EvaluationProgress:
    """Finds the progress of this evaluation in a folder: all that decides its result is in it."""
    known = KnownClassifiers(folder and folder / "classifiers", images)
    identity = {
        "classifier": known.name_of(classifier),
        "data": _digest(images, labels),
        "seed": seed,
        "rlfat_tf": VERSION,
    }
    return EvaluationProgress(folder, identity, known)


def _digest(images: Images, labels: Labels) -> str:
    """Returns what identifies the examples of an evaluation and their order."""
    digest = hashlib.sha256()
    for first in range(0, len(images), DIGESTED):  # images on disk are read as many at a time
        digest.update(images[first : first + DIGESTED].tobytes())
    digest.update(labels.tobytes())
    return digest.hexdigest()


class Evaluation(NamedTuple):
    """What an evaluation found: its report, and what happened to each example."""

    report: dict[str, Any]
    examples: Examples


def _tell(findings: list[Finding]) -> None:
    """Warns of what makes a figure doubtful."""
    for finding in findings:
        warn(f"{finding.message} See {finding.page}.")


def run_plan(
    runner: AttackRunner,
    plan: Plan,
    *,
    norm: str | None = "linf",
    seed: int = 0,
    checked: bool = True,
    cascade: bool = False,
    limits: Mapping[str, int] | None = None,
    class_names: Sequence[str] | None = None,
) -> Evaluation:
    """Runs all attacks of a plan and puts the report together; arguments as in :func:`evaluate`.

    Args:
        runner: From :func:`make_runner`.
        plan: From :func:`make_plan`.
        norm: For the report; None if the attacks are of several.
        seed: For the report and the checks.
        checked: Whether to check the evaluation.
        cascade: Whether each attack is given only what the bounded ones before it have left.
        limits: Of some attacks: on how many of the first examples they run.
        class_names: One for each class, for the report; None: the numbers of the classes.

    Raises:
        ValueError: If there is not one name for each class.
    """
    names = [str(number) for number in range(runner.classes)]
    names = names if class_names is None else list(class_names)
    if len(names) != runner.classes:
        raise ValueError(
            f"Expected one name for each of the {runner.classes} classes that "
            f"{runner.classifier.name} tells apart; received {len(names)} names."
        )
    clean = runner.clean()
    epsilon = plan[0][0]
    every = [attack for _, attacks in plan for attack in attacks.values()]
    findings_of_attacks = {  # of several radii at which an attack is found wanting, the first
        (name, found.check): found
        for _, attacks in reversed(plan)
        for name, attack in attacks.items()
        for found in checks.check_attacks({name: attack})
    }
    plan, aimed = divided(plan)
    findings = []
    if checked:
        findings = checks.check_model(
            runner.classifier, runner.images, runner.labels, clean, epsilon=epsilon, norm=norm
        )
        findings += findings_of_attacks.values()
        _tell(findings)  # before the attacks, which may run for hours
    examples, records = attack_examples(runner, plan, limits or {}, cascade=cascade)
    curve = [
        {
            "epsilon": radius,
            **under_attacks(examples, number, records[number], cascade=cascade),
        }
        for number, (radius, _) in enumerate(plan)
    ]
    targeted, rates = attack_towards(runner, aimed, limits or {})
    examples = dataclasses.replace(examples, targeted=targeted)
    for point, reached in zip(curve, rates):
        if reached:
            point["targeted"] = reached
    if checked:
        of_results = checks.check_results(curve)
        _tell(of_results)
        findings += of_results
    report = {
        "schema": SCHEMA,
        "model": runner.classifier.name,
        "judged": network_facts(runner.classifier),
        "examples": len(clean),
        "norm": norm,
        "epsilon": epsilon,
        "seed": seed,
        "cascade": cascade,
        "pixels": "8bit" if every and all(map(is_on_grid, every)) else "float",
        **accuracy("clean_accuracy", "clean_interval", clean),
        **{name: value for name, value in curve[0].items() if name != "epsilon"},
        **by_class(examples, names),
        "warnings": [finding.to_dict() for finding in findings],
        "versions": versions(),
    }
    return Evaluation({**report, "curve": curve} if len(curve) > 1 else report, examples)
