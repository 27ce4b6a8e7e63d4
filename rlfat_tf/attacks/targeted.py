"""Attacks towards a class: an example has failed when it is taken for that class and no other.

    attack = Targeted(attack=LinfPGD(epsilon=8 / 255, steps=40), target="least_likely")
    adversarial = attack(logits_fn, images, labels, seed=0)

One mechanism serves every attack: its labels are marked as classes to reach, and the losses and
:func:`rlfat_tf.attacks.base.is_correct` read them with the opposite sign. So cross entropy is
descended at the target instead of ascended at the true class, margins are z_t - max_{j != t} z_j,
FAB goes to the plane where the target meets the best other class, and Square keeps what raises the
target's lead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

import tensorflow as tf

from rlfat_tf.attacks.arguments import argument
from rlfat_tf.attacks.base import Attack, predicted_class
from rlfat_tf.attacks.points import choose
from rlfat_tf.attacks.wrapping import Wrapping, attacks_in, innermost
from rlfat_tf.core import losses, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Images, Labels, Logits, LogitsFn, Tensor

if TYPE_CHECKING:
    from typing_extensions import Self


RULES = ("least_likely", "random")
Target = Union[int, str, None]


def check_target(attack: Any, name: str, value: Any) -> Target:
    """Returns a class as an integer, a rule, or None; refuses all else.

    Raises:
        ValueError: If it is no class and no rule.
    """
    if value is None or value in RULES:
        return value
    if not isinstance(value, bool) and str(value).strip().isdecimal():
        return int(value)
    raise ValueError(
        f"Expected {name} to be the number of a class, from 0, or one of {', '.join(RULES)}; "
        f"received {value!r}."
    )


def class_number(target: Target, class_names: Sequence[str]) -> Target:
    """Returns what :class:`Targeted` takes of a target that may be the name of a class.

    Args:
        target: The name of a class, its number, a rule or None. A class that is named like a number
            or a rule goes by its number.
        class_names: Of all classes.

    Raises:
        ValueError: If it is nothing of these.
    """
    if target is None or target in RULES or str(target).strip().isdecimal():
        return check_target(None, "the target", target)
    if target not in class_names:
        raise unknown("target", str(target), [*RULES, *class_names])
    return list(class_names).index(str(target))


def check_has_target(attack: Any) -> None:
    """Refuses an attack towards the labels where these are the true classes, to which all stay.

    Raises:
        ValueError: If it is one.
    """
    if any(isinstance(each, Targeted) and each.target is None for each in attacks_in(attack)):
        raise ValueError(
            f"{attack!r} goes towards the labels, which are the true classes here: it would help "
            "the classifier. Give it a target, the number of a class, 'least_likely' or 'random'."
        )


@keras.saving.register_keras_serializable("rlfat_tf")
class Targeted(Wrapping):
    """Runs an attack towards a class; it succeeds if an example is predicted as its target.

    Examples whose label is the target are not changed, and neither are those that are already
    predicted as the target. Where an attack fails, it returns the point that came nearest by its
    own loss, or the image.
    """

    outermost = True
    target: Target = argument(
        None,
        "The number of a class; 'least_likely', the class of the least logit on the clean image; "
        "'random', drawn for each example from the seed among all classes but its label. Default: "
        "the labels that the attack is called with are the targets.",
        check_target,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        attack = innermost(self.attack)
        loss = getattr(attack, "loss", None)
        if not attack.aims or loss in losses.OF_THE_PREDICTION:
            why = f"its loss {loss!r} reads no class" if attack.aims else "it is not made for that"
            raise ValueError(
                f"{type(attack).__name__} cannot be targeted: {why}. Attacks that can are "
                f"{', '.join(sorted(able()))}, and one of your own that sets aims = True."
            )

    def targets(self, logits: Logits, labels: Labels, seed: random.SeedLike) -> Tensor:
        """Returns the classes to which the attack goes, int32 [batch].

        Args:
            logits: On the clean images, [batch, classes].
            labels: Integers [batch], or one-hot rows.
            seed: Of 'random'; the draw of an example depends on it and the example's number.

        Raises:
            ValueError: If the target is no class of the classifier.
        """
        labels, classes = losses.class_ids(labels), logits.shape[-1]
        if self.target is None:
            return labels
        if self.target == "least_likely":
            return tf.argmin(logits, -1, output_type=tf.int32)
        count = tf.shape(labels)[:1]
        if self.target == "random":
            seed = random.as_seed(seed).of_examples(count[0]).fold(random.number("target"))
            draw = random.uniform(seed, count, 0, classes - 1, tf.int32)
            return draw + tf.cast(draw >= labels, tf.int32)
        self.check_classes(classes)
        return tf.fill(count, int(self.target))

    def to_the_end(self) -> Self:
        """See :meth:`rlfat_tf.attacks.Attack.to_the_end`; also of what the source takes for it."""
        return self._with_stops(False, attack=self.attack.to_the_end())

    def check_classes(self, classes: int) -> None:
        """Refuses a target that is none of so many classes.

        Raises:
            ValueError: If it is not.
        """
        if isinstance(self.target, int) and self.target >= classes:
            raise ValueError(
                f"Expected a target among the classes 0 ... {classes - 1}; received {self.target}."
            )

    def run(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, unroll: bool
    ) -> Images:
        """See :meth:`rlfat_tf.attacks.Attack.__call__`."""
        logits = logits_fn(images)
        targets = self.targets(logits, labels, seed)
        attack = self.attack
        one = {"targets": 1, "order": "logits"}  # there is no order of one
        known = innermost(attack).get_config()
        if known.keys() & one.keys():
            attack = attack.replace(**{name: one[name] for name in known.keys() & one.keys()})
        found = attack.run(logits_fn, images, losses.towards(targets), seed, unroll)
        as_it_is = (predicted_class(logits) == targets) & self.stops
        if self.target is not None:
            as_it_is |= targets == losses.class_ids(labels)
        return choose(as_it_is, images, found)


def able(kind: type[Attack] = Attack) -> set[str]:
    """Returns the names of all kinds of attacks that can be targeted."""
    below = set().union(*(able(sub) for sub in kind.__subclasses__()))
    named = kind.aims and not kind.__name__.startswith("_")
    return below | ({kind.__name__} if named else set())
