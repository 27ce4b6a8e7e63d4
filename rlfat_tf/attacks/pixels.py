"""Attacks on images as files and screens hold them: every value one of 0/255, 1/255 ... 255/255.

    attack = EightBit(attack=AutoAttack(epsilon=8 / 255))
    adversarial = attack(logits_fn, images, labels, seed=0)

Rounding what an attack returns undoes much of an attack that stops at the border of the classes.
Here the attack sees the classifier through the rounding: what it calls misclassified, keeps as its
best point or turns away from is what the rounded point is. For gradients rounding counts as the
identity (Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML 2018: BPDA).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks.base import Attack, norm_of, passes_of, remaining_of
from rlfat_tf.attacks.points import choose
from rlfat_tf.attacks.transfer import Transfer
from rlfat_tf.attacks.wrapping import Wrapping
from rlfat_tf.core import random
from rlfat_tf.core.checks import guarded
from rlfat_tf.core.compat import keras
from rlfat_tf.core.norms import NORMS
from rlfat_tf.core.types import Images, Labels, LogitsFn, Tensor

LEVELS = 255
GOLDEN = (math.sqrt(5) - 1) / 2  # whose multiples, less whole numbers, are spread evenly
SAME = 1e-3  # of a level: how far from it an image in float32 may be
HALVINGS = 24  # of the interval in which the scale of a perturbation is looked for: float32's bits
TIES = 1e-3  # by how much, of its size, a value may be taken before another of the same size
OFF_GRID = (
    "Expected images of 8-bit pixels, n / 255, to make adversarial images of 8-bit pixels of; "
    "those resized or augmented are none. Round them first, np.round(255 * images) / 255. Received "
    "images that are off by so much of a level:"
)


def off_grid(images: Images) -> Tensor:
    """Returns how far the values are from n / 255 at most, in units of 1 / 255."""
    levels = LEVELS * tf.cast(images, tf.float32)
    return tf.reduce_max(tf.abs(levels - tf.round(levels)))


def radius_on_grid(norm: str, epsilon: float, pixels: int) -> float:
    """Returns the radius of a ball from which rounding to the nearest level leads into a ball.

    In the maximum norm that is epsilon, rounded down to a level: the ball has the same grid points.

    In the Euclidean norm, of n values and in units of levels, rounding adds errors of mean square
    1/12, so that a length r becomes r^2 + n / 12 + 2 r s in the square, with a random term of
    deviation s = 12^(-1/2). The radius is that at which two deviations have room; but of a ball so
    small that most values would move by less than half a level, and are not as random, at least
    three quarters of the square. Points that are outside all the same are rounded by
    :func:`rounded_inside`.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        epsilon: The radius of the ball in which points are to lie.
        pixels: Values of one image, n.
    """
    levels = LEVELS * epsilon
    if norm == "linf":
        return math.floor(levels + SAME) / LEVELS
    deviation = min(2 / math.sqrt(12), levels / 8)
    square = levels**2 - min((pixels - 4) / 12, levels**2 / 4)
    return min(max(math.sqrt(max(square, 0.0)) - deviation, 0.0), levels) / LEVELS


def nearest(points: Images) -> Images:
    """Rounds every value to the nearest n / 255."""
    return tf.round(LEVELS * points) / LEVELS


def rounded_inside(images: Images, points: Images, norm: str | None, epsilon: float) -> Images:
    """Rounds points to n / 255, without leaving the ball that they are in.

    Every value goes to the nearest level; in the maximum norm where that is inside. In the
    Euclidean norm points that would leave the ball are rounded by :func:`farthest_inside`.

    Args:
        images: Of values n / 255, [n, ...].
        points: In [0, 1], [n, ...].
        norm: Of the ball; None: there is none.
        epsilon: Its radius.

    Returns:
        Of the shape of the points; a value of the image that does not move stays exactly as it is.
    """
    origin = tf.round(LEVELS * images)
    levels = LEVELS * epsilon if norm else math.inf
    moved = tf.round(LEVELS * points) - origin
    if norm == "linf":
        moved = tf.clip_by_value(moved, -math.floor(levels + SAME), math.floor(levels + SAME))
    found = tf.where(moved == 0, images, (origin + moved) / LEVELS)
    if norm != "l2":
        return found
    outside = _square(moved) > levels**2 * (1 + 1e-6)
    return tf.where(outside, farthest_inside(images, points, epsilon), found)


def farthest_inside(images: Images, points: Images, epsilon: float) -> Images:
    """Rounds points to n / 255 as far from their images as the Euclidean ball allows.

    The perturbation is scaled, up or down, and rounded to the nearest levels, by the greatest scale
    at which it is inside. No perturbation on the grid that is as short has a greater product with
    it, so that along a gradient none gains more: raising a value from m to m + 1 levels adds
    2 m + 1 to the square of the length, and scaling takes the steps that gain most for it first.

    Args:
        images: Of values n / 255, [n, ...].
        points: In [0, 1], [n, ...].
        epsilon: The radius of the ball.

    Returns:
        Of the shape of the points. Of values of the same size, where there is room for some of them
        only, it is always the same places that move.
    """
    origin = tf.round(LEVELS * images)
    most = (LEVELS * epsilon) ** 2 * (1 + 1e-6)
    places = np.arange(math.prod(images.shape[1:])).reshape(images.shape[1:])
    order = tf.constant(places * GOLDEN % 1, tf.float32)
    delta = (LEVELS * points - origin) * (1 + TIES * order)

    def scaled(scale: Tensor) -> Tensor:
        return tf.clip_by_value(tf.round(scale * delta), -origin, LEVELS - origin)

    # At the greatest scale that is looked at, the greatest value alone is longer than the radius.
    largest = tf.reduce_max(tf.abs(delta), list(range(1, delta.shape.rank)), keepdims=True)
    high = tf.math.divide_no_nan(LEVELS * epsilon + 1, largest)
    low = tf.zeros_like(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        outside = _square(scaled(middle)) > most
        low, high = tf.where(outside, low, middle), tf.where(outside, middle, high)
    moved = scaled(low)
    return tf.where(moved == 0, images, (origin + moved) / LEVELS)


def _square(moved: Tensor) -> Tensor:
    """Returns the square of the length of each perturbation, [n, 1, ...]."""
    return tf.reduce_sum(tf.square(moved), list(range(1, moved.shape.rank)), keepdims=True)


@keras.saving.register_keras_serializable("rlfat_tf")
class EightBit(Wrapping):
    """Runs an attack so that it returns images of 8-bit pixels, in the same ball.

    The images that it is called with must be of 8-bit pixels themselves. In the maximum norm an
    epsilon between two levels counts as the lower one, below 1 / 255 nothing can move; in the
    Euclidean norm the attack runs in a slightly smaller ball, see :func:`radius_on_grid`, and where
    it has failed goes on in its direction to the border of the whole one.

    Around a transfer it goes inside, Transfer(attack=EightBit(...), ...), because there the attack
    looks at the source.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.attack, Transfer):
            raise ValueError(
                "Expected EightBit inside of Transfer, whose attack looks at the source: "
                "Transfer(attack=EightBit(attack=...), source=...); received it outside."
            )
        if hasattr(self.attack, "epsilon") and norm_of(self.attack) not in NORMS:
            raise ValueError(
                f"Expected EightBit around an attack in the norm {' or '.join(NORMS)}, or one "
                f"without epsilon; received {self.attack} in the norm {norm_of(self.attack)}."
            )

    def run(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, unroll: bool
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`.

        Raises:
            tf.errors.InvalidArgumentError: If the images are not of 8-bit pixels.
            ValueError: If the size of the images is not known in the Euclidean norm.
        """
        off = off_grid(images)
        images = guarded(images, off <= SAME, [OFF_GRID, off])
        attack: Any = self.attack
        norm = norm_of(attack) if hasattr(attack, "epsilon") else None
        epsilon = attack.epsilon if norm else math.inf
        if norm:
            pixels = images.shape[1:].num_elements()
            if norm == "l2" and pixels is None:
                raise ValueError(
                    "Expected images of a known size for EightBit in the norm l2, whose radius "
                    f"depends on it; received images of shape {images.shape}. Say their height and "
                    "width in the signature of the function, or use tf.ensure_shape."
                )
            attack = attack.replace(epsilon=radius_on_grid(norm, epsilon, pixels or 0))
        look = tf.grad_pass_through(nearest)
        found = attack.run(lambda points: logits_fn(look(points)), images, labels, seed, unroll)
        inside = rounded_inside(images, found, norm, epsilon)
        if norm != "l2":
            return inside
        failed = remaining_of(logits_fn, inside, labels, passes_of(attack), self.stops)
        return choose(failed, farthest_inside(images, found, epsilon), inside)


def on_grid(attack: Attack) -> Attack:
    """Returns an attack as it is run on 8-bit pixels."""
    if isinstance(attack, Transfer):
        return attack.replace(attack=on_grid(attack.attack))
    return EightBit(attack=attack)


def is_on_grid(attack: Attack) -> bool:
    """Tells whether an attack returns images of 8-bit pixels."""
    if isinstance(attack, Wrapping):
        return isinstance(attack, EightBit) or is_on_grid(attack.attack)
    return False
