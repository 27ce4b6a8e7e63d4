"""Networks by name: Keras functional models from images in [0, 1] to logits.

``MODELS`` maps names to builders. A name such as ``wrn-<depth>-<width>`` stands for a family: its
numbers (of ``keras:<application>`` the name) are read from the name asked for and given to the
builder.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Callable

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Model
from rlfat_tf.models.adapted.applications import application
from rlfat_tf.models.preact_resnet import preact_resnet18
from rlfat_tf.models.reference import reference_by_depth, reference_wide_resnet
from rlfat_tf.models.resnet import resnet18
from rlfat_tf.models.small_cnn import small_cnn
from rlfat_tf.models.wide_resnet import wide_resnet

# The first entry that fits decides, so names stand before the families that they look like.
MODELS: dict[str, Callable[..., Model]] = {
    "small_cnn": small_cnn,
    "resnet18": resnet18,
    "preact_resnet18": preact_resnet18,
    "preact_resnet18-silu": functools.partial(preact_resnet18, silu=True),
    "w32-10": functools.partial(
        reference_wide_resnet, units_per_stage=5, widths=(160, 320, 640), name="w32-10"
    ),
    # Six units per stage would make it w38-2; the name is the one its authors use.
    "w40-2": functools.partial(
        reference_wide_resnet, units_per_stage=6, widths=(32, 64, 128), name="w40-2"
    ),
    "w<depth>-<width>": reference_by_depth,
    "wrn-<depth>-<width>": wide_resnet,
    "wrn-<depth>-<width>-silu": functools.partial(wide_resnet, silu=True),
    "keras:<application>": application,
}


def find(name: str) -> Callable[..., Model]:
    """Returns the builder of a network, which takes ``input_shape``, ``num_classes`` and others.

    Args:
        name: A name in ``MODELS``, or a member of a family there, for instance ``"wrn-34-10"``.

    Raises:
        ValueError: When the name is unknown.
    """
    for known, builder in MODELS.items():
        match = re.fullmatch(re.sub(r"<(\w+)>", _group, known), name)
        if match:
            given = match.groupdict().items()
            parts = {part: int(text) if text.isdigit() else text for part, text in given}
            return functools.partial(builder, **parts)
    raise unknown(
        "network",
        name,
        MODELS,
        hint="Write numbers for <depth> and <width>, e.g. wrn-34-10, and for <application> a "
        "network of keras.applications, e.g. keras:MobileNetV2.",
    )


def _group(place: re.Match[str]) -> str:
    letters = "[A-Za-z0-9]+" if place[1] == "application" else "[0-9]+"
    return f"(?P<{place[1]}>{letters})"


def build(
    name: str,
    *,
    input_shape: Sequence[int],
    num_classes: int,
    normalize: str = "none",
    **others: str,
) -> Model:
    """Builds a network by its name.

    Args:
        name: See :func:`find`.
        input_shape: Height, width and channels of an image.
        num_classes: Number of classes, at least two.
        normalize: What the network does to the channels first: ``none``, ``cifar10``, ``cifar100``
            or ``<means>/<standard deviations>``, see :func:`rlfat_tf.models.normalize.parse`.
        **others: Of :func:`rlfat_tf.models.application`, for ``keras:<application>``: weights,
            trainable.

    Returns:
        A Keras model from float images [batch, height, width, channels] in [0, 1] to logits
        [batch, num_classes]. Its layers follow the global dtype policy, its logits are float32
        (float64 under a policy of float64), and its batch normalisation shares statistics when it
        is built in the scope of a distribution strategy with several replicas.

    Raises:
        ValueError: When the name is unknown, or the network is not made for such images.
    """
    return find(name)(
        input_shape=input_shape, num_classes=num_classes, normalize=normalize, **others
    )
