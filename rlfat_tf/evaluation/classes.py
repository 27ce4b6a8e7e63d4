"""Accuracy class by class, and which classes are taken for which, before and under attack.

An average hides that a network may be useless on one class: on CIFAR-10 robust networks are worst
on cats in most cases. Everything here follows from what happened to each example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.records import Examples

LARGEST_MATRIX = 100  # classes; of more, a report counts the most frequent confusions only
MOST_FREQUENT = 20
MANY = 20  # classes, from which on the worst tenth of them is looked at too


def confusion(labels: Array, predictions: Array, classes: int) -> Any:
    """Counts how many examples of each class are taken for each class.

    Args:
        labels: Integers [n] in 0 ... classes - 1.
        predictions: Integers [n]; what is no class, such as -1, is not counted.
        classes: Number of classes, K.

    Returns:
        int64 [K, K]: entry [k, l] is of the examples of class k that are taken for class l.
    """
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    counted = (predictions >= 0) & (predictions < classes)
    pairs = classes * labels[counted] + predictions[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def worst_case_predictions(examples: Examples, row: int = 0) -> Any:
    """Returns what each example is taken for in the worst case, int32 [n].

    Of an example that is wrong when clean, that is the clean prediction; of one that bounded
    attacks broke, the prediction under the first of them in the order of the report; of all others,
    its class. So it depends on the order and on the losses of the attacks: an untargeted loss ends
    in the nearest wrong class, a targeted one in whichever target came first.

    Args:
        examples: Of an evaluation.
        row: The number of the epsilon.
    """
    found = np.array(examples.clean_prediction)
    for outcomes in reversed([o for o in examples.attacks.values() if o.bounded]):
        broken = outcomes.broken[row]
        found[broken] = outcomes.prediction[row][broken]
    return found


def by_class(examples: Examples, names: Sequence[str]) -> dict[str, Any]:
    """Returns what a report says of the classes, at the first epsilon.

    Shares are of the examples of a class. Intervals are Wilson's, and simultaneous: with 95 % they
    hold for all classes together (Bonferroni), because the worst class is not chosen beforehand.

    Args:
        examples: Of an evaluation.
        names: One for each class.

    Returns:
        ``classes``, ``worst_class`` and ``confusion``, as ``docs/evaluation.md`` describes them.
    """
    counts = np.bincount(examples.label, minlength=len(names))
    z = NormalDist().inv_cdf(1 - 0.05 / (2 * np.count_nonzero(counts)))
    bounded = any(outcomes.bounded for outcomes in examples.attacks.values())
    worst = examples.worst_case()[0]
    attacks = {name: (examples.robust(name)[0], o.examples) for name, o in examples.attacks.items()}
    classes = []
    for label, name in enumerate(names):
        own, count = examples.label == label, int(counts[label])
        tried = own[: len(worst)]
        right, of = int((worst & tried).sum()), int(tried.sum())
        ends = wilson(right, of, z) if bounded and of else None
        classes.append(
            {
                "name": str(name),
                "label": label,
                "examples": count,
                "attacked": of if bounded else None,
                "clean": _share(examples.clean, own),
                "attacks": {
                    key: _share(r[:seen], own[:seen]) for key, (r, seen) in attacks.items()
                },
                "worst_case": _share(worst, tried) if bounded else None,
                "interval": None if ends is None else [round(end, 6) for end in ends],
            }
        )
    matrices = {"clean": confusion(examples.label, examples.clean_prediction, len(names))}
    if bounded:
        labels = examples.label[: len(worst)]
        taken_for = worst_case_predictions(examples)[: len(worst)]
        matrices["worst_case"] = confusion(labels, taken_for, len(names))
    return {
        "classes": classes,
        "worst_class": _worst([known for known in classes if known["worst_case"] is not None]),
        "confusion": {
            "clean": _small(matrices["clean"]),
            "worst_case": _small(matrices.get("worst_case")),
            "most_frequent": _most_frequent(matrices.get("worst_case", matrices["clean"])),
        },
    }


def _share(correct: Array, own: Array) -> float | None:
    """Returns the share of a class's examples, None if it has none."""
    return float((correct & own).sum() / own.sum()) if own.any() else None


def _worst(classes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the class of the lowest worst case, and the mean of the worst tenth of many."""
    if not classes:
        return None
    ordered = sorted(classes, key=lambda known: known["worst_case"])
    keys = "name", "label", "examples", "attacked", "worst_case", "interval"
    found = {key: ordered[0][key] for key in keys}
    if len(ordered) >= MANY:
        tenth = ordered[: math.ceil(len(ordered) / 10)]
        found["worst_tenth"] = float(np.mean([known["worst_case"] for known in tenth]))
    return found


def _small(matrix: Any) -> list[list[int]] | None:
    """Returns a matrix as lists, unless there is none or it is too large for a text."""
    if matrix is None or len(matrix) > LARGEST_MATRIX:
        return None
    rows: list[list[int]] = matrix.tolist()
    return rows


def _most_frequent(matrix: Any) -> list[dict[str, int]]:
    """Returns the pairs of a class and another one that it is most often taken for."""
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    largest = np.argsort(-wrong, axis=None, kind="stable")[:MOST_FREQUENT]
    pairs = [divmod(int(place), len(matrix)) for place in largest]
    return [
        {"label": label, "prediction": taken, "examples": int(wrong[label, taken])}
        for label, taken in pairs
        if wrong[label, taken]
    ]
