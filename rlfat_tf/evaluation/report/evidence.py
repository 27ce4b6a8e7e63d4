"""What a report shows beside its figures: sensitivity, local features, salience, examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.attacks.base import predicted_class
from rlfat_tf.core.errors import warn
from rlfat_tf.core.types import Images, Report
from rlfat_tf.evaluation.classifier import Classifier, check_alike
from rlfat_tf.evaluation.corrupted_examples import AuthorsFiles, MadeHere
from rlfat_tf.evaluation.measures.saliency import smooth_grad
from rlfat_tf.evaluation.measures.sensitivity import loss_sensitivity
from rlfat_tf.evaluation.measures.shuffled import shuffled_accuracy
from rlfat_tf.evaluation.report import class_plots, corruptions, pictures, plots
from rlfat_tf.evaluation.report.table import broken_by, is_bounded
from rlfat_tf.evaluation.runner import AttackRunner

BLOCKS = (1, 2, 3, 4)
SHOWN = 8  # adversarial examples in the picture
SALIENT = 4  # images with salience maps


def comparable(others: Sequence[Classifier], runner: AttackRunner) -> list[Classifier]:
    """Returns the classifiers whose salience maps can be drawn; warns of those without gradients.

    Raises:
        ValueError: If one takes other images than the evaluated classifier, or tells other classes
            apart.
    """
    one, drawn = runner.images[:1], []
    for other in others:
        check_alike("a model to compare", other, one, runner.classes)
        if other.has_gradients(one):
            drawn.append(other)
        else:
            warn(f"{other.name} gives no gradients: there is no salience map of it.")
    return drawn


def measure(
    runner: AttackRunner,
    report: dict[str, Any],
    *,
    brightness: Sequence[float],
    gamma: Sequence[float],
    seed: int,
    batch_size: int,
) -> dict[str, Any]:
    """Measures loss sensitivity and the accuracy on block-shuffled images.

    Sensitivity is measured on the images whose adversarial versions were kept, on these and on
    those: by the strongest bounded attack that has any.

    Returns:
        ``pictured`` (which attack made the adversarial images, at which radius: the strongest of
        the headline), ``sensitivity`` (where the classifier has gradients and magnitudes are given)
        and ``shuffled``, as ``docs/evaluation.md`` describes them.
    """
    found: dict[str, Any] = {}
    kept = _kept(runner, report)
    if kept:
        found["pictured"] = {"attack": kept[0], "epsilon": report["epsilon"]}
    if runner.classifier.has_gradients(runner.images[:1]):
        count = len(kept[1]) if kept else min(len(runner.images), 256)
        series = {"clean": runner.images[:count]}
        if kept:
            series[kept[0]] = kept[1]
        magnitudes = {"brightness": brightness, "gamma": gamma}
        found["sensitivity"] = {
            transform: {
                name: loss_sensitivity(
                    runner.classifier,
                    images,
                    runner.labels[:count],
                    transform=transform,
                    magnitudes=chosen,
                    batch_size=batch_size,
                )
                for name, images in series.items()
            }
            for transform, chosen in magnitudes.items()
            if chosen
        }
    smallest = min(runner.images.shape[1:3])
    found["shuffled"] = {
        str(k): accuracy
        for k, accuracy in shuffled_accuracy(
            runner.classifier,
            runner.images,
            runner.labels,
            blocks=[k for k in BLOCKS if k <= smallest],
            seed=seed,
            batch_size=batch_size,
        ).items()
    }
    return found


def draw(
    runner: AttackRunner,
    report: dict[str, Any],
    class_names: Sequence[str],
    others: Sequence[Classifier] = (),
) -> dict[str, Any]:
    """Draws the pictures of a report, by name.

    Args:
        runner: Who made the report.
        report: With what :func:`measure` found.
        class_names: One for each class.
        others: Further classifiers that are :func:`comparable`, for salience maps side by side.
    """
    figures = {"attacks": plots.attack_bars(report)}
    if report.get("classes"):
        figures["classes"] = class_plots.class_bars(report)
        confusion = class_plots.confusion_map(report)
        if confusion is not None:
            figures["confusion"] = confusion
    if "curve" in report:
        figures["curve"] = plots.robustness_curve(
            report["curve"],
            clean_accuracy=report["clean_accuracy"],
            clean_interval=report["clean_interval"],
            norm=report["norm"],
        )
    kept = _kept(runner, report)
    if kept:
        figures["adversarial"] = _examples(runner, kept[1], class_names)
    if runner.classifier.has_gradients(runner.images[:1]):
        images, labels = runner.images[:SALIENT], runner.labels[:SALIENT]
        maps = {}
        for classifier in (runner.classifier, *others):
            name = _short(classifier.name)
            name = classifier.name if name in maps else name
            maps[name] = smooth_grad(classifier, images, labels)
        figures["salience"] = pictures.salience_grid(images, maps, class_names, labels)
    figures["block_shuffle"] = pictures.block_shuffle_figure(runner.images[0])
    if report.get("shuffled"):
        figures["shuffled"] = plots.shuffle_lines(
            {_short(runner.classifier.name): report["shuffled"]}, classes=len(class_names)
        )
    if report.get("sensitivity"):
        figures["sensitivity"] = plots.sensitivity_lines(report["sensitivity"])
    return figures


def draw_corruptions(examples: MadeHere | AuthorsFiles, found: Report) -> Any:
    """Draws the first example under the corruptions of a report."""
    strips = []
    for name, entry in found["by_corruption"].items():
        cells = [examples.cell(name, severity) for severity in entry["severities"]]
        some = np.concatenate([cell.pixels(slice(1)) for cell in cells])
        strips.append((name, some))
    return corruptions.grid(strips)


def _kept(runner: AttackRunner, report: dict[str, Any]) -> tuple[str, Any] | None:
    """Returns the name and the adversarial images of the strongest bounded attack that kept any.

    The strongest breaks most, of equals the first. An unbounded attack only counts where no other
    ran: it breaks whatever it is given time for.
    """
    names = [name for name in report["attacks"] if len(runner.kept.get(name, ()))]
    if not names:
        return None
    results = report["attacks"]

    def strength(name: str) -> tuple[bool, float]:
        result = results[name]
        return is_bounded(result), (broken_by(result) or 0) / result["examples"]

    best = max(names, key=strength)
    return best, runner.kept[best]


def _examples(runner: AttackRunner, adversarial: Images, class_names: Sequence[str]) -> Any:
    """Draws examples that the attack broke first, then some that it did not."""
    count = len(adversarial)
    clean, attacked = (
        predicted_class(runner.logits(images)).numpy()
        for images in (runner.images[:count], adversarial)
    )
    labels = runner.labels[:count]
    broken = (clean == labels) & (attacked != labels)
    rows = np.argsort(~broken, kind="stable")[: SHOWN - 2]
    stands = np.flatnonzero((clean == labels) & ~broken)[: SHOWN - len(rows)]
    rows = np.unique(np.concatenate([rows, stands]))
    return pictures.adversarial_grid(
        runner.images[rows],
        adversarial[rows],
        labels[rows],
        clean[rows],
        attacked[rows],
        class_names,
    )


def _short(name: str) -> str:
    """The last part of a path: a title, not an address."""
    return Path(name).name or name
