"""Networks of ``keras.applications`` by name: ``keras:MobileNetV2``, with ImageNet's weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Model
from rlfat_tf.models.adapted.adapt import adapt
from rlfat_tf.models.common import BATCH_NORM_MOMENTUM

PREFIX = "keras:"
FREEZE = ("none", "backbone", "but_last:<n>")


def names() -> list[str]:
    """Returns the networks that this Keras has."""
    return [name for name in dir(keras.applications) if name[0].isupper()]


def trainable_of(freeze: str) -> str:
    """Returns what is trained of a network of which something is frozen.

    Args:
        freeze: ``"none"``, ``"backbone"``: all but the classification layer; ``"but_last:<n>"``:
            all but it and the last n layers with weights before it.

    Raises:
        ValueError: If it is none of that.
    """
    found = re.fullmatch(r"but_last:([1-9][0-9]{0,5})", freeze)
    if not found and freeze not in FREEZE[:2]:
        raise unknown("value of --freeze:", freeze, FREEZE, hint="n is at least 1.")
    if found:
        return f"last:{found.group(1)}"
    return "all" if freeze == "none" else "head"


def check(application: str, weights: str) -> None:
    """Refuses what cannot be built, before anything else is done; fetches weights of ImageNet.

    Args:
        application: The network's name, without ``keras:``.
        weights: ``"imagenet"``, ``"none"`` or the path of a file.

    Raises:
        ValueError: If the name is unknown or the file of another kind.
        FileNotFoundError: If there is no such file.
        OSError: If the weights cannot be fetched.
    """
    _check_name(application)
    if weights == "imagenet":
        _backbone(application, weights, None)  # into Keras's folder of files
    elif weights != "none" and not weights.endswith(".h5"):
        raise ValueError(
            "Expected weights that are imagenet, none or a file of weights (.h5) of the network "
            f"without its classification layer; received {weights!r}."
        )
    elif weights != "none" and not Path(weights).is_file():
        raise FileNotFoundError(f"Expected a file of weights; there is no {weights}.")


@compat.channels_last()
def application(
    application: str,
    *,
    input_shape: Sequence[int],
    num_classes: int,
    normalize: str = "none",
    weights: str = "imagenet",
    trainable: str = "all",
) -> Model:
    """Builds a network of ``keras.applications`` with a new classification layer.

    Args:
        application: Its name there, for instance ``"MobileNetV2"``.
        input_shape: Height, width and 3 channels.
        num_classes: Number of classes, at least two.
        normalize: ``"none"``: it has its own preprocessing.
        weights: ``"imagenet"``, ``"none"`` for random ones, or a file of Keras's for the network
            without its classification layer (``.h5``).
        trainable: What is trained; see :func:`rlfat_tf.adapt`.

    Returns:
        A model from images [batch, height, width, 3] in [0, 1] to logits [batch, num_classes].
        The momentum of its batch normalisation is 0.9.

    Raises:
        ValueError: If an argument is wrong, or the network does not take such images.
        OSError: If the weights cannot be fetched.
    """
    _check_name(application)
    if input_shape[-1] != 3:
        raise ValueError(
            f"{PREFIX}{application} needs images of 3 channels; these have {input_shape[-1]}. Save "
            "them as RGB, or choose a network of this library, for instance preact_resnet18."
        )
    if normalize != "none":
        raise ValueError(
            f"{PREFIX}{application} has its own preprocessing; leave --normalize={normalize} out."
        )
    model = _backbone(application, weights, tuple(input_shape))
    return adapt(model, classes=num_classes, trainable=trainable, bn_momentum=BATCH_NORM_MOMENTUM)


def _check_name(application: str) -> None:
    if application not in names():
        raise unknown("network of keras.applications", application, names())
    if not compat.loads_again(application):
        raise ValueError(
            f"Keras 2 cannot load a {PREFIX}{application} that it has saved, so that the run could "
            "neither be resumed nor evaluated. Use a TensorFlow with Keras 3, or another network, "
            f"for instance {PREFIX}EfficientNetV2B0."
        )


def _backbone(application: str, weights: str, input_shape: Any) -> Model:
    build = getattr(keras.applications, application)
    given = None if weights == "none" else weights
    try:
        return build(weights=given, include_top=False, pooling="avg", input_shape=input_shape)
    except Exception as error:  # Keras raises a bare Exception where it cannot fetch a file
        reason = " ".join(str(error).split())
        if "URL fetch failure" in reason:
            raise OSError(
                f"The weights of {PREFIX}{application} cannot be fetched: {reason:.200}. Copy "
                "Keras's file for include_top=False from a machine that can and give it as "
                "--weights=<file>, or take random ones, --weights=none."
            ) from None
        if isinstance(error, ValueError) and given not in (None, "imagenet"):
            raise ValueError(
                f"{weights} does not hold the weights of {PREFIX}{application} without its "
                f"classification layer (include_top=False): {reason:.200}"
            ) from None
        raise
