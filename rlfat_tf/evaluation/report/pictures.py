"""Pictures of images: salience maps, adversarial examples, Random Block Shuffle.

Like :mod:`rlfat_tf.evaluation.plots`, without pyplot and without a display. Images are float in
[0, 1], [height, width, channels]; small ones are shown pixel by pixel.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlfat_tf.core import random, transforms
from rlfat_tf.core.types import Array, Images, Labels
from rlfat_tf.evaluation.measures.saliency import salience_picture
from rlfat_tf.evaluation.report.plots import FAINT, INK, new_figure, plain

RIGHT, WRONG = "#00785A", "#C43E00"  # green and red that colour-blind people can tell apart
BORDER = "#E69F00"
CELL = 1.15  # inches
ROOM = 14  # letters of 10 points that fit into that
SMALL = 100  # pixels a side
# A draw that reorders three blocks on both axes, none too thin to see, at 8, 28, 32 and 96 pixels.
TELLING_SEED = 1499


def salience_grid(
    images: Images,
    maps_by_model: Mapping[str, Array],
    class_names: Sequence[str],
    labels: Labels,
) -> Figure:
    """Draws a row for each image: the image, then the salience map of every model.

    Args:
        images: [n, height, width, channels].
        maps_by_model: By name of the model, the maps of
            :func:`rlfat_tf.evaluation.saliency.smooth_grad`, of the shape of the images.
        class_names: One for each class.
        labels: Integers [n].

    Returns:
        The figure, laid out as Figure 3 of Song et al. (ICLR 2020).
    """
    images = np.asarray(images)
    names = [shortened(class_names[int(label)]) for label in labels]
    columns = [("image", images, "gray")]
    columns += [(name, salience_picture(maps), "inferno") for name, maps in maps_by_model.items()]
    width = side_width(names) + CELL * len(columns)
    figure = new_figure(width, 0.4 + CELL * len(images), layout="compressed")
    panels = figure.subplots(len(images), len(columns), squeeze=False)
    for row, name in enumerate(names):
        side_label(panels[row, 0], name)
        for axes, (_, shown, colours) in zip(panels[row], columns):
            show_image(axes, shown[row], colours)
    for axes, (title, _, _) in zip(panels[0], columns):
        axes.set_title(wrapped(title), fontsize=10, color=INK)
    return figure


def adversarial_grid(
    images: Images,
    adversarial: Images,
    labels: Labels,
    clean_predictions: Labels,
    adversarial_predictions: Labels,
    class_names: Sequence[str],
) -> Figure:
    """Draws a column for each example: the image, what was added, and the adversarial image.

    The true class heads the column. Predictions stand above the images, green and ticked where
    right, red and crossed where wrong. Perturbations are centred on gray and enlarged by one
    factor, which is named.

    Args:
        images: [n, height, width, channels].
        adversarial: As ``images``.
        labels: Integers [n].
        clean_predictions: Predicted classes of ``images``, integers [n].
        adversarial_predictions: Those of ``adversarial``.
        class_names: One for each class.

    Returns:
        The figure.
    """
    images, adversarial = np.asarray(images), np.asarray(adversarial)
    delta = adversarial - images
    factor = enlargement(float(np.abs(delta).max()))
    names = ("image", f"perturbation\n\u00d7 {factor:g}", "adversarial")
    width = side_width(["perturbation"]) + CELL * len(images)
    figure = new_figure(width, 0.7 + CELL * 3, layout="compressed")
    panels = figure.subplots(3, len(images), squeeze=False)
    for column, label in enumerate(np.asarray(labels)):
        original, added, attacked = panels[:, column]
        show_image(original, images[column])
        show_image(added, np.clip(0.5 + factor * delta[column], 0.0, 1.0))
        show_image(attacked, adversarial[column])
        head = {"transform": original.transAxes, "ha": "center", "fontsize": 10, "color": INK}
        original.text(0.5, 1.2, shortened(class_names[int(label)]), weight="bold", **head)
        _prediction(original, int(clean_predictions[column]), int(label), class_names)
        _prediction(attacked, int(adversarial_predictions[column]), int(label), class_names)
    for axes, name in zip(panels[:, 0], names):
        side_label(axes, name)
    return figure


def block_shuffle_figure(
    image: Array, *, num_blocks: int = 3, mode: str = "batch", seed: random.SeedLike = TELLING_SEED
) -> Figure:
    """Illustrates Random Block Shuffle: the image, its rows shuffled, then its columns too.

    The last picture is what ``random_block_shuffle(image[None], num_blocks, mode=mode, seed=seed)``
    makes. Dashed lines are the cuts to come, full lines the seams; blocks carry their numbers.

    Args:
        image: [height, width, channels].
        num_blocks: k.
        mode: ``"batch"`` or ``"image"``: random cuts; ``"equal"``: blocks of equal size.
        seed: See :mod:`rlfat_tf.core.random`. A draw may well leave a block empty or all in order;
            the default does not.

    Returns:
        The figure, laid out as Figure 1 of Song et al. (ICLR 2020).

    Raises:
        ValueError: If the image has no room for so many blocks, or the mode is unknown.
    """
    image = np.asarray(image)
    height, width, _ = image.shape
    seed = random.as_seed(seed)
    rows, columns = (
        transforms.Blocks(*map(np.ravel, transforms.draw_blocks(size, num_blocks, mode, own, 1)))
        for size, own in ((height, seed.fold(1)), (width, seed.fold(2)))
    )
    shuffled = image[np.asarray(transforms.block_indices(rows, height))]
    both = shuffled[:, np.asarray(transforms.block_indices(columns, width))]
    figure = new_figure(7.2, 2.75, layout="compressed")
    panels = figure.subplots(1, 3)
    titles = ("image", "horizontal strips shuffled", "then vertical strips too")
    for axes, shown, title in zip(panels, (image, shuffled, both), titles):
        show_image(axes, shown)
        axes.set_title(title, fontsize=10, color=INK, pad=18)
    for axes, blocks, axis, shuffle in (
        (panels[0], rows, "y", False),
        (panels[1], rows, "y", True),
        (panels[1], columns, "x", False),
        (panels[2], rows, "y", True),
        (panels[2], columns, "x", True),
    ):
        _blocks(axes, blocks, axis, height if axis == "y" else width, shuffle)
    return figure


def show_image(axes: Axes, image: Array, colours: str = "gray") -> None:
    """Shows one image in [0, 1] without ticks: unless it has 3 channels, their mean in gray."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] != 3:
        image = image.mean(-1)
    smooth = "nearest" if max(image.shape[:2]) < SMALL else "antialiased"
    axes.imshow(image, cmap=colours, vmin=0.0, vmax=1.0, interpolation=smooth)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_linewidth(0.6)


def side_label(axes: Axes, text: str) -> None:
    """Writes to the left of a picture."""
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, color=INK)


def side_width(texts: Sequence[str]) -> float:
    """Returns how many inches :func:`side_label` needs for the longest of the texts."""
    return 0.2 + 0.068 * max(len(text) for text in texts)


def shortened(name: str, room: int = ROOM) -> str:
    """Returns as much of a name of a class as there is room for, by default above a picture."""
    return plain(name if len(name) <= room else f"{name[: room - 1]}\u2026")


def wrapped(name: str) -> str:
    """Breaks the name of a model, which may be a file's, into lines as wide as a picture."""
    return plain(textwrap.fill(name.replace("_", "_ "), ROOM + 1).replace("_ ", "_"))


def enlargement(largest: float) -> float:
    """Returns the factor, of two digits, that shows a perturbation around gray, 1 if it is none."""
    if largest == 0:
        return 1.0
    return float(f"{0.4 / largest:.2g}")


def _prediction(axes: Axes, predicted: int, label: int, class_names: Sequence[str]) -> None:
    """Writes what a classifier says above the image it says it of."""
    right = predicted == label
    mark = "\u2713" if right else "\u2717"
    colour = RIGHT if right else WRONG
    said = class_names[predicted] if predicted >= 0 else "no class"  # of logits that are NaN
    axes.set_title(f"{shortened(said)} {mark}", fontsize=9, color=colour, pad=3)


def _blocks(axes: Axes, blocks: transforms.Blocks, axis: str, size: int, shuffled: bool) -> None:
    """Draws the borders of blocks, before or after they are shuffled, and numbers them."""
    lengths = np.diff(blocks.starts, append=size)
    seen = lengths > 0  # a cut may fall on another one or on the edge: such a block is empty
    numbers = np.cumsum(seen)
    order = blocks.order if shuffled else np.arange(len(lengths))
    order = order[seen[order]]
    ends = np.cumsum(lengths[order])
    line = axes.axhline if axis == "y" else axes.axvline
    style: dict[str, Any] = {"linestyle": "-" if shuffled else (0, (4, 3))}
    for border in ends[:-1]:
        line(border - 0.5, color=BORDER, linewidth=2.0, **style)
    ticks = axes.yaxis if axis == "y" else axes.xaxis
    ticks.set_ticks(ends - lengths[order] / 2 - 0.5, [str(number) for number in numbers[order]])
    ticks.set_tick_params(length=0, labelsize=9, labelcolor=INK)
    if axis == "x":
        axes.xaxis.tick_top()
