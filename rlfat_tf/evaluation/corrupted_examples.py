"""Where corrupted test images come from: made here of clean ones, or files of their authors."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

import numpy as np

from rlfat_tf.core.types import Array, Images, Labels
from rlfat_tf.data import DataSet
from rlfat_tf.data.corruptions import corrupt, stored
from rlfat_tf.data.corruptions.tables import side_of
from rlfat_tf.data.reading import Options


class Cell(NamedTuple):
    """The examples of one corruption at one severity.

    Attributes:
        key: Tells them from all others of the same clean images.
        labels: Integers [n].
        pixels: From a slice of them to uint8 images [m, H, W, C].
    """

    key: str
    labels: Labels
    pixels: Callable[[slice], Array]


class MadeHere:
    """Corrupts clean images when they are needed.

    Attributes:
        kind: For reports, with the table of strengths.
        description: For reports.

    Args:
        images: float32 [n, H, W, C] in [0, 1]; rounded to 8 bits before they are corrupted.
        labels: Integers [n].
        seed: Of the corruptions.

    Raises:
        ValueError: If images have neither 3 channels nor 1, or the seed does not fit 31 bits.
    """

    def __init__(self, images: Images, labels: Labels, seed: int):
        if images.shape[-1] not in (1, 3):
            raise ValueError(
                "Expected images of 3 channels or 1, which can be corrupted; received images of "
                f"shape {images.shape[1:]}."
            )
        if not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ValueError(f"Expected a seed from 0 to 2**31 - 1; received {seed}.")
        self._images, self._labels, self._seed = images, labels, seed
        self.kind = f"made here, strengths for {side_of(images.shape[1:])} pixels"
        self.description: dict[str, Any] = {"kind": self.kind, "seed": seed}

    def cell(self, name: str, severity: int) -> Cell:
        """Returns the examples of a corruption at a severity."""

        def pixels(part: slice) -> Array:
            clean = np.round(255 * np.asarray(self._images[part])).astype(np.uint8)
            numbers = range(*part.indices(len(self._labels)))
            return corrupt(clean, name, severity, seed=self._seed, examples=numbers, threads=1)

        return Cell(f"made {name}:{severity}, seed {self._seed}", self._labels, pixels)

    def checksum(self, cell: Cell, clean: str) -> str:
        """Returns what decides the images of a cell, hexadecimal.

        Args:
            cell: Of these examples.
            clean: The checksum of the clean ones.
        """
        return _checksum(self.kind, clean, cell.key)


class AuthorsFiles:
    """Reads CIFAR-10-C, CIFAR-100-C or ImageNet-C.

    Attributes:
        kind: ``"arrays"`` or ``"class folders"``.
        description: For reports.

    Args:
        root: The folder.
        options: How to read images; ``test_examples`` is of each cell.
        number: Brings the classes of what was read to those of the model.

    Raises:
        FileNotFoundError: If it holds no corrupted images.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        options: Options | None = None,
        number: Callable[[DataSet], DataSet] | None = None,
    ):
        self._root = os.path.expanduser(root)
        self._names: Sequence[str] = stored.names(root)
        self._options = (options or Options())._replace(test_only=True)
        self._number = number
        arrays = os.path.isfile(os.path.join(self._root, f"{self._names[0]}.npy"))
        self.kind = "arrays" if arrays else "class folders"
        name = os.path.basename(os.path.normpath(self._root))
        self.description: dict[str, Any] = {"kind": self.kind, "folder": name}

    def cell(self, name: str, severity: int) -> Cell:
        """Returns the examples of a corruption at a severity."""
        found = stored.read(self._root, name, severity, self._options)
        if self._number is not None:
            found = self._number(found)
        images, labels = found.test.images, found.test.labels
        looks = [*found.content.values(), str(found.image_shape), self._options.view]
        content = hashlib.sha256("\n".join(looks).encode() + labels.tobytes()).hexdigest()[:16]
        key = f"read {name}:{severity} {content}"
        return Cell(key, labels, lambda part: np.asarray(images[part]))

    def checksum(self, cell: Cell, clean: str) -> str:
        """Returns what decides the images of a cell, hexadecimal; clean ones have no part in it."""
        return _checksum(self.kind, "", cell.key)


def _checksum(*decides: str) -> str:
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()
