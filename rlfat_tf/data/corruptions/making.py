"""Makes corrupted images of any: the kinds by name, and the way from 8 bits to 8 bits."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Sequence
from typing import Callable

import numpy as np

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions import blur, colour, digital, elastic, noise, weather
from rlfat_tf.data.corruptions.draws import Draws
from rlfat_tf.data.corruptions.frost import frost
from rlfat_tf.data.corruptions.spatter import spatter
from rlfat_tf.data.corruptions.tables import TABLES, side_of

# From float64 images [n, H, W, 3] in [0, 1], draws and the numbers of a table to such images, which
# may leave [0, 1].
BENCHMARK: dict[str, Callable[..., Array]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": elastic.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
# For validation: what was chosen on the others must not be averaged with them.
EXTRA: dict[str, Callable[..., Array]] = {
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": spatter,
    "saturate": colour.saturate,
}
CORRUPTIONS = {**BENCHMARK, **EXTRA}
GROUPS = {"benchmark": BENCHMARK, "extra": EXTRA, "all": CORRUPTIONS}
SEVERITIES = (1, 2, 3, 4, 5)

VALUES_AT_ONCE = 2**20  # of images in work at once in a thread: about 50 MiB with what they become
ROUNDING = 1e-6  # of 255: whole numbers stay what they are when cut off


def parse(text: str, severities: Sequence[int] = SEVERITIES) -> tuple[tuple[str, int], ...]:
    """Reads which corruptions at which severities are wanted.

    Args:
        text: Joined by commas: ``"benchmark"`` (the 15), ``"extra"`` (the other 4), ``"all"``,
            names, or ``"name:severity"``.
        severities: Where none is given, some of 1 to 5.

    Returns:
        Pairs (name, severity), each once, in the order of :data:`CORRUPTIONS`.

    Raises:
        ValueError: If there is no such corruption or severity, or none is given.
    """
    if np.ndim(severities) == 0:  # a number, or a text that would be read letter by letter
        raise ValueError(
            f"Expected several severities from 1 to 5, such as (1, 3); received {severities!r}."
        )
    wanted = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, severity = part.partition(":")
        if name not in GROUPS and name not in CORRUPTIONS:
            raise unknown("corruption", name, [*GROUPS, *CORRUPTIONS])
        chosen = [severity] if colon else severities
        for one in chosen:
            if str(one) not in map(str, SEVERITIES):
                raise ValueError(f"Expected severities from 1 to 5; received {one!r} of {name}.")
        wanted |= {(kind, int(one)) for kind in GROUPS.get(name, (name,)) for one in chosen}
    if not wanted:
        raise ValueError(f"Expected at least one corruption at one severity; received {text!r}.")
    return tuple((kind, one) for kind in CORRUPTIONS for one in SEVERITIES if (kind, one) in wanted)


def corrupt(
    images: Array,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    examples: Sequence[int] | Array | None = None,
    threads: int | None = None,
) -> Array:
    """Corrupts images.

    Args:
        images: uint8 [n, H, W, C] of 3 channels or 1; a grey image is taken for one of three equal
            channels, the first of which is returned.
        name: From :data:`CORRUPTIONS`.
        severity: 1 to 5. How strong that is goes by the smaller side of the images: as CIFAR-10-C
            up to 48 pixels, as Tiny ImageNet-C up to 128, else as ImageNet-C.
        seed: Of everything random.
        examples: The numbers of the images in their data set, [n], on which their draws depend;
            default 0, 1, ...
        threads: How many work at once; default: as there are processors.

    Returns:
        uint8, of the same shape: a function of each image, its number, the seed, the name and the
        severity alone. Values are cut off to whole numbers, as the published ones are.

    Raises:
        TypeError: If the images are not 8-bit.
        ValueError: If the shape, the name or a number is wrong.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"Expected uint8 images of 0 to 255; received {images.dtype}.")
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise ValueError(
            f"Expected images [n, height, width, 3 or 1]; received shape {images.shape}."
        )
    ((name, severity),) = parse(f"{name}:{severity}") if name in CORRUPTIONS else parse(name)
    numbers = np.arange(len(images)) if examples is None else np.asarray(examples)
    if numbers.shape != images.shape[:1] or seed < 0 or (numbers < 0).any():
        raise ValueError(
            "Expected a seed of at least 0 and a number of at least 0 for every image; received "
            f"seed {seed} and numbers of shape {numbers.shape} for {len(images)} images."
        )
    settings = TABLES[name][side_of(images.shape[1:])][severity - 1]
    size = max(1, VALUES_AT_ONCE // int(np.prod(images.shape[1:])))
    made = np.empty_like(images)

    def work(start: int) -> None:
        rows = slice(start, start + size)
        draws = Draws(seed, name, severity, numbers[rows])
        made[rows] = 255 * apply(images[rows], name, draws, settings) + ROUNDING

    with concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for _ in pool.map(work, range(0, len(images), size)):
            pass  # for the errors
    return made


def apply(images: Array, name: str, draws: Draws, settings: Sequence[float]) -> Array:
    """Corrupts 8-bit images at once, with any numbers that the corruption takes.

    Args:
        images: uint8 [n, H, W, C] of 3 channels or 1.
        name: From :data:`CORRUPTIONS`.
        draws: For n examples.
        settings: As an entry of :data:`rlfat_tf.data.corruptions.tables.TABLES`.

    Returns:
        float64 in [0, 1], of the same shape.
    """
    coloured = np.broadcast_to(images / 255.0, (*images.shape[:3], 3))
    corrupted = CORRUPTIONS[name](coloured, draws, *settings)
    return np.clip(corrupted[..., : images.shape[-1]], 0, 1)
