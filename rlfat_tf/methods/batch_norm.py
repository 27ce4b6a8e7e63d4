"""How batch normalisation behaves while an attack runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.checks import logits_in
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import LogitsFn, Model

ATTACK_BN = ("eval", "batch", "train")


def check_attack_bn(mode: str) -> None:
    """Raises a ValueError if the mode is none of :data:`ATTACK_BN`."""
    if mode not in ATTACK_BN:
        raise unknown("attack_bn", mode, ATTACK_BN)


@contextlib.contextmanager
def attack_forward(model: Model, mode: str) -> Iterator[LogitsFn]:
    """Gives the forward pass that an attack uses.

    Args:
        model: The classifier.
        mode: ``"eval"``: inference mode. ``"batch"``: training mode; when the attack is over the
            moving statistics are what they were before. ``"train"``: training mode, each
            pass updates the moving statistics, as the code of RLFAT and of Madry's challenge does.
            In the last two, Dropout is active, and statistics are shared by the replicas if the
            layers are synchronised, else each replica uses those of its own part of the batch.

    Yields:
        A function from images to logits.

    Raises:
        ValueError: If the mode is unknown.
    """
    check_attack_bn(mode)
    if mode == "eval":
        yield lambda images: logits_in(model(images, training=False))
        return
    moving = [
        variable
        for layer in compat.batch_norm_layers(model)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    before = [tf.identity(variable) for variable in moving] if mode == "batch" else []
    try:
        yield lambda images: logits_in(model(images, training=True))
    finally:
        for variable, value in zip(moving, before):
            variable.assign(value)
