"""What every attack is: a stateless callable made of TensorFlow operations.

    attack = rlfat_tf.attacks.LinfPGD(epsilon=8 / 255, steps=10)
    adversarial = attack(logits_fn, images, labels, seed=0)

``logits_fn`` is any function from images to logits: a Keras model, a SavedModel's signature, a
lambda. An attack runs eagerly or inside ``tf.function`` and holds no state.

The checks of values are operations of the graph, one look at the images and the labels of a call;
XLA drops them.
"""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any, Callable

import tensorflow as tf

from rlfat_tf.attacks.arguments import choice, count, fields_of, radius
from rlfat_tf.attacks.declared import Declared
from rlfat_tf.attacks.packing import packed, unpacked
from rlfat_tf.core import losses, norms, random
from rlfat_tf.core.checks import (
    check_columns,
    check_logits,
    checked_images,
    guarded_by_labels,
    logits_in,
)
from rlfat_tf.core.compat import keras
from rlfat_tf.core.float16 import without_underflow
from rlfat_tf.core.model_checks import check_ending, check_model
from rlfat_tf.core.structure import check_images_structure, check_labels_structure
from rlfat_tf.core.types import Images, Labels, Logits, LogitsFn, Tensor

if TYPE_CHECKING:
    from typing_extensions import Self


NO_CLASS = -1


class Attack(Declared):
    """Base of the attacks: immutable arguments, and the checks that all share.

    A subclass declares its arguments, see :class:`Declared`, and implements :meth:`run`. One
    that has no use for labels sets ``reads_labels`` to False: they may be anything then. One whose
    lengths may be tensors sets ``scales`` to True, see :meth:`scaled`. One that reads labels by
    :mod:`rlfat_tf.core.losses` and :func:`is_correct` alone sets ``aims`` to True: it can be run
    towards a class, see :class:`rlfat_tf.attacks.Targeted`. One that only asks for logits sets
    ``needs_gradients`` to False: classifiers without gradients can be evaluated by it.

    Attributes:
        stops: Whether a misclassified point may end the search of an example, as it does but in
            :meth:`to_the_end`.
        ends_at_border: Whether the attack is done with any misclassified point, or looks for the
            nearest: then it cannot be run for another classifier.
    """

    stops = True
    ends_at_border = False
    reads_labels = True
    scales = False
    aims = False
    needs_gradients = True

    def to_the_end(self) -> Self:
        """Returns the attack as it is run for the sake of another classifier, see ``Transfer``.

        There it says nothing that the classifier at hand misclassifies a point. An attack that
        stops at such points, a :class:`Search`, then goes on for every example.
        """
        return self

    def scaled(self, scale: float | Tensor) -> Self:
        """Returns the attack with all its lengths multiplied, for one call within a graph.

        Args:
            scale: A number or scalar tensor; 0 leaves every image as it is.

        Raises:
            ValueError: If the attack computes with its lengths in Python.
        """
        if not self.scales:
            raise ValueError(
                f"{type(self).__name__} cannot be scaled: an epsilon that grows during training "
                "needs PGD, FGSMRS, NFGSM or FeatureScatter, or an attack that sets scales = True."
            )
        scale = tf.convert_to_tensor(scale, tf.float32)
        scaled = copy.copy(self)
        for field in fields_of(self):
            if field.metadata.get("length"):
                object.__setattr__(scaled, field.name, getattr(self, field.name) * scale)
        return scaled

    def __call__(
        self,
        logits_fn: LogitsFn,
        images: Images,
        labels: Labels,
        *,
        seed: random.SeedLike = 0,
        unroll: bool = False,
        checked: bool = False,
        scale: Tensor = None,
    ) -> Images:
        """Makes adversarial examples.

        Args:
            logits_fn: Maps float32 images [batch, ...] to logits [batch, classes], or to a
                dictionary that holds them, see :func:`logits_in`. A Keras model is attacked as it
                is evaluated, with ``training=False``.
            images: Float images in [0, 1], [batch, ...].
            labels: Integers [batch], or one-hot rows [batch, classes].
            seed: An integer, a pair of integers, or a :class:`rlfat_tf.core.random.Seed`; the same
                seed gives the same examples.
            unroll: Lay the steps out one after the other instead of as one loop. Needed when
                ``logits_fn`` updates synchronised batch statistics, which TensorFlow forbids
                inside a loop; costs graph size and compile time.
            checked: Whether the values of images and labels are known to be in range, so that they
                need no look, and gradients to underflow nowhere, as they may in float16.
            scale: A number or scalar tensor in [0, 1] by which this call multiplies the radius, the
                start and the steps, see :meth:`scaled`; None: by nothing.

        Returns:
            float32 images of the same shape, within epsilon of ``images`` and in [0, 1], through
            which no gradient flows.

        Raises:
            ValueError: If the images are not floats, an attack needs gradients that there are
                none of, or it cannot be scaled.
            tf.errors.InvalidArgumentError: If images are not in [0, 1] or labels are no classes.
        """

        def attempt(logits_of: LogitsFn, images: Images, seed: random.Seed) -> Images:
            attack = self if scale is None else self.scaled(scale)
            return attack.run(logits_of, images, labels, seed, unroll)

        return self._guarded(attempt, logits_fn, images, labels, seed, checked)

    def _guarded(
        self,
        attempt: Callable[[LogitsFn, Images, random.Seed], Images],
        logits_fn: LogitsFn,
        images: Images,
        labels: Labels,
        seed: random.SeedLike,
        checked: bool = False,
    ) -> Images:
        """Makes adversarial examples by ``attempt``; what goes in and comes out is checked here."""
        images = tf.convert_to_tensor(images)
        check_images_structure(images)
        images = tf.cast(images, tf.float32) if checked else checked_images(images)
        images = tf.stop_gradient(images)
        if not checked:
            self._check_call(logits_fn, images, labels)
        if isinstance(logits_fn, keras.Model):
            logits_fn = functools.partial(logits_fn, training=False)  # whatever its default is
        seed = random.as_seed(seed)
        classes: list[int | None] = []
        rows = not checked and self.reads_labels and losses.is_one_hot(labels)

        def logits_of(candidates: Images) -> Logits:
            logits = losses.as_float(logits_in(logits_fn(candidates)))
            if logits.shape[-1] == 1:
                check_logits(logits, "The classifier")
            classes.append(logits.shape[-1])
            if rows and logits.shape[-1] is not None:
                check_columns(tf.convert_to_tensor(labels), logits.shape[-1])
            return logits

        small_ones_are_kept = checked or getattr(logits_fn, "keeps_small_gradients", False)
        attacked = logits_of if small_ones_are_kept else without_underflow(logits_of)
        adversarial = attempt(attacked, images, seed)
        adversarial = tf.stop_gradient(tf.ensure_shape(adversarial, images.shape))
        # The last resort of every attack, of those of users too: what is no number stays as it was.
        adversarial = tf.where(tf.math.is_finite(adversarial), adversarial, images)
        if checked or not self.reads_labels or not classes:  # transfer asks another model
            return adversarial
        known = classes[0]  # only now
        if known is None or rows:
            return adversarial
        return guarded_by_labels(adversarial, labels, known)

    def _check_call(self, logits_fn: LogitsFn, images: Images, labels: Labels) -> None:
        """Refuses what shapes and layers tell to be wrong."""
        if isinstance(logits_fn, keras.Model):
            check_model(logits_fn)
            check_ending(logits_fn)
        if not self.reads_labels:
            return
        labels = labels if hasattr(labels, "dtype") else tf.convert_to_tensor(labels)
        check_labels_structure(labels)
        number = tf.TensorShape(images.shape[:1])
        if not number.is_compatible_with(tf.TensorShape(labels.shape)[:1]):
            raise ValueError(
                f"Expected a label for each of {images.shape[0]} images; received labels of shape "
                f"{tuple(labels.shape)}."
            )

    def run(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, unroll: bool
    ) -> Images:
        """Makes adversarial examples of checked float32 images; see :meth:`__call__`."""
        raise TypeError(f"{type(self).__name__} does not implement run().")


class Bounded(Attack):
    """Base of the attacks that stay within a ball around the image."""

    norm: str = choice(
        "linf", norms.NORMS, "Norm in which epsilon bounds the perturbation: 'linf' or 'l2'."
    )
    epsilon: float = radius()


class Averaging(Bounded):
    """Base of the attacks that average over the passes of a randomised classifier."""

    eot: int = count(
        1,
        "For randomised classifiers: number of passes over which every loss and gradient is "
        "averaged. An image then counts as misclassified if every pass misclassifies it.",
    )


class Search(Attack):
    """Base of the attacks of evaluation, which go on only where an example is still correct.

    A subclass implements :meth:`search`. Its random draws belong to the examples, so that neither
    the batch size nor the examples that left the batch change the result.
    """

    def to_the_end(self) -> Self:
        """See :meth:`Attack.to_the_end`."""
        if self.ends_at_border:
            return self
        found = copy.copy(self)
        object.__setattr__(found, "stops", False)
        return found

    def replace(self, **changes: Any) -> Self:
        """See :meth:`Declared.replace`."""
        found = super().replace(**changes)
        return found if self.stops else found.to_the_end()

    def run(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed, unroll: bool
    ) -> Images:
        """See :meth:`Attack.__call__`.

        Raises:
            ValueError: If the steps are to be unrolled.
        """
        if unroll:
            raise ValueError(
                f"{type(self).__name__} is an attack of evaluation and cannot be unrolled; "
                "attack_bn='train' needs PGD."
            )
        return self.search(logits_fn, images, labels, seed.of_examples(tf.shape(images)[0]))

    def search(
        self, logits_fn: LogitsFn, images: Images, labels: Labels, seed: random.Seed
    ) -> Images:
        """Makes adversarial examples; the random draws of the seed belong to the examples."""
        raise TypeError(f"{type(self).__name__} does not implement search().")


def check_attack(attack: Any) -> None:
    """Refuses what is no attack, such as its name or its class.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(attack, Attack):
        received = attack.__name__ if isinstance(attack, type) else repr(attack)
        raise TypeError(
            "Expected an attack with its arguments, such as "
            f"rlfat_tf.attacks.LinfPGD(epsilon=8 / 255, steps=10); received {received}."
        )


def check_within_ball(attack: Any) -> None:
    """Refuses to measure robustness by an attack whose examples may leave the ball of epsilon.

    Raises:
        ValueError: If they may.
    """
    reach = getattr(attack, "reach", None)
    if reach is not None and reach > attack.epsilon:
        raise ValueError(
            f"{attack!r} is an attack of training: its examples may be {reach:g} away from their "
            f"images, outside of the ball of radius epsilon={attack.epsilon:g} in which robustness "
            "is measured. Evaluate with LinfPGD, or by the names pgd and autoattack."
        )


def predicted_class(logits: Logits) -> Tensor:
    """Returns the class of the greatest logit, int32 [batch]; -1, no class, if one is NaN."""
    broken = tf.reduce_any(tf.math.is_nan(logits), axis=-1)
    return tf.where(broken, NO_CLASS, tf.argmax(logits, -1, output_type=tf.int32))


def is_correct(logits: Logits, labels: Labels) -> Tensor:
    """Tells which examples are correctly classified, bool [batch]; with NaN logits, none is.

    Of labels marked by :func:`rlfat_tf.core.losses.towards`, where the class is not predicted yet.
    """
    classes, marked = losses.goal(labels)
    return (predicted_class(logits) == classes) ^ marked


def passes_of(attack: Attack) -> int:
    """Returns over how many passes of a randomised classifier an attack averages; of its parts."""
    parts: dict[str, Attack] | None = getattr(attack, "components", None)
    if parts:
        return max(map(passes_of, parts.values()))
    return getattr(attack, "eot", None) or 1


def remaining_of(
    logits_fn: LogitsFn, points: Images, labels: Labels, eot: int = 1, stops: bool = True
) -> Tensor:
    """Tells for which examples a search goes on, bool [batch].

    Args:
        logits_fn: See :meth:`Attack.__call__`.
        points: [batch, ...].
        labels: As given to the attack.
        eot: Passes; a point that one of them classifies correctly is wrong by luck in the others.
        stops: See :class:`Attack`; else it goes on for all.
    """
    if not stops:
        return tf.ones([tf.shape(points)[0]], tf.bool)
    if eot == 1:
        return is_correct(logits_fn(points), labels)
    return tf.while_loop(
        lambda correct: True,
        lambda correct: (correct | is_correct(logits_fn(points), labels),),
        (tf.zeros([tf.shape(points)[0]], tf.bool),),
        maximum_iterations=eot,
        parallel_iterations=1,
    )[0]


def norm_of(attack: Attack) -> str:
    """Returns the name of the norm in which an attack measures: what it says, or ``"linf"``."""
    return str(getattr(attack, "norm", "linf"))


def attack_remaining(
    attempt: Callable[..., Images],
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    seed: random.Seed,
    found: Images,
    *more: Tensor,
    eot: int = 1,
    stops: bool = True,
) -> Images:
    """Attacks again those examples that ``found`` leaves classified correctly, and only those.

    Args:
        attempt: Makes points [n, ...] of (images, labels, points found so far, seed, *more) of
            n >= 1 examples.
        logits_fn: See :meth:`Attack.__call__`.
        images: [batch, ...].
        labels: As given to the attack.
        seed: With numbered examples, see :meth:`rlfat_tf.core.random.Seed.of_examples`.
        found: The points found so far, [batch, ...].
        *more: What else the attempt needs of every example, [batch, ...].
        eot: See :func:`remaining_of`.
        stops: See :func:`remaining_of`.

    Returns:
        ``found``, with the attempt's points in the place of those that had failed.
    """
    remaining = remaining_of(logits_fn, found, labels, eot, stops)

    def attack() -> Images:
        rows, count = packed(remaining)
        tensors = (images, labels, found, *more)
        some, theirs, so_far, *else_ = (tf.gather(tensor, rows) for tensor in tensors)
        points = attempt(some, theirs, so_far, seed.rows(rows), *else_)
        return unpacked(found, points, rows, count)

    return tf.cond(tf.reduce_any(remaining), attack, lambda: tf.identity(found))
