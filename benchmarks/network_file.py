"""A Keras network as one file, from which a process without TensorFlow makes its copy."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

# By the pattern of a name, how many layers are outside of the units.
FAMILIES = {r"wrn-([0-9]+)-([0-9]+)": 4, r"w([0-9]+)-([0-9]+)": 2}
STEM_WIDTH = 16


@dataclasses.dataclass(frozen=True)
class Network:
    """What a copy is made of.

    Attributes:
        name: ``wrn-<depth>-<width>`` or, of the reference's family, ``w<depth>-<width>``.
        units: Name, width and stride of every residual unit.
        num_classes: Number of logits.
        channels: Channels of an image.
        epsilons: Of the batch normalisations, by layer.
        weights: By layer, the arrays that Keras has.
    """

    name: str
    units: list[tuple[str, int, int]]
    num_classes: int
    channels: int
    epsilons: dict[str, float]
    weights: dict[str, list[np.ndarray]]

    def save(self, path: Path) -> None:
        """Writes the file."""
        about = dataclasses.asdict(dataclasses.replace(self, weights={}))
        arrays: dict[str, Any] = {
            f"{layer}/{number}": array
            for layer, listed in self.weights.items()
            for number, array in enumerate(listed)
        }
        np.savez(path, about=json.dumps(about), **arrays)

    @classmethod
    def load(cls, path: Path) -> Network:
        """Reads what :meth:`save` wrote."""
        weights: dict[str, list[np.ndarray]] = {}
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            for key in file.files:
                if key != "about":
                    weights.setdefault(key.rpartition("/")[0], []).append(file[key])
        about["units"] = [(name, width, stride) for name, width, stride in about["units"]]
        return cls(**{**about, "weights": weights})


def network_of(model: Any) -> Network:
    """Describes a Keras ``wrn-<depth>-<width>`` or ``w<depth>-<width>``.

    Raises:
        ValueError: If the model is another network.
    """
    from rlfat_tf.models.common import units  # which brings TensorFlow

    for pattern, more in FAMILIES.items():
        match = re.fullmatch(pattern, model.name)
        if match:
            depth, width = map(int, match.groups())
            layers = [layer for layer in model.layers if layer.weights]
            return Network(
                model.name,
                list(units((16 * width, 32 * width, 64 * width), (depth - more) // 6)),
                int(model.output_shape[-1]),
                int(model.input_shape[-1]),
                {x.name: float(x.epsilon) for x in layers if hasattr(x, "epsilon")},
                {x.name: [np.asarray(w) for w in x.get_weights()] for x in layers},
            )
    raise ValueError(
        f"Expected a network wrn-<depth>-<width> or w<depth>-<width>; received {model.name!r}."
    )
