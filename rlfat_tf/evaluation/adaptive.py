"""ATLD's inference transform under attacks that know of it, beside attacks that do not.

The published figures are of attacks on the classifier alone, whose results are transformed
afterwards. An attack through the transform is what a real adversary would use; both stand side by
side, so that nobody is misled (Tramer et al., "On Adaptive Attacks to Adversarial Example
Defenses", NeurIPS 2020).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlfat_tf.attacks import Attack, Transfer
from rlfat_tf.core.types import Images, Labels, Model, Report
from rlfat_tf.evaluation.classifier import Classifier, as_classifier
from rlfat_tf.evaluation.evaluate import make_runner, run_plan
from rlfat_tf.evaluation.plan import Plan
from rlfat_tf.evaluation.report.table import percent_text
from rlfat_tf.methods.inference import FORMS, InferenceTransform


def check_discriminator(model: Model) -> None:
    """Refuses a model that has no discriminator, and so no transform.

    Raises:
        ValueError: If it has none.
    """
    if getattr(model, "discriminator", None) is None:
        raise ValueError(
            f"The inference transform needs the discriminator of an ATLD run; {model.name!r} has "
            "none. Leave --inference out, or train with --method=atld."
        )


def transformed(model: Model, epsilon: float, form: str, backward: str = "bpda") -> Classifier:
    """Returns an ATLD model behind its inference transform, as a classifier to evaluate.

    Args:
        model: :class:`rlfat_tf.ATLD`.
        epsilon: Length of the step.
        form: ``"atld-"``, ``"atld"`` or ``"atld+"``.
        backward: What attacks differentiate, see :class:`rlfat_tf.InferenceTransform`.

    Raises:
        ValueError: If the model has no discriminator.
    """
    check_discriminator(model)
    transform = InferenceTransform(
        model.model, model.discriminator, epsilon=epsilon, form=form, backward=backward
    )
    return dataclasses.replace(as_classifier(transform), name=form)


def evaluate_forms(
    model: Model,
    images: Images,
    labels: Labels,
    plan: Plan,
    *,
    epsilon: float,
    forms: Sequence[str] = FORMS,
    backward: str = "bpda",
    report_dir: str | Path | None = None,
    limits: Mapping[str, int] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Evaluates the forms of the transform under non-adaptive and adaptive attacks.

    Args:
        model: :class:`rlfat_tf.ATLD`.
        images: float32 [n, H, W, C] in [0, 1].
        labels: Integers [n].
        plan: Of one radius, see :func:`rlfat_tf.evaluation.plan.make_plan`.
        epsilon: Length of the transform's step.
        forms: Which forms.
        backward: What adaptive attacks differentiate.
        report_dir: Where progress is kept.
        limits: Of some attacks: on how many of the first examples they run.
        **options: ``batch_size``, ``seed``, ``on_progress``; see
            :func:`rlfat_tf.evaluation.evaluate.make_runner`.

    Returns:
        By form ``{"clean_accuracy", "non_adaptive", "adaptive"}``, the last two by attack: robust
        accuracy in [0, 1], and ``worst_case``.
    """
    plain = as_classifier(model.model)
    radius, attacks = plan[0]
    unaware: dict[str, Attack] = {
        name: Transfer(attack=a, source=plain) for name, a in attacks.items()
    }
    found: dict[str, Any] = {}
    for form in forms:
        target = transformed(model, epsilon, form, backward)
        results: dict[str, Any] = {}
        for knows, chosen in (("adaptive", attacks), ("non_adaptive", unaware)):
            if knows == "non_adaptive" and form == "atld-":
                results[knows] = results["adaptive"]  # no transform: there is nothing to know
                continue
            part: Plan = [(radius, chosen)]
            runner = make_runner(target, images, labels, part, report_dir=report_dir, **options)
            report = run_plan(runner, part, checked=False, limits=limits).report
            results["clean_accuracy"] = report["clean_accuracy"]
            results[knows] = {
                **{name: r["robust_accuracy"] for name, r in report["attacks"].items()},
                "worst_case": report["worst_case_accuracy"],
            }
        found[form] = results
    return found


def show_forms(found: Report) -> str:
    """Returns the results of :func:`evaluate_forms` as a table for the terminal."""
    names = list(next(iter(found.values()))["adaptive"])
    lines = [f"{'':<22}{'clean':>8}" + "".join(f"{name:>13}" for name in names)]
    for form, results in found.items():
        for knows in ("non_adaptive", "adaptive"):
            line = f"{form + ' ' + knows.replace('_', '-'):<22}{results['clean_accuracy']:>8.1%}"
            lines.append(
                line + "".join(f"{percent_text(results[knows][name]):>13}" for name in names)
            )
    return "\n".join(lines)
