"""The mean corruption error: errors relative to those of a baseline, corruption by corruption.

CE_c = sum_s err(c, s) / sum_s err_baseline(c, s) and mCE = mean_c CE_c over the 15 corruptions of
the benchmark; relative mCE has err - err_clean in place of err, of both (Hendrycks and Dietterich,
ICLR 2019).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlfat_tf.core.types import Report
from rlfat_tf.data.corruptions import BENCHMARK, SEVERITIES
from rlfat_tf.evaluation.corrupted_examples import AuthorsFiles, MadeHere
from rlfat_tf.evaluation.corrupted_records import read_corrupted
from rlfat_tf.storage.reading import read_json

ALL_OF_ALEXNET = "The errors of AlexNet are means over severity 1 to 5: evaluate all."

# Of AlexNet on ImageNet-C, the mean of the five severities: the constants of public evaluation
# scripts, which name github.com/hendrycks/robustness as their source.
ALEXNET = dict(
    zip(
        BENCHMARK,
        (0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816,
         0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
    )
)  # fmt: skip


def mean_corruption_error(report: Report, baseline: Report | str) -> dict[str, Any]:
    """Divides the errors of a report by those of a baseline.

    Args:
        report: From :func:`rlfat_tf.evaluation.corruptions.summary`.
        baseline: Another one; or ``"alexnet"``.

    Returns:
        ``baseline``, ``mce``, ``relative_mce`` (null without clean accuracies or where the baseline
        loses nothing) and ``by_corruption``, CE of each of the 15.

    Raises:
        ValueError: If one of the 15 corruptions was not evaluated in both, or not at the same
            severities, or the baseline makes no errors.
    """
    own = _errors(report, "This report")
    if isinstance(baseline, str):
        if any(len(severities) != len(SEVERITIES) for severities, _ in own.values()):
            raise ValueError(ALL_OF_ALEXNET)
        other = {name: (own[name][0], ALEXNET[name]) for name in BENCHMARK}
        name_of, clean = baseline, None
    else:
        other, clean = _errors(baseline, "The baseline"), baseline["clean_accuracy"]
        name_of = str(baseline.get("path", "report"))
    _check_divisors({name: severities for name, (severities, _) in own.items()}, other)
    found = {name: own[name][1] / other[name][1] for name in BENCHMARK}
    relative: float | None = None
    if clean is not None and report["clean_accuracy"] is not None:
        lost = [own[name][1] - (1 - report["clean_accuracy"]) for name in BENCHMARK]
        theirs = [other[name][1] - (1 - clean) for name in BENCHMARK]
        if all(loss > 0 for loss in theirs):
            relative = sum(a / b for a, b in zip(lost, theirs)) / len(BENCHMARK)
    return {
        "baseline": name_of,
        "mce": sum(found.values()) / len(found),
        "relative_mce": relative,
        "by_corruption": found,
    }


def _errors(report: Report, whose: str) -> dict[str, tuple[list[int], float]]:
    """Returns severities and mean error of each of the 15."""
    found = report["by_corruption"]
    missing = [name for name in BENCHMARK if name not in found]
    if missing:
        raise ValueError(
            f"{whose} lacks {', '.join(missing)}: the mean corruption error is over all 15 of the "
            "benchmark (--corruptions=benchmark)."
        )
    return {name: (found[name]["severities"], 1 - found[name]["mean"]) for name in BENCHMARK}


def baseline_of(
    baseline: str | os.PathLike[str],
    examples: MadeHere | AuthorsFiles,
    cells: Sequence[tuple[str, int]],
    clean: str,
) -> Report | str:
    """Reads whose errors the mean corruption error is relative to, before anything is evaluated.

    Args:
        baseline: The folder of a report with corruptions, or ``"alexnet"``.
        examples: The corrupted images here.
        cells: Which of them are evaluated, from :func:`rlfat_tf.data.corruptions.parse`.
        clean: The checksum of the clean examples.

    Raises:
        FileNotFoundError: If there is no report.
        ValueError: If it is damaged, has no corruptions, or is of other images or severities.
    """
    own = {name: sorted(s for one, s in cells if one == name) for name in BENCHMARK}
    if baseline == "alexnet":
        if examples.kind != "class folders":
            raise ValueError(
                "The errors of AlexNet are of ImageNet-C itself (--corruption_dir): no others can "
                "be divided by them. Name the folder of a report as the baseline."
            )
        if any(len(severities) != len(SEVERITIES) for severities in own.values()):
            raise ValueError(ALL_OF_ALEXNET)
        return "alexnet"
    path = Path(baseline) / "report.json"
    found = read_json(path, "Evaluate the baseline anew.").get("corruptions")
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} has no corruptions. Evaluate the baseline with the same --corruptions first."
        )
    _check_divisors(own, _errors(found, "The baseline"))
    data = read_corrupted(baseline).data
    name = next(iter(BENCHMARK))
    first = name, own[name][0]
    if data.get(first) != examples.checksum(examples.cell(*first), clean):
        raise ValueError(
            f"The corrupted images of {path} are others than here, or in another order: their "
            "errors cannot be compared. Evaluate the baseline on the same test images, with the "
            "same seed and number of them."
        )
    return {**found, "path": str(baseline)}


def _check_divisors(
    severities: Mapping[str, Sequence[int]], baseline: Mapping[str, tuple[list[int], float]]
) -> None:
    """Refuses errors of a baseline by which those at other severities would be divided, or 0."""
    for name, here in severities.items():
        there, error = baseline[name]
        if list(here) != list(there):
            raise ValueError(
                f"Expected the same severities in both: {name} has {list(here)} here and "
                f"{list(there)} in the baseline."
            )
        if error == 0:
            raise ValueError(f"The baseline makes no errors under {name}: nothing to divide by.")
