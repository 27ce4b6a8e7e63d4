"""Whether examples, classifier and attacks fit together, found out before the first attack."""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks import Attack, Targeted, Transfer
from rlfat_tf.attacks.pixels import OFF_GRID, SAME, is_on_grid, off_grid
from rlfat_tf.attacks.wrapping import Wrapping, attacks_in
from rlfat_tf.core.types import Images, Labels
from rlfat_tf.evaluation.classifier import Classifier, check_alike
from rlfat_tf.evaluation.examples import check_classes
from rlfat_tf.evaluation.plan import Plan


def check_fits(
    plan: Plan, classifier: Classifier, images: Images, labels: Labels, batch_size: int
) -> int:
    """Refuses examples that are not for a classifier, and attacks that cannot be run on it.

    Args:
        plan: The attacks, whatever they are called.
        classifier: Who is to be attacked.
        images: float32 [n, ...] in [0, 1].
        labels: Integers [n].
        batch_size: How many images are looked at at once.

    Returns:
        How many classes the classifier tells apart.

    Raises:
        ValueError: If images are not of the classifier's shape, labels or a target none of its
            classes, the source of a transfer takes other images or knows other classes, an attack
            needs gradients that there are none of, or one of 8-bit pixels is given others.
    """
    shape = tf.TensorShape(classifier.image_shape)
    if not shape.is_compatible_with(images.shape[1:]):
        raise ValueError(
            f"{classifier.name} takes images of shape {shape}; received images of shape "
            f"{images.shape[1:]}. Is it the data set of this model, and its image size?"
        )
    image = images[:1]
    classes = int(classifier.logits_fn(tf.constant(image)).shape[-1])
    check_classes(labels, classes)
    attacks = [(name, attack) for _, made in plan for name, attack in made.items()]
    for name, attack in attacks:
        for part in attacks_in(attack):
            if isinstance(part, Targeted):
                part.check_classes(classes)
            if isinstance(part, Transfer):
                check_alike(f"a source of {name}", part.source, image, classes)
    needing = sorted({name for name, attack in attacks if needs_gradients(attack)})
    if needing and not classifier.has_gradients(image):
        raise ValueError(
            f"{classifier.name} gives no gradient of its logits by the images, which "
            f"{', '.join(needing)} need. Attacks without gradients: nattack, spsa, transfer, "
            "square; one of your own that sets needs_gradients = False."
        )
    if any(is_on_grid(attack) for _, attack in attacks):
        _check_on_grid(images, batch_size)
    return classes


def _check_on_grid(images: Images, at_once: int) -> None:
    """Refuses images between the levels of 8-bit pixels for attacks that return only such."""
    starts = range(0, len(images), at_once)
    off = max(float(off_grid(images[first : first + at_once])) for first in starts)
    if off > SAME:
        raise ValueError(f"{OFF_GRID} {off:.2g}.")


def needs_gradients(attack: Attack) -> bool:
    """Tells whether an attack, or a part of it, differentiates the classifier that it is for."""
    if isinstance(attack, Transfer):
        return False
    if isinstance(attack, Wrapping):
        return needs_gradients(attack.attack)
    parts = getattr(attack, "components", None)
    return any(map(needs_gradients, parts.values())) if parts else attack.needs_gradients
