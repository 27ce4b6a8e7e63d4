"""Batch normalisation as one kernel where that is the fastest way to compute it.

Keras 3 normalises a training batch with a chain of separate operations; TensorFlow has one fused
kernel for it. For inference it is the other way round: the gradient of the fused kernel, which
Keras 2 uses there too, also computes what an attack never reads, the gradients of scale and
offset; a plain multiplication and addition does not. What is computed, the weights and their names
are those of ``keras.layers.BatchNormalization``: either layer loads the other's weights.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.compat import keras


@keras.saving.register_keras_serializable("rlfat_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """``keras.layers.BatchNormalization`` for maps [batch, height, width, channels], faster.

    Takes the same arguments. Synchronised statistics, other ranks or axes and masks go Keras's own
    way. (Ioffe & Szegedy, "Batch Normalization", ICML 2015.)
    """

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Normalises by the statistics of the batch in training, else by the moving ones."""
        if not isinstance(training, (bool, type(None))) or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        if not training or not self.trainable:
            return self._scale_and_shift(inputs)
        if self._has_fused_kernel(inputs):
            return self._fused(inputs)
        return super().call(inputs, training=True)

    def _has_fused_kernel(self, inputs: Any) -> bool:
        last = self.axis in (3, -1, [3], (3,))
        narrow = inputs.dtype in (tf.float32, tf.bfloat16, tf.float16)
        return len(inputs.shape) == 4 and last and narrow and not self.synchronized

    def _scale_and_shift(self, inputs: Any) -> Any:
        """(x - mean) / sqrt(variance + epsilon) * gamma + beta, as x * a + b."""
        mean, variance, gamma, beta = self._parameters(inputs)
        shape = [1] * len(inputs.shape)
        axis = self.axis if isinstance(self.axis, int) else self.axis[0]
        shape[axis] = -1
        a = gamma * tf.math.rsqrt(variance + self.epsilon)
        b = beta - mean * a
        wide = tf.cast(inputs, a.dtype)
        return tf.cast(wide * tf.reshape(a, shape) + tf.reshape(b, shape), inputs.dtype)

    def _fused(self, inputs: Any) -> Any:
        """The training pass as one kernel; the moving statistics follow as in Keras."""
        mean, variance, gamma, beta = self._parameters(inputs)
        outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel returns the unbiased variance; what it normalises by, and Keras 3 keeps, is
        # the variance of the batch itself.
        count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
        batch_variance *= (count - 1) / count
        keep = self.momentum
        self.moving_mean.assign(mean * keep + batch_mean * (1 - keep))
        self.moving_variance.assign(variance * keep + batch_variance * (1 - keep))
        return outputs

    def _parameters(self, inputs: Any) -> list[Any]:
        dtype = tf.float64 if inputs.dtype == tf.float64 else tf.float32
        mean, variance = (
            tf.cast(tf.convert_to_tensor(v), dtype)
            for v in (self.moving_mean, self.moving_variance)
        )
        gamma = tf.cast(self.gamma, dtype) if self.scale else tf.ones_like(mean)
        beta = tf.cast(self.beta, dtype) if self.center else tf.zeros_like(mean)
        return [mean, variance, gamma, beta]
