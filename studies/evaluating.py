"""The evaluation of a run: its checkpoints, example by example.

Test images are taken in an order in which the classes take turns, so that the first N have as many
of every class: AutoAttack's examples are the first ones of those that the other attacks get.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf import data
from rlfat_tf.evaluation.classifier import load_classifier
from rlfat_tf.evaluation.evaluate import make_runner
from rlfat_tf.evaluation.examples import as_arrays
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.plan import make_plan
from rlfat_tf.run.evaluate import ProgressLine
from studies import bits
from studies.runs import Folders, Run

ATTACKS = ("pgd", "cw", "autoattack")


def in_turn(labels: Any) -> Any:
    """Returns the order in which classes take turns: the first example of each, the second, ...

    Args:
        labels: Integers [n].
    """
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        (rows,) = np.nonzero(labels == label)
        rank[rows] = np.arange(len(rows))
    return np.lexsort((labels, rank))


def test_examples(dataset: str, count: int, data_dir: str | None) -> tuple[Any, Any]:
    """Returns the first ``count`` test images, classes in turn, and their labels."""
    test = data.load(dataset, data_dir=data_dir, download=False, test_only=True).test
    return as_arrays(test.take(in_turn(test.labels)[:count]))


def accuracy(correct: bits.Correct) -> dict[str, Any]:
    """Returns what the result of a run says of one evaluation."""
    count, total = int(correct.sum()), len(correct)
    low, high = wilson(count, total)
    return {
        "accuracy": count / total,
        "interval": [round(low, 6), round(high, 6)],
        "examples": total,
        "correct": bits.to_text(correct),
    }


def evaluate_run(run: Run, workdir: Path, epsilon: float, folders: Folders) -> dict[str, Any]:
    """Evaluates a run's checkpoints; a stopped evaluation goes on where it was.

    Args:
        run: What is evaluated.
        workdir: Where its checkpoints are.
        epsilon: Radius of the attacks, in the maximum norm.
        folders: Where the data are.

    Returns:
        By checkpoint ``{"clean": ..., "pgd": ..., "cw": ..., "autoattack": ...}``, each of
        :func:`accuracy`; attacks also with their parameters and seconds.
    """
    images, labels = test_examples(run.flags["dataset"], run.examples, folders.data_dir)
    found: dict[str, Any] = {}
    for checkpoint in run.checkpoints:
        plan = make_plan(",".join(ATTACKS), epsilon, "linf", {})
        runner = make_runner(
            load_classifier(str(workdir), checkpoint),
            images,
            labels,
            plan,
            report_dir=workdir / "evaluated",
            on_progress=ProgressLine(),
        )
        clean = runner.clean()
        found[checkpoint] = {"clean": accuracy(clean)}
        for name, attack in plan[0][1].items():
            limit = run.autoattack if name == "autoattack" else run.examples
            given = clean & (np.arange(len(clean)) < limit)
            robust, record, *_ = runner.attack(name, attack, given)
            found[checkpoint][name] = {
                **accuracy(robust[:limit]),
                "attack": record["attack"],
                "seconds": round(record["seconds"], 1),
            }
    return found
