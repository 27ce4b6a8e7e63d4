"""Whether a classifier can be attacked as a plan says, found out before the first attack."""

from __future__ import annotations

from collections.abc import Iterator

from rlfat_tf.attacks import Attack, Targeted, Transfer
from rlfat_tf.attacks.wrapping import Wrapping
from rlfat_tf.core.types import Images
from rlfat_tf.evaluation.classifier import Classifier, check_alike
from rlfat_tf.evaluation.plan import Plan


def check_fits(plan: Plan, classifier: Classifier, image: Images, classes: int) -> None:
    """Refuses attacks that cannot be run on a classifier, whatever they are called.

    Args:
        plan: The attacks.
        classifier: Who is to be attacked.
        image: One of its images, float32 [1, ...] in [0, 1].
        classes: How many it tells apart.

    Raises:
        ValueError: If a target is none of the classes, the source of a transfer takes other images
            or knows other classes, or an attack needs gradients that there are none of.
    """
    attacks = [(name, attack) for _, made in plan for name, attack in made.items()]
    for name, attack in attacks:
        for part in _layers(attack):
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


def needs_gradients(attack: Attack) -> bool:
    """Tells whether an attack, or a part of it, differentiates the classifier that it is for."""
    if isinstance(attack, Transfer):
        return False
    if isinstance(attack, Wrapping):
        return needs_gradients(attack.attack)
    parts = getattr(attack, "components", None)
    return any(map(needs_gradients, parts.values())) if parts else attack.needs_gradients


def _layers(attack: Attack) -> Iterator[Attack]:
    """Yields an attack and those that are run within it."""
    yield attack
    if isinstance(attack, Wrapping):
        yield from _layers(attack.attack)
