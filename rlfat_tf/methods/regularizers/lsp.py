"""LSP, "local structure preserving": embeddings whose neighbourhoods are those of the images.

(Wei, Zhou & Wu, 2023, arXiv 2303.16861.) Of the paper only the abstract is public to us. It "aims
to preserve the local structure of the input space in the learned embedding space". The three
formulas here are our readings of that sentence, not the authors'.
"""

from __future__ import annotations

import tensorflow as tf

from rlfat_tf.attacks.arguments import argument, choice, count
from rlfat_tf.core import compat, losses
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Labels, Model, Tensor
from rlfat_tf.methods.objective import Batch
from rlfat_tf.methods.regularizers.base import Regularizer

READINGS = ("neighborhood", "laplacian", "relative")


@keras.saving.register_keras_serializable("rlfat_tf")
class LSP(Regularizer):
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
    """

    term = "lsp_loss"

    neighbors: int = count(5, "Number of nearest neighbours, k; at most the batch size minus one.")
    reading: str = choice(
        "neighborhood", READINGS, "Which of our readings of the paper is computed."
    )
    layer: str | None = argument(
        None,
        "Layer whose output is the embedding; the one that feeds the logits unless it is given.",
    )

    def __call__(self, model: Model, batch: Batch, *, training: bool) -> Tensor:
        """See :meth:`Regularizer.__call__`."""
        near = batch.adversarial
        if near is None:
            near = tf.clip_by_value(batch.images + self.noise(batch, batch.seed), 0.0, 1.0)
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

    def check(self, model: Model) -> None:
        """Refuses a classifier without the layer."""
        self.embedding(model)

    def embedding(self, model: Model) -> Model:
        """Returns the part of the classifier that ends at the embedding; it shares all weights.

        Raises:
            ValueError: If there is no such layer.
        """
        known, part = getattr(self, "_embedding", (None, None))
        if known is not model:
            part = compat.part_of(model, self.layer)
            object.__setattr__(self, "_embedding", (model, part))  # no argument: a note
        return part

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the numbers and squared distances of the k nearest others, [batch, k] each."""
        distances = _squared_distances(x, x)
        far = tf.linalg.set_diag(distances, tf.fill([tf.shape(x)[0]], x.dtype.max))
        count = tf.clip_by_value(tf.shape(x)[0] - 1, 0, self.neighbors)
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
            others = tf.cast(tf.shape(point)[0] - 1, point.dtype)
            lengths = tf.reduce_sum(_lengths(_squared_distances(point, point)), 1)
            mean = tf.math.divide_no_nan(lengths, others)
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
    return tf.linalg.set_diag(distances, tf.zeros([tf.shape(a)[0]], distances.dtype))


def _scaled(distances: Tensor) -> Tensor:
    """Distances over their mean of each row, negated; the mean is a constant."""
    mean = tf.stop_gradient(tf.reduce_mean(distances, -1, keepdims=True))
    return -tf.math.divide_no_nan(distances, mean)


def _lengths(squares: Tensor) -> Tensor:
    """Square roots whose gradient at 0 is 0, not infinite."""
    positive = squares > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, squares, 1.0)), 0.0)
