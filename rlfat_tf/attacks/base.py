"""What every attack is: a stateless callable made of TensorFlow operations.

    attack = rlfat_tf.attacks.LinfPGD(epsilon=8 / 255, steps=10)
    adversarial = attack(logits_fn, images, labels, seed=0)

``logits_fn`` is any function from images to logits: a Keras model, a SavedModel's signature, a
lambda. An attack runs eagerly or inside ``tf.function`` and holds no state.
"""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from rlfat_tf import losses, random

LogitsFn = Callable[[Any], Any]


class Attack:
    """Base of the attacks: configuration, ``repr``, and the checks that all share.

    A subclass keeps each constructor argument under its own name in ``_config`` by calling
    ``super().__init__(**arguments)``, and implements :meth:`run`.
    """

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
    ) -> Any:
        """Makes adversarial examples.

        Args:
            logits_fn: Maps float32 images [batch, ...] to logits [batch, classes].
            images: Float images in [0, 1], [batch, ...].
            labels: Integers [batch], or one-hot rows [batch, classes].
            seed: An integer, a pair of integers, or a :class:`rlfat_tf.random.Seed`; the same seed
                gives the same examples.
            unroll: Lay the steps out one after the other instead of as one loop. Needed when
                ``logits_fn`` updates synchronised batch statistics, which TensorFlow forbids
                inside a loop; costs graph size and compile time.

        Returns:
            float32 images of the same shape, within epsilon of ``images`` and in [0, 1], through
            which no gradient flows.

        Raises:
            ValueError: If the images are not floats.
        """
        images = tf.convert_to_tensor(images)
        if not images.dtype.is_floating:
            raise ValueError(
                f"An attack expects float images in [0, 1]; received {images.dtype.name}. "
                "Convert them: tf.cast(images, tf.float32) / 255."
            )
        images = tf.stop_gradient(tf.cast(images, tf.float32))
        seed = random.as_seed(seed)

        def logits_of(candidates: Any) -> Any:
            return losses.as_float(logits_fn(candidates))

        adversarial = self.run(logits_of, images, labels, seed, unroll)
        return tf.stop_gradient(tf.ensure_shape(adversarial, images.shape))

    def run(
        self, logits_fn: LogitsFn, images: Any, labels: Any, seed: random.Seed, unroll: bool
    ) -> Any:
        """Makes adversarial examples of checked float32 images; see :meth:`__call__`."""
        raise TypeError(f"{type(self).__name__} does not implement run().")
