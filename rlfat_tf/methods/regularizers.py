"""Terms that compose with every training method: `regularizer=` of a method, `--regularizer=`.

LSP, "local structure preserving" (Wei, Zhou & Wu, 2023, arXiv 2303.16861): of the paper only the
abstract is public to us. It "aims to preserve the local structure of the input space in the learned
embedding space". The three formulas here are our readings of that sentence, not the authors'.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from rlfat_tf.core import compat, losses, random
from rlfat_tf.core.compat import keras
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Labels, Model, Tensor
from rlfat_tf.methods.objective import Batch

READINGS = ("neighborhood", "laplacian", "relative")


@keras.saving.register_keras_serializable("rlfat_tf")
class LSP:
    """Local structure preserving regularisation: our readings.

    z is the embedding, x the flattened image, d squared distances within the batch, N_k(i) the k
    nearest images of the batch, x_i' a point near x_i: the method's adversarial image, or x_i +
    U(-epsilon, epsilon) where it has none. What is computed from images is a constant. Per example:

    - ``"neighborhood"``: KL(P_i || Q_i) over N_k(i) and x_i', with P_ij = softmax_j(-d(x_i, x_j) /
      s_i), Q_ij = softmax_j(-d(z_i, z_j) / t_i), s_i and t_i the mean distances, t_i a constant.
    - ``"laplacian"``: sum_j w_ij d(z_i, z_j) / sum_j w_ij over the neighbours of the same label,
      w_ij = exp(-d(x_i, x_j) / s_i).
    - ``"relative"``: (|z_i' - z_i| / mean_j |z_i - z_j| - |x_i' - x_i| / mean_j |x_i - x_j|)^2.

    It couples the examples of a batch; on several replicas each one couples its own, and the term
    is the mean over them.

    Args:
        weight: Of the term in the objective.
        neighbors: k; at most one less than the batch holds are used.
        reading: One of :data:`READINGS`.
        layer: Name of the layer whose output is the embedding; default: the one that feeds the
            logits.
        epsilon: Of x_i' where the method has no adversarial image, in units of pixels in [0, 1].

    Raises:
        ValueError: If an argument is out of its range.
    """

    term = "lsp_loss"

    def __init__(
        self,
        *,
        weight: float = 1.0,
        neighbors: int = 5,
        reading: str = "neighborhood",
        layer: str | None = None,
        epsilon: float = 8 / 255,
    ):
        if reading not in READINGS:
            raise unknown("reading of LSP", reading, READINGS)
        if not 0 <= weight < math.inf or neighbors < 1 or not 0 <= epsilon <= 1:
            raise ValueError(
                "Expected weight >= 0, neighbors >= 1 and epsilon in [0, 1]; received "
                f"{weight}, {neighbors} and {epsilon}."
            )
        self.weight, self.neighbors = float(weight), int(neighbors)
        self.reading, self.layer, self.epsilon = reading, layer, float(epsilon)
        self._embedding: tuple[Model, Model] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, "_embedding") and not name.startswith("_"):
            raise AttributeError(
                f"{name} of a regulariser cannot be set, since compiled steps have read it. Set "
                f"another on the method: method.regularizer = LSP({name}=...)."
            )
        super().__setattr__(name, value)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = ("weight", "neighbors", "reading", "layer", "epsilon")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LSP:
        """Makes a regulariser of :meth:`get_config`'s result."""
        return cls(**config)

    def __call__(self, model: Model, batch: Batch, *, training: bool) -> Tensor:
        """Returns the term, per example [batch].

        Args:
            model: The classifier.
            batch: The images and labels of a step.
            training: Whether the embedding uses batch statistics.
        """
        near = batch.adversarial
        if near is None:
            shape = tf.shape(batch.images)
            noise = random.uniform(batch.seed, shape, -self.epsilon, self.epsilon)
            near = tf.clip_by_value(batch.images + tf.cast(noise, batch.images.dtype), 0.0, 1.0)
        x, x_near = (
            tf.reshape(images, [tf.shape(images)[0], -1]) for images in (batch.images, near)
        )
        embed = self.embedding(model)
        z = _flat(embed(batch.images, training=training))
        if self.reading == "laplacian":
            return self.laplacian(x, z, losses.class_ids(batch.labels))
        z_near = _flat(embed(near, training=training))
        compute = self.neighborhood if self.reading == "neighborhood" else self.relative
        return compute(x, z, x_near, z_near)

    def embedding(self, model: Model) -> Model:
        """Returns the part of the classifier that ends at the embedding; it shares all weights.

        Raises:
            ValueError: If there is no such layer.
        """
        if self._embedding is None or self._embedding[0] is not model:
            self._embedding = model, compat.part_of(model, self.layer)
        return self._embedding[1]

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the numbers and squared distances of the k nearest others, [batch, k] each."""
        distances = _squared_distances(x, x)
        far = tf.linalg.set_diag(distances, tf.fill([tf.shape(x)[0]], x.dtype.max))
        count = tf.minimum(self.neighbors, tf.shape(x)[0] - 1)
        negative, indices = tf.math.top_k(-far, count)
        return indices, -negative

    def neighborhood(self, x: Tensor, z: Tensor, x_near: Tensor, z_near: Tensor) -> Tensor:
        """KL of the distributions over neighbours, in the image space and in the embedding."""
        indices, d = self.nearest(x)
        d = tf.concat([d, tf.reduce_sum(tf.square(x_near - x), -1, keepdims=True)], 1)
        others = tf.concat([tf.gather(z, indices), z_near[:, None]], 1)
        e = tf.reduce_sum(tf.square(others - z[:, None]), -1)
        log_p = tf.nn.log_softmax(_scaled(d))
        log_q = tf.nn.log_softmax(_scaled(e))
        return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), -1)

    def laplacian(self, x: Tensor, z: Tensor, labels: Labels) -> Tensor:
        """Weighted mean of the squared distances to the neighbours of the same label."""
        indices, d = self.nearest(x)
        same = tf.cast(tf.gather(labels, indices) == labels[:, None], x.dtype)
        weights = same * tf.exp(_scaled(d))
        e = tf.reduce_sum(tf.square(tf.gather(z, indices) - z[:, None]), -1)
        return tf.math.divide_no_nan(tf.reduce_sum(weights * e, 1), tf.reduce_sum(weights, 1))

    def relative(self, x: Tensor, z: Tensor, x_near: Tensor, z_near: Tensor) -> Tensor:
        """Squared difference of how far x' is, in the embedding and in the image space."""
        ratios = []
        for point, near in ((x, x_near), (z, z_near)):
            mean = tf.reduce_sum(_lengths(_squared_distances(point, point)), 1)
            mean /= tf.cast(tf.shape(point)[0] - 1, point.dtype)
            moved = _lengths(tf.reduce_sum(tf.square(near - point), -1))
            ratios.append(tf.math.divide_no_nan(moved, mean))
        return tf.square(ratios[1] - ratios[0])


def _flat(z: Tensor) -> Tensor:
    """Embeddings of any shape as vectors of at least float32."""
    z = tf.reshape(z, [tf.shape(z)[0], -1])
    return tf.cast(z, tf.float32) if z.dtype in (tf.float16, tf.bfloat16) else z


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    squares = tf.reduce_sum(tf.square(a), -1)[:, None] + tf.reduce_sum(tf.square(b), -1)[None]
    distances = tf.nn.relu(squares - 2 * tf.matmul(a, b, transpose_b=True))
    return tf.linalg.set_diag(distances, tf.zeros_like(distances[:, 0]))


def _scaled(distances: Tensor) -> Tensor:
    """Distances over their mean of each row, negated; the mean is a constant."""
    mean = tf.stop_gradient(tf.reduce_mean(distances, -1, keepdims=True))
    return -tf.math.divide_no_nan(distances, mean)


def _lengths(squares: Tensor) -> Tensor:
    """Square roots whose gradient at 0 is 0, not infinite."""
    positive = squares > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, squares, 1.0)), 0.0)


REGULARIZERS = {"lsp": LSP}
