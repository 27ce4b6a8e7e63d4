"""What is measured of networks that runs have left: what they look at, and stronger attacks."""

from __future__ import annotations

import base64
from typing import Any, Callable

import numpy as np

from benchmarks.measure import machine
from rlfat_tf.core.versions import versions
from rlfat_tf.evaluation import adaptive, evaluate_corruptions
from rlfat_tf.evaluation.classifier import load_classifier
from rlfat_tf.evaluation.measures.saliency import salience_picture, smooth_grad
from rlfat_tf.evaluation.measures.sensitivity import loss_sensitivity
from rlfat_tf.evaluation.measures.shuffled import shuffled_accuracy
from rlfat_tf.evaluation.plan import make_plan
from rlfat_tf.run.evaluate import ProgressLine
from rlfat_tf.run.workdir import read_config
from rlfat_tf.storage import checkpoint
from studies import evaluating, results
from studies.runs import Folders, Look, NotPossible

EXAMPLES = 1000  # of what costs a pass or a few
CORRUPTED_EXAMPLES = 500  # of 75 corrupted versions each
FORMS_EXAMPLES = 200  # of the attacks on ATLD's transform
SHOWN = 6  # images with salience maps
BRIGHTNESS = (-0.3, -0.15, 0.0, 0.15, 0.3)
GAMMA = (0.5, 0.75, 1.0, 1.5, 2.0)


def local(look: Look, folders: Folders) -> dict[str, Any]:
    """Measures loss sensitivity, accuracy on shuffled blocks, and salience maps of a few images.

    Returns:
        ``examples``; ``sensitivity``, as :func:`loss_sensitivity` returns it, by transform;
        ``shuffled``, the accuracy by blocks along each axis; and of a few images ``labels``,
        ``images`` and ``salience``, each picture as bytes in base64, so that figures are made of
        the result alone.
    """
    workdir = str(look.run.workdir(folders))
    classifier = load_classifier(workdir, "best")
    images, labels = evaluating.test_examples(look.run.flags["dataset"], EXAMPLES, folders.data_dir)
    maps = salience_picture(smooth_grad(classifier, images[:SHOWN], labels[:SHOWN]))
    magnitudes = {"brightness": BRIGHTNESS, "gamma": GAMMA}
    return {
        "examples": len(labels),
        "sensitivity": {
            transform: loss_sensitivity(
                classifier, images, labels, transform=transform, magnitudes=chosen
            )
            for transform, chosen in magnitudes.items()
        },
        "shuffled": {
            str(blocks): share
            for blocks, share in shuffled_accuracy(classifier, images, labels).items()
        },
        "labels": labels[:SHOWN].tolist(),
        "images": [_bytes_text(image) for image in images[:SHOWN]],
        "salience": [_bytes_text(picture) for picture in maps],
    }


def forms(look: Look, folders: Folders) -> dict[str, Any]:
    """Attacks ATLD's inference transform with and without knowing of it.

    Returns:
        ``examples`` and ``forms``, as :func:`rlfat_tf.evaluation.adaptive.evaluate_forms` does.
    """
    workdir = look.run.workdir(folders)
    epsilon = read_config(workdir).epsilon
    images, labels = evaluating.test_examples(
        look.run.flags["dataset"], FORMS_EXAMPLES, folders.data_dir
    )
    found = adaptive.evaluate_forms(
        checkpoint.load(workdir, "best"),
        images,
        labels,
        make_plan("pgd,apgd_ce,apgd_t", epsilon, "linf", {}),
        epsilon=epsilon,
        report_dir=workdir / "evaluated",
        on_progress=ProgressLine(),
    )
    return {"examples": len(labels), "forms": found}


def corruptions(look: Look, folders: Folders) -> dict[str, Any]:
    """Measures the accuracy under the 15 common corruptions.

    Returns:
        ``examples``, ``clean_accuracy``, ``severities``, ``mean_accuracy`` and ``mean_interval`` of
        :func:`evaluate_corruptions`, and ``by_corruption``, the mean over severities of each.
    """
    workdir = look.run.workdir(folders)
    images, labels = evaluating.test_examples(
        look.run.flags["dataset"], CORRUPTED_EXAMPLES, folders.data_dir
    )
    found = evaluate_corruptions(
        load_classifier(str(workdir), "best"),
        (images, labels),
        report_dir=workdir / "corrupted",
    )
    kept = ("examples", "clean_accuracy", "severities", "mean_accuracy", "mean_interval")
    by_corruption = {name: entry["mean"] for name, entry in found["by_corruption"].items()}
    return {**{name: found[name] for name in kept}, "by_corruption": by_corruption}


# What a look of each kind measures: from the look and the folders to what its result holds.
KINDS: dict[str, Callable[[Look, Folders], dict[str, Any]]] = {
    "local": local,
    "forms": forms,
    "corruptions": corruptions,
}


def check(look: Look, folders: Folders) -> None:
    """Refuses a look that cannot be taken.

    Raises:
        NotPossible: If nobody has written this measurement, or the network is not here.
    """
    if look.kind not in KINDS:
        raise NotPossible(f"{look.key}: the library does not measure {look.kind} yet.")
    network = f"{look.key} needs the network of {look.run.key}"
    if not look.run.result(folders).is_file():
        raise NotPossible(f"{network}, which is not finished: make that run first.")
    try:
        checkpoint.model_path(look.run.workdir(folders), "best")
    except FileNotFoundError:
        raise NotPossible(
            f"{network}, whose result is here, but which is not in {folders.runs}. Give the folder "
            "of its run by --runs, or move its result away and make it again."
        ) from None


def take(look: Look, folders: Folders) -> dict[str, Any]:
    """Takes a look and writes its result, see :data:`KINDS`.

    Raises:
        NotPossible: See :func:`check`.
    """
    check(look, folders)
    result = {
        "study": look.study,
        "run": look.name,
        "command": results.command(look),
        "of": look.run.key,
        "commits": [results.commit()],
        "versions": versions(),
        "machine": machine(),
        "load": results.load(),
        **KINDS[look.kind](look, folders),
    }
    results.write(look.result(folders), result)
    return result


def _bytes_text(values: Any) -> str:
    """Returns numbers in [0, 1] as base64 of 8 bits each."""
    return base64.b64encode(np.round(255 * np.asarray(values)).astype(np.uint8).tobytes()).decode()
