"""What happened to each corrupted example: the file ``corrupted.npz`` beside a report.

    corrupted = rlfat_tf.evaluation.read_corrupted("runs/a/evaluation")
    corrupted.right("fog", 3).mean(), corrupted.predictions["fog", 3]

A file apart from ``examples.npz``, because published corrupted images are not those of the clean
test set in its order. It holds plain arrays and no objects, too.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions import BENCHMARK
from rlfat_tf.evaluation.records import check_arrays, opened_records
from rlfat_tf.storage.files import replacing

FILE = "corrupted.npz"
VERSION = 1  # of what that file holds
WRITTEN = "is written by an evaluation with --corruptions"


@dataclasses.dataclass(frozen=True)
class Corrupted:
    """What happened to each of the n examples under every corruption and severity.

    Attributes:
        index: The number of the example in its test set; of the authors' files, in each of them,
            from 0. int64 [n].
        label: Its class, int32 [n].
        predictions: By (corruption, severity), the class predicted of it, -1 for none (a logit is
            NaN), int32 [n].
        data: By (corruption, severity), SHA-256 of what decides the images, hexadecimal: two
            evaluations with the same one have the same corrupted images in the same order.
        classifier: SHA-256 of its weights, hexadecimal; "" where they are not known.
    """

    index: Array
    label: Array
    predictions: Mapping[tuple[str, int], Array]
    data: Mapping[tuple[str, int], str]
    classifier: str = ""

    def right(self, name: str, severity: int) -> Array:
        """Returns which examples are correctly classified under a corruption, bool [n]."""
        return self.predictions[name, severity] == self.label

    @property
    def severities(self) -> list[int]:
        """The severities that the 15 corruptions of the benchmark share; none unless all do."""
        found = {
            name: sorted(s for other, s in self.predictions if other == name) for name in BENCHMARK
        }
        first, *rest = found.values()
        return first if all(other == first for other in rest) else []

    def shares(self) -> Array:
        """Returns under which share of the benchmark each example is right, float64 [n].

        Their mean is the mean corruption accuracy.

        Raises:
            ValueError: If not all 15 corruptions were evaluated at the same severities.
        """
        severities = self.severities
        if not severities:
            raise ValueError(
                "The mean corruption accuracy is over all 15 corruptions of the benchmark at the "
                "same severities, which were not all evaluated: --corruptions=benchmark."
            )
        return np.mean([self.right(name, s) for name in BENCHMARK for s in severities], 0)


def write_corrupted(corrupted: Corrupted, folder: str | Path) -> Path:
    """Writes ``corrupted.npz`` into a folder, in one step; returns its path."""
    path, cells = Path(folder) / FILE, list(corrupted.predictions)
    shape = len(cells), len(corrupted.label)
    with replacing(path) as written:
        np.savez(
            written,
            version=np.array(VERSION),
            classifier=np.array(corrupted.classifier),
            data=np.array([corrupted.data[cell] for cell in cells], np.str_),
            index=np.asarray(corrupted.index, np.int64),
            label=np.asarray(corrupted.label, np.int32),
            corruption=np.array([name for name, _ in cells], np.str_),
            severity=np.array([severity for _, severity in cells], np.int64),
            prediction=np.array([*corrupted.predictions.values()], np.int32).reshape(shape),
        )
    return path


def read_corrupted(path: str | os.PathLike[str]) -> Corrupted:
    """Reads what happened to each corrupted example of an evaluation.

    Args:
        path: The folder of a report, or the file ``corrupted.npz`` itself.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is damaged, or is not what was written.
    """
    with opened_records(path, FILE, VERSION, WRITTEN) as arrays:
        count, cells = len(arrays["label"]), len(arrays["corruption"])
        check_arrays(
            arrays,
            {
                "data": (np.str_, (cells,)),
                "index": (np.int64, (count,)),
                "label": (np.int32, (count,)),
                "corruption": (np.str_, (cells,)),
                "severity": (np.int64, (cells,)),
                "prediction": (np.int32, (cells, count)),
            },
        )
        named = list(zip(arrays["corruption"].tolist(), arrays["severity"].tolist()))
        predictions = dict(zip(named, arrays["prediction"]))
        data = dict(zip(named, arrays["data"].tolist()))
        classifier = str(arrays.get("classifier", ""))
        return Corrupted(arrays["index"], arrays["label"], predictions, data, classifier)
