"""ATLD's inference transform: moves an image towards the natural before it is classified.

    robust = rlfat_tf.load("runs/cifar10_atld")
    plus = rlfat_tf.InferenceTransform(robust.model, robust.discriminator, form="atld+")
    plus(images)                                  # logits, like any classifier

    x_t = clip(x - step sign(grad_x BCE(D(f(x)), natural)));  f(x_t)

(Qian et al., 2021, and the authors' code.) An attack that does not know of it attacks another
classifier than the one that answers: docs/methods/atld.md, "Adaptive evaluation".
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.attacks.arguments import check_epsilon
from rlfat_tf.attacks.passes import gradient_by
from rlfat_tf.core import compat, losses, types
from rlfat_tf.core.checks import logits_in
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.model import Model
from rlfat_tf.core.types import Images, Logits, Tensor
from rlfat_tf.methods.atld import natural_loss
from rlfat_tf.storage.saved_model import export_saved_model

FORMS = ("atld-", "atld", "atld+")
BACKWARDS = ("bpda", "smooth", "none")


@keras.saving.register_keras_serializable("rlfat_tf")
class InferenceTransform(Model):
    """A classifier behind ATLD's inference transform.

    Args:
        model: The classifier f, from images in [0, 1] to logits.
        discriminator: D, from logits to (natural logit [batch, 1], class logits).
        epsilon: Length of the step, in units of pixels in [0, 1]. It is taken from whatever image
            comes in, so that the transformed image may be 2 epsilon away from the clean one.
        form: ``"atld-"``: no transform. ``"atld"``: the whole step. ``"atld+"``: half of it where
            the discriminator is unsure.
        unsure: Between which probabilities of natural it is unsure; (0.3, 0.7), for SVHN
            (0.3, 0.6) in the authors' code.
        backward: What an attack that differentiates through the transform sees. ``"bpda"``: the
            identity, which is also the exact derivative of a step along a sign, almost everywhere.
            ``"smooth"``: the step with the sign replaced by g / (|g| + mean |g|), so that the
            gradient goes through the discriminator too. ``"none"``: nothing.
    """

    def __init__(
        self,
        model: types.Model,
        discriminator: types.Model,
        *,
        epsilon: float = 8 / 255,
        form: str = "atld",
        unsure: tuple[float, float] = (0.3, 0.7),
        backward: str = "bpda",
        name: str | None = None,
    ):
        super().__init__(name=name, dtype="float32")
        self.model, self.discriminator = model, discriminator
        self.epsilon, self.form = epsilon, form
        self.unsure, self.backward = tuple(unsure), backward
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "epsilon":
            value = float(check_epsilon(value, "linf"))
        elif name == "form" and value not in FORMS:
            raise unknown("form of ATLD", value, FORMS)
        elif name == "backward" and value not in BACKWARDS:
            raise unknown("value of backward:", value, BACKWARDS)
        super().__setattr__(name, value)

    @property
    def input_shape(self) -> Any:
        """Shape of a batch of images."""
        return compat.input_shape(self.model)

    def call(self, inputs: Images, training: bool | None = None) -> Logits:
        """Returns the logits of the transformed images."""
        return logits_in(self.model(self.transform(inputs), training=False))

    def transform(self, images: Images) -> Images:
        """Returns the transformed images, of the same shape and in [0, 1]."""
        images = tf.convert_to_tensor(images)
        if self.form == "atld-":
            return images
        inside = images if self.backward == "smooth" else tf.stop_gradient(images)
        with tf.GradientTape() as tape:
            tape.watch(inside)
            logits = losses.as_float(logits_in(self.model(inside, training=False)))
            natural, _ = self.discriminator(logits, training=False)
            loss = natural_loss(natural, 1.0)
        gradient = gradient_by(tape, loss, inside)
        step = tf.sign(gradient)
        if self.backward == "smooth":
            size = tf.abs(gradient)
            mean = tf.reduce_mean(size, axis=list(range(1, images.shape.rank)), keepdims=True)
            smooth = tf.math.divide_no_nan(gradient, size + mean)
            step = smooth + tf.stop_gradient(step - smooth)  # the exact step, a smooth derivative
        step = self.lengths(natural, images.shape.rank) * step
        if self.backward == "none":
            return tf.stop_gradient(tf.clip_by_value(images - step, 0.0, 1.0))
        return tf.clip_by_value(images - step, 0.0, 1.0)

    def export(self, filepath: Any, **kwargs: Any) -> None:
        """Writes a SavedModel for serving; see :func:`rlfat_tf.export_saved_model`."""
        export_saved_model(self, filepath, **kwargs)

    def lengths(self, natural: Tensor, rank: int) -> Tensor:
        """Returns the step's length of every example, shaped to multiply with the images."""
        probability = tf.sigmoid(losses.as_float(natural)[:, 0])
        low, high = self.unsure
        halved = (probability > low) & (probability < high) & (self.form == "atld+")
        length = self.epsilon * tf.where(halved, 0.5, 1.0)
        return tf.stop_gradient(tf.reshape(length, [-1] + [1] * (rank - 1)))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        serialize = keras.saving.serialize_keras_object
        return {
            "model": serialize(self.model),
            "discriminator": serialize(self.discriminator),
            "epsilon": self.epsilon,
            "form": self.form,
            "unsure": list(self.unsure),
            "backward": self.backward,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> InferenceTransform:
        """Makes a model of :meth:`get_config`'s result; the weights are new."""
        config = dict(config)
        for key in ("model", "discriminator"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return cls(**config)
