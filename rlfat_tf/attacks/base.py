"""What every attack is: a stateless callable made of TensorFlow operations.

    attack = rlfat_tf.attacks.LinfPGD(epsilon=8 / 255, steps=10)
    adversarial = attack(logits_fn, images, labels, seed=0)

``logits_fn`` is any function from images to logits: a Keras model, a SavedModel's signature, a
lambda. An attack runs eagerly or inside ``tf.function`` and holds no state.

The checks of values are operations of the graph, one look at the images and the labels of a call;
XLA drops them.
"""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core import losses, random
from rlfat_tf.core.checks import check_images_structure, checked_images, guarded, logits_in
from rlfat_tf.core.types import LogitsFn


class Attack:
    """Base of the attacks: configuration, ``repr``, and the checks that all share.

    A subclass keeps each constructor argument under its own name in ``_config`` by calling
    ``super().__init__(**arguments)``, and implements :meth:`run`. One that has no use for labels
    sets ``reads_labels`` to False: they may be anything then.
    """

    reads_labels = True

    def __init__(self, **config: Any):
        self._config = config

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_config"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.") from None

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return dict(self._config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Attack:
        """Makes an attack of :meth:`get_config`'s result."""
        return cls(**config)

    def replace(self, **changes: Any) -> Attack:
        """Returns the same attack with some arguments changed."""
        return type(self)(**{**self._config, **changes})

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._config.items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._config == getattr(other, "_config", None)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __call__(
        self,
        logits_fn: LogitsFn,
        images: Any,
        labels: Any,
        *,
        seed: random.SeedLike = 0,
        unroll: bool = False,
        checked: bool = False,
    ) -> Any:
        """Makes adversarial examples.

        Args:
            logits_fn: Maps float32 images [batch, ...] to logits [batch, classes], or to a
                dictionary that holds them, see :func:`logits_in`.
            images: Float images in [0, 1], [batch, ...].
            labels: Integers [batch], or one-hot rows [batch, classes].
            seed: An integer, a pair of integers, or a :class:`rlfat_tf.core.random.Seed`; the same
                seed gives the same examples.
            unroll: Lay the steps out one after the other instead of as one loop. Needed when
                ``logits_fn`` updates synchronised batch statistics, which TensorFlow forbids
                inside a loop; costs graph size and compile time.
            checked: Whether the values of images and labels are known to be in range, so that they
                need no look.

        Returns:
            float32 images of the same shape, within epsilon of ``images`` and in [0, 1], through
            which no gradient flows.

        Raises:
            ValueError: If the images are not floats, or an attack needs gradients that there are
                none of.
            tf.errors.InvalidArgumentError: If images are not in [0, 1] or labels are no classes.
        """
        images = tf.convert_to_tensor(images)
        check_images_structure(images)
        images = tf.cast(images, tf.float32) if checked else checked_images(images)
        images = tf.stop_gradient(images)
        seed = random.as_seed(seed)
        classes: list[int | None] = []

        def logits_of(candidates: Any) -> Any:
            logits = losses.as_float(logits_in(logits_fn(candidates)))
            classes.append(logits.shape[-1])
            return logits

        adversarial = self.run(logits_of, images, labels, seed, unroll)
        adversarial = tf.stop_gradient(tf.ensure_shape(adversarial, images.shape))
        if checked or not self.reads_labels or not classes:  # transfer asks another model
            return adversarial
        return _check_labels(adversarial, labels, classes[0])  # known only now

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """Makes adversarial examples of checked float32 images; see :meth:`__call__`."""
        raise TypeError(f"{type(self).__name__} does not implement run().")


class Search(Attack):
    """Base of the attacks of evaluation, which go on only where an example is still correct.

    A subclass implements :meth:`search`. What it draws goes with each example, so that neither the
    batch size nor the examples that left the batch change the result.
    """

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
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

    def search(self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed) -> Any:
        """Makes adversarial examples; the seed's draws go with the examples."""
        raise TypeError(f"{type(self).__name__} does not implement search().")


def _check_labels(adversarial: Any, labels: Any, classes: int | None) -> Any:
    """Returns the images; stops what reads them if an integer label is none of the classes."""
    if classes is None or losses.is_one_hot(labels):
        return adversarial
    ids = losses.class_ids(labels)
    message = f"Expected labels in 0 ... {classes - 1}, the model's classes; received values from"
    inside = tf.reduce_all((ids >= 0) & (ids < classes))
    return guarded(adversarial, inside, [message, tf.reduce_min(ids), "to", tf.reduce_max(ids)])


def is_correct(logits: Any, labels: Any) -> Any:
    """Tells which examples are correctly classified, bool [batch]; with NaN logits, none is."""
    correct = tf.argmax(logits, -1, output_type=tf.int32) == losses.class_ids(labels)
    return correct & ~tf.reduce_any(tf.math.is_nan(logits), axis=-1)


def attack_remaining(
    attempt: Callable[[Any, Any, Any, random.Seed], Any],
    logits_fn: LogitsFn,
    images: Any,
    labels: Any,
    seed: random.Seed,
    found: Any,
) -> Any:
    """Attacks again those examples that ``found`` leaves classified correctly, and only those.

    Args:
        attempt: Makes points [n, ...] of (images, labels, points found so far, seed) of n >= 1
            examples.
        logits_fn: See :meth:`Attack.__call__`.
        images: [batch, ...].
        labels: As given to the attack.
        seed: With numbered examples, see :meth:`rlfat_tf.core.random.Seed.of_examples`.
        found: The points found so far, [batch, ...].

    Returns:
        ``found``, with the attempt's points in the place of those that had failed.
    """
    rows = tf.where(is_correct(logits_fn(found), labels))

    def attack() -> Any:
        take = rows[:, 0]
        some, theirs, so_far = (tf.gather(tensor, take) for tensor in (images, labels, found))
        points = attempt(some, theirs, so_far, seed.rows(take))
        return tf.tensor_scatter_nd_update(found, rows, points)

    return tf.cond(tf.size(rows) > 0, attack, lambda: tf.identity(found))
