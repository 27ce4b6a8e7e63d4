"""What ``eval.py`` does: evaluate a model, draw what can be seen, write the report."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rlfat_tf.attacks import Targeted
from rlfat_tf.data.corruptions import parse
from rlfat_tf.evaluation import adaptive
from rlfat_tf.evaluation.classifier import load_classifier
from rlfat_tf.evaluation.comparison import against
from rlfat_tf.evaluation.corrupted_examples import AuthorsFiles, MadeHere
from rlfat_tf.evaluation.corrupted_records import FILE as CORRUPTED_FILE
from rlfat_tf.evaluation.corrupted_records import Corrupted, write_corrupted
from rlfat_tf.evaluation.corruptions import run_corruptions
from rlfat_tf.evaluation.ensemble import ensemble
from rlfat_tf.evaluation.evaluate import make_runner, run_plan
from rlfat_tf.evaluation.evaluated import (
    Conditions,
    Evaluated,
    conditions_of,
    configured,
    read_evaluated,
    refuse_unlike,
)
from rlfat_tf.evaluation.examples import as_arrays
from rlfat_tf.evaluation.mce import baseline_of
from rlfat_tf.evaluation.plan import Plan, is_bounded, make_plan
from rlfat_tf.evaluation.records import write_examples
from rlfat_tf.evaluation.report import evidence
from rlfat_tf.evaluation.report.against import difference_bars, show_comparison
from rlfat_tf.evaluation.report.table import radius_text
from rlfat_tf.evaluation.report.writing import refuse_to_replace, show, write_report
from rlfat_tf.evaluation.runner import AttackRunner
from rlfat_tf.evaluation.watching import Standing
from rlfat_tf.methods.inference import FORMS
from rlfat_tf.run import dataset
from rlfat_tf.run.class_names import warn_of_fewer
from rlfat_tf.run.console import duration, renewed, show_evaluation_header
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.eval_flags import warn_of_ignored_flags
from rlfat_tf.run.judged import judged_facts
from rlfat_tf.storage import checkpoint
from rlfat_tf.storage.files import check_folder

EVERY = 4.0  # seconds between two lines, where no line renews itself, and at least
SHARE = 0.25  # of the time that an attack has taken, but
AT_MOST = 600.0  # seconds
THESE = "this evaluation", "the report of --against"
PICTURED = 256  # examples whose adversarial images are kept, for pictures and sensitivity


def run(config: EvalConfig) -> dict[str, Any]:
    """Evaluates a model and writes ``report.json``, ``report.html`` and pictures.

    A killed evaluation goes on where it was when it is run again.

    Args:
        config: The evaluation.

    Returns:
        What ``report.json`` holds, see ``docs/evaluation.md``.

    Raises:
        FileNotFoundError: If there is no such run, model or data set.
        ValueError: If something does not fit together.
    """
    config = config.completed()
    check_folder(config.folder, "--report_dir")
    other = None if config.against is None else read_evaluated(config.against)
    classifier = load_classifier(config.path, config.checkpoint)
    named = (config.compare or "").split(",") if config.pictures else []
    others = [load_classifier(path) for path in named if path]
    defended = None
    if config.inference is not None:
        defended = checkpoint.load(config.path, config.checkpoint)
        adaptive.check_discriminator(defended)
    sources = [load_classifier(path) for path in (config.source_model or "").split(",") if path]
    source = ensemble(sources) if sources else None
    norm = str(config.norm)

    def plan_for(class_names: Sequence[str] | None) -> Plan:
        settings = config.settings(source, class_names)
        return make_plan(config.attacks, config.epsilon or (), norm, settings)

    plan = plan_for(None)  # refuses what cannot be, before the data set is read
    warn_of_ignored_flags(config, norm, plan[0][0])
    if not config.overwrite:
        refuse_to_replace(config.folder, dataclasses.asdict(config), plan[0][1])
    authors = None if config.corruption_dir is None else dataset.corrupted_by_authors(config)
    data_set = dataset.load_for_evaluation(config, classifier.image_shape)
    if config.targeted is not None:
        plan = plan_for(data_set.class_names)
    test, numbers, chosen = dataset.chosen_examples(config, data_set)
    images, labels = as_arrays(test)
    show_evaluation_header(config, len(test))
    runner = make_runner(
        classifier,
        images,
        labels,
        plan,
        batch_size=config.batch_size,
        seed=config.seed or 0,
        report_dir=config.folder,
        keep=PICTURED if config.pictures else 0,
        on_progress=ProgressLine(),
    )
    judged = judged_facts(config, classifier)
    others = evidence.comparable(others, runner)
    if other is not None:
        refuse_unlike(_conditions(runner, plan, config), conditions_of(other), THESE)
    warn_of_fewer(data_set.class_names, runner.classes)
    names = _names(data_set.class_names, runner.classes)
    corrupted: MadeHere | AuthorsFiles | None = None
    reference: Any = None
    under_corruptions: Corrupted | None = None
    if config.corruptions is not None:
        corrupted = authors or MadeHere(images, labels, config.seed or 0)
        if config.corruption_baseline is not None:
            reference = baseline_of(
                config.corruption_baseline,
                corrupted,
                parse(config.corruptions),
                runner.progress.identity["data"],
            )
    found, examples = run_plan(
        runner,
        plan,
        norm=norm,
        seed=config.seed or 0,
        checked=config.checks,
        cascade=config.cascade,
        limits=config.limits,
        class_names=names,
    )
    examples = dataclasses.replace(examples, index=numbers)
    report = {
        **found,
        "judged": judged,
        **chosen,
        "dataset": config.dataset,
        "data": dict(data_set.content),
        "batch_size": config.batch_size,
        "machine": f"{platform.machine()}, {len(tf.config.list_physical_devices('GPU'))} GPUs",
        "command": shlex.join(sys.argv),
        "config": dataclasses.asdict(config),
    }
    if defended is not None:
        report["inference"] = adaptive.evaluate_forms(
            defended,
            images,
            labels,
            plan[:1],
            epsilon=plan[0][0],
            forms=[form for form in FORMS if config.inference in ("all", form)],
            backward=config.inference_backward,
            report_dir=config.folder,
            limits=config.limits,
            batch_size=config.batch_size,
            seed=config.seed or 0,
            on_progress=ProgressLine(),
        )
    if corrupted is not None:
        report["corruptions"], under_corruptions = run_corruptions(
            runner,
            corrupted,
            parse(str(config.corruptions)),
            baseline=reference,
            on_progress=ProgressLine("right"),
        )
        if authors is None:
            under_corruptions = dataclasses.replace(under_corruptions, index=numbers)
    if other is not None:
        this = Evaluated(config.path, report, examples, under_corruptions)
        report["against"] = against(this, other)
    figures = {}
    if config.pictures:
        report.update(
            evidence.measure(
                runner,
                report,
                brightness=config.brightness,
                gamma=config.gamma,
                seed=config.seed or 0,
                batch_size=config.batch_size,
            )
        )
        figures = evidence.draw(runner, report, names, others)
        if other is not None:
            figures["against"] = difference_bars(report["against"])
        if corrupted is not None:
            figures["corruptions"] = evidence.draw_corruptions(corrupted, report["corruptions"])
    write_examples(examples, config.folder)
    if under_corruptions is not None:
        write_corrupted(under_corruptions, config.folder)
    else:  # of a report that is written over
        (config.folder / CORRUPTED_FILE).unlink(missing_ok=True)
    path = write_report(report, config.folder, figures)
    print(f"\n{show(report)}")
    if "against" in report:
        print(f"\n{show_comparison(report['against'])}")
    if "inference" in report:
        print(f"\n{adaptive.show_forms(report['inference'])}")
    print(f"\nReport: {path}")
    return report


def _names(names: Sequence[str], classes: int) -> list[str]:
    """Returns a name for each class of the model, which may know others than the data set has."""
    return [*names[:classes], *map(str, range(len(names), classes))]


def _conditions(runner: AttackRunner, plan: Plan, config: EvalConfig) -> Conditions:
    """Returns what another report must have in common with this one, before anything is run."""
    epsilon, attacks = plan[0]
    examples = len(runner.labels)
    found = {
        name: (
            configured(repr(attack), min(config.limits.get(name, examples), examples)),
            is_bounded(attack) and not isinstance(attack, Targeted),
        )
        for name, attack in attacks.items()
    }
    return Conditions(runner.progress.identity["data"], config.norm, epsilon, found)


class ProgressLine:
    """Prints how far an attack is: one line that renews itself, or ever fewer lines into a file."""

    def __init__(self, counted: str = "robust") -> None:
        self._counted, self._shown, self._live = counted, 0.0, sys.stderr.isatty()

    def __call__(self, standing: Standing) -> None:
        """Tells of an attack."""
        now, last = time.monotonic(), standing.done == standing.total
        every = 0.2 if self._live else min(max(EVERY, SHARE * standing.seconds), AT_MOST)
        if not last and now - self._shown < every:
            return
        self._shown = now
        text = progress_text(standing, self._counted)
        text = renewed(text, last=last) if self._live else f"{text}\n"
        print(text, end="", file=sys.stderr, flush=True)


def progress_text(standing: Standing, counted: str = "robust") -> str:
    """Returns the line of how far an attack is, or what else counts examples."""
    name, attack, done, total, robust, seconds, passes, running = standing
    counted = "right" if attack is None else counted
    epsilon = getattr(attack, "epsilon", None)
    if epsilon is not None:
        name += f", epsilon {radius_text(epsilon, getattr(attack, 'norm', 'linf'))}"
    parts = [f"{name:<34} {done:>5}/{total} examples", f"{robust} {counted}"]
    if passes:
        parts.append(f"pass {passes:,}")
    parts.append(duration(seconds))
    if 0 < done < total:  # as fast as what is done, of which the running batch is none yet
        left = (seconds - running) / done * (total - done) - running
        parts.append(f"ETA {duration(max(left, 0.0))}")
    return ", ".join(parts)
