"""Robust networks that come with the library: their weights, and a card that says what each holds.

Beside ``weights/<name>.keras`` lies ``weights/<name>.json``, the card. The network is built by its
name in this library and then given the weights of the file, so that one file serves Keras 2 and
Keras 3 alike and nothing that describes a model is read from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Model
from rlfat_tf.models.registry import build

FOLDER = Path(__file__).resolve().parent / "weights"
PREFIX = "pretrained:"  # of a name where else a path is expected


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """What is known of a network that comes with the library.

    Attributes:
        name: Of the network, ``<data set>-<norm>-<network>``.
        dataset: On whose training images it was trained, a name of :func:`rlfat_tf.data.load`.
        class_names: One for each logit.
        image_shape: Height, width and channels of an image.
        network: Its name in :data:`rlfat_tf.models.MODELS`.
        normalize: What it does to channels first, see :func:`rlfat_tf.models.build`.
        parameters: How many numbers training changed.
        method: The method of training.
        norm: The norm in which it was made robust.
        epsilon: The radius, for pixels in [0, 1].
        accuracy: The share of ``examples`` test images classified correctly.
        robust_accuracy: The share of ``robust_examples`` test images that are classified correctly
            and stay so under ``attack``.
        examples: How many test images ``accuracy`` was measured on.
        robust_examples: How many test images ``robust_accuracy`` was measured on.
        attack: What the robust accuracy was measured by.
        command: How it was trained; several commands, one a line, where each began with the weights
            of the one before.
        hours: How long training took altogether, on ``machine``.
        machine: On what it was trained.
        versions: Of the libraries that trained it.
        licence: Under which the weights may be used.
        sha256: Digest of the file of weights.
    """

    name: str
    dataset: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    network: str
    normalize: str
    parameters: int
    method: str
    norm: str
    epsilon: float
    accuracy: float
    robust_accuracy: float
    examples: int
    robust_examples: int
    attack: str
    command: str
    hours: float
    machine: str
    versions: Mapping[str, str]
    licence: str
    sha256: str

    @property
    def path(self) -> Path:
        """The file of its weights."""
        return FOLDER / f"{self.name}.keras"

    @classmethod
    def read(cls, path: Path) -> Pretrained:
        """Reads a card."""
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("class_names", "image_shape"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def pretrained() -> dict[str, Pretrained]:
    """Returns the cards of all networks that come with the library, by name.

    A card says what a network is and what it was trained on, and holds its evaluation; see
    :class:`Pretrained`.
    """
    cards = (Pretrained.read(path) for path in sorted(FOLDER.glob("*.json")))
    return {card.name: card for card in cards}


def card_of(name: str) -> Pretrained:
    """Returns the card of one network.

    Args:
        name: A name of :func:`pretrained`, with or without ``pretrained:`` before it.

    Raises:
        ValueError: If there is none of this name.
    """
    cards = pretrained()
    bare = name[len(PREFIX) :] if name.startswith(PREFIX) else name
    if bare not in cards:
        raise unknown("pretrained network", bare, cards)
    return cards[bare]


def load_pretrained(name: str) -> Model:
    """Loads a robust network that comes with the library.

    Args:
        name: A name of :func:`pretrained`, for instance ``"digits-linf-wrn10-1"``, with or without
            ``pretrained:`` before it.

    Returns:
        A Keras model from float images [batch, height, width, channels] in [0, 1] to logits
        [batch, classes], not compiled. It is an ordinary model: it can be trained further, saved,
        and evaluated by :func:`rlfat_tf.evaluation.evaluate`.

    Raises:
        ValueError: If there is none of this name, or its file is not the one that was shipped.
    """
    card = card_of(name)
    if hashlib.sha256(card.path.read_bytes()).hexdigest() != card.sha256:
        raise ValueError(
            f"{card.path} is not the file that came with this library. Install rlfat_tf anew."
        )
    network = build(
        card.network,
        input_shape=card.image_shape,
        num_classes=len(card.class_names),
        normalize=card.normalize,
    )
    network.load_weights(card.path)
    return network
