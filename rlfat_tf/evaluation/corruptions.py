"""Accuracy on corrupted images: noise, blur, weather, digital, at five severities.

    report = rlfat_tf.evaluation.evaluate_corruptions(model, (images, labels))
    report["mean_accuracy"], report["by_corruption"]["fog"]["accuracy"]

Corruptions are no attacks: they know nothing of the model, and never count for a worst case.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.attacks.base import predicted_class
from rlfat_tf.core.random import plain_seed
from rlfat_tf.core.types import Array, Report
from rlfat_tf.data.corruptions import BENCHMARK, SEVERITIES, parse
from rlfat_tf.evaluation.classifier import as_classifier
from rlfat_tf.evaluation.corrupted_examples import AuthorsFiles, Cell, MadeHere
from rlfat_tf.evaluation.corrupted_records import Corrupted, write_corrupted
from rlfat_tf.evaluation.evaluate import make_runner
from rlfat_tf.evaluation.examples import as_arrays, check_classes, check_width
from rlfat_tf.evaluation.intervals import Z_95, wilson
from rlfat_tf.evaluation.judged import weights_digest
from rlfat_tf.evaluation.mce import baseline_of, mean_corruption_error
from rlfat_tf.evaluation.recognition import advice_for
from rlfat_tf.evaluation.records import check_arrays
from rlfat_tf.evaluation.runner import AttackRunner
from rlfat_tf.evaluation.watching import OnProgress, Standing
from rlfat_tf.storage.files import replacing
from rlfat_tf.storage.reading import as_written, read_arrays

FILE = "corruptions.npz"
SECONDS = "seconds"  # its array that is of no corruption
SAVED_EVERY = 5.0  # seconds


def evaluate_corruptions(
    model: Any,
    data: Any,
    *,
    corruptions: str = "benchmark",
    severities: Sequence[int] = SEVERITIES,
    baseline: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    report_dir: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Evaluates a classifier on corrupted test images.

    Args:
        model: As :func:`rlfat_tf.evaluation.evaluate` takes it.
        data: Clean test examples, as there, which are corrupted here; or the folder of CIFAR-10-C,
            CIFAR-100-C or ImageNet-C, whose classes must be numbered as the model's.
        corruptions: ``"benchmark"`` (the 15), ``"extra"`` (the other 4), ``"all"``, names, or
            ``"name:severity"``, joined by commas.
        severities: Where ``corruptions`` gives none.
        baseline: For the mean corruption error: the folder of another model's report, or
            ``"alexnet"`` for ImageNet-C itself.
        batch_size: Changes speed and memory, not the result.
        seed: Of the corruptions.
        report_dir: Where to keep progress, so that a killed evaluation goes on, and to write what
            happened to each example, see :func:`read_corrupted`; None: nowhere.

    Returns:
        What ``report["corruptions"]`` of a report holds, see ``docs/evaluation.md``.

    Raises:
        FileNotFoundError: If there is no such folder or report.
        TypeError: If the model or the data are of no kind that is known.
        ValueError: If a name or a severity is wrong, or something does not fit together.
    """
    seed, cells = plain_seed(seed), parse(corruptions, severities)
    examples: MadeHere | AuthorsFiles
    if isinstance(data, (str, os.PathLike)):
        examples = AuthorsFiles(data)
        first = examples.cell(*cells[0])
        images, labels = first.pixels(slice(1)), first.labels[:1]
        images, labels = as_arrays((images, labels))
    else:
        images, labels = as_arrays(data)
        examples = MadeHere(images, labels, seed)
    runner = make_runner(
        as_classifier(model),
        images,
        labels,
        [],
        batch_size=batch_size,
        seed=seed,
        report_dir=None if report_dir is None else Path(report_dir),
    )
    if isinstance(examples, MadeHere):
        check_width(data, runner.classes)
    reference = (
        None
        if baseline is None
        else baseline_of(baseline, examples, cells, runner.progress.identity["data"])
    )
    report, corrupted = run_corruptions(
        runner, examples, cells, baseline=reference, clean=isinstance(examples, MadeHere)
    )
    if report_dir is not None:
        write_corrupted(corrupted, Path(report_dir))
    return report


def run_corruptions(
    runner: AttackRunner,
    examples: MadeHere | AuthorsFiles,
    cells: Sequence[tuple[str, int]],
    *,
    baseline: Report | str | None = None,
    clean: bool = True,
    on_progress: OnProgress | None = None,
) -> tuple[dict[str, Any], Corrupted]:
    """Evaluates all corruptions and puts their part of a report together.

    Args:
        runner: From :func:`rlfat_tf.evaluation.evaluate.make_runner`.
        examples: Where corrupted images come from.
        cells: From :func:`rlfat_tf.data.corruptions.parse`.
        baseline: From :func:`baseline_of`.
        clean: Whether the examples of the runner are those, clean.
        on_progress: Called after every batch: what runs, examples done, to do, right, seconds.

    Returns:
        The part of the report, and what happened to each example.

    Raises:
        ValueError: If the examples of one corruption are not those of another.
    """
    state = _State(runner.progress.folder)
    predictions: dict[tuple[str, int], Array] = {}
    data: dict[tuple[str, int], str] = {}
    labels, done = None, 0
    for name, severity in cells:
        cell, title = examples.cell(name, severity), f"{name}:{severity}"
        if labels is None:
            labels = cell.labels
            check_classes(labels, runner.classes)
        if not np.array_equal(labels, cell.labels):
            raise ValueError(
                f"Expected the same examples under every corruption; the classes of {title} are "
                f"others than those of {next(iter(data))[0]}:{next(iter(data))[1]}. Are images "
                "missing, or is the order of the files another one?"
            )
        for found in _evaluate(runner, cell, state):
            predictions[name, severity] = found
            if on_progress is not None:
                right = int((found == labels[: len(found)]).sum())
                counts = done + len(found), len(labels) * len(cells), right
                on_progress(Standing(title, None, *counts, state.seconds(), None))
        done += len(labels)
        data[name, severity] = examples.checksum(cell, runner.progress.identity["data"])
    weights = weights_digest(runner.classifier)
    corrupted = Corrupted(np.arange(len(cell.labels)), labels, predictions, data, weights)
    report = summary(corrupted, float(runner.clean().mean()) if clean else None)
    report.update(examples.description, seconds=round(state.seconds(), 3))
    if baseline is not None:
        report["mce"] = mean_corruption_error(report, baseline)
    return report, corrupted


def _evaluate(runner: AttackRunner, cell: Cell, state: _State) -> Iterator[Array]:
    """Yields the classes predicted of the examples of a cell, of ever more, at last int32 [n].

    Images are made ahead by as many threads as there are processors, a batch each.
    """
    found = state.of(cell.key)
    starts = range(len(found), len(cell.labels), runner.batch_size)
    parts = [slice(start, start + runner.batch_size) for start in starts]
    if not parts:
        yield found
    workers = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        rest = iter(parts)
        ahead = [pool.submit(cell.pixels, p) for p in itertools.islice(rest, workers + 1)]
        for _ in parts:
            images = ahead.pop(0).result()
            ahead += [pool.submit(cell.pixels, p) for p in itertools.islice(rest, 1)]
            logits = runner.logits(images.astype(np.float32) / np.float32(255))
            found = np.concatenate([found, predicted_class(logits).numpy()])
            state.note(cell.key, found, last=len(found) == len(cell.labels))
            yield found


class _State:
    """The classes that were predicted so far, by cell, and the seconds of that, on disk."""

    def __init__(self, folder: Path | None):
        self._path = None if folder is None else folder / FILE
        self._cells: dict[str, Array] = {}
        self._saved = self._began = time.monotonic()
        self._before = 0.0  # seconds of earlier processes
        if self._path is not None and self._path.is_file():
            advice = advice_for(self._path)
            self._cells = read_arrays(self._path, advice)
            with as_written(self._path, advice):
                before = self._cells.pop(SECONDS, np.float64(0))
                check_arrays({SECONDS: before}, {SECONDS: (np.float64, ())})
                self._before = float(before)
                for key, found in self._cells.items():
                    check_arrays({key: found}, {key: (np.int32, (found.size,))})

    def seconds(self) -> float:
        """Returns how long all processes together have worked on it."""
        return self._before + time.monotonic() - self._began

    def of(self, key: str) -> Array:
        return self._cells.get(key, np.zeros(0, np.int32))

    def note(self, key: str, predictions: Array, *, last: bool) -> None:
        self._cells[key] = predictions
        if self._path is None or not (last or time.monotonic() - self._saved > SAVED_EVERY):
            return
        self._saved = time.monotonic()
        with replacing(self._path) as written:
            np.savez(written, **{SECONDS: np.float64(self.seconds()), **self._cells})


def summary(corrupted: Corrupted, clean_accuracy: float | None = None) -> dict[str, Any]:
    """Sums up what was right of every corruption and severity.

    Args:
        corrupted: What happened to each example.
        clean_accuracy: On the same images as they are; None if that is not known.

    Returns:
        ``examples``, ``clean_accuracy``, ``severities``, ``by_corruption`` and, where all 15 of the
        benchmark were evaluated at the same severities, ``mean_accuracy`` with its interval: of
        every example the mean of its cells counts once, for they are of one image.
    """
    by_corruption: dict[str, Any] = {}
    for name, severity in corrupted.predictions:
        entry = by_corruption.setdefault(
            name, {"benchmark": name in BENCHMARK, "severities": [], "accuracy": [], "interval": []}
        )
        right = corrupted.right(name, severity)
        low, high = wilson(int(right.sum()), len(right))
        entry["severities"].append(severity)
        entry["accuracy"].append(int(right.sum()) / len(right))
        entry["interval"].append([round(low, 6), round(high, 6)])
    for entry in by_corruption.values():
        entry["mean"] = sum(entry["accuracy"]) / len(entry["accuracy"])
    severities = corrupted.severities
    mean: float | None = None
    interval: list[float] | None = None
    if severities:
        by_example = corrupted.shares()
        mean = float(by_example.mean())
        if len(by_example) > 1:
            spread = Z_95 * float(by_example.std(ddof=1)) / len(by_example) ** 0.5
            interval = [round(max(0.0, mean - spread), 6), round(min(1.0, mean + spread), 6)]
    return {
        "examples": len(corrupted.label),
        "clean_accuracy": clean_accuracy,
        "severities": severities or None,
        "mean_accuracy": mean,
        "mean_interval": interval,
        "mce": None,
        "by_corruption": by_corruption,
    }
