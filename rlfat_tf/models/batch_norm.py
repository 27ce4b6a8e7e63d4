"""Batch normalisation as one kernel where that is the fastest way, and one that starts unbiased.

Keras 3 normalises with a chain of separate operations; TensorFlow has one fused kernel for it. In
inference mode the gradient of that kernel, which Keras 2 uses, also computes what an attack never
reads, the gradients of scale and offset: there the gradient is one multiplication of our own. What
is computed, the weights and their names are those of ``keras.layers.BatchNormalization``: either
layer loads the other's weights.

Moving statistics that start at 0 and 1 are wrong for some 5 / (1 - momentum) batches. Networks that
were published with a momentum of 0.99 begin instead with the statistics of the first batch.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Tensor


@keras.saving.register_keras_serializable("rlfat_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """``keras.layers.BatchNormalization`` for maps [batch, height, width, channels], faster.

    Takes the same arguments. In training, synchronised statistics go Keras's own way, and so do
    masks and other ranks or axes. (Ioffe & Szegedy, "Batch Normalization", ICML 2015.)
    """

    def call(self, inputs: Tensor, training: Any = None, mask: Any = None) -> Tensor:
        """Normalises by the statistics of the batch in training, else by the moving ones."""
        if not isinstance(training, (bool, type(None))) or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        if not training or not self.trainable:
            return self._inference(inputs)
        if self._has_fused_kernel(inputs) and not self.synchronized:
            return self._fused(inputs)
        return super().call(inputs, training=True)

    def _has_fused_kernel(self, inputs: Tensor) -> bool:
        last = self.axis in (3, -1, [3], (3,))
        narrow = inputs.dtype in (tf.float32, tf.bfloat16, tf.float16)
        return len(inputs.shape) == 4 and last and narrow

    def _inference(self, inputs: Tensor) -> Tensor:
        """(x - mean) / sqrt(variance + epsilon) * gamma + beta; the statistics are constants."""
        mean, variance, gamma, beta = self._parameters(inputs)
        scale = gamma * tf.math.rsqrt(variance + self.epsilon)
        if not self._has_fused_kernel(inputs):
            shape = [1] * len(inputs.shape)
            shape[self.axis if isinstance(self.axis, int) else self.axis[0]] = -1
            wide, offset = tf.cast(inputs, scale.dtype), beta - mean * scale
            outputs = wide * tf.reshape(scale, shape) + tf.reshape(offset, shape)
            return tf.cast(outputs, inputs.dtype)

        @tf.custom_gradient
        def normalise(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
            outputs = tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=gamma,
                offset=beta,
                mean=mean,
                variance=variance,
                epsilon=self.epsilon,
                is_training=False,
            )[0]

            def gradients(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
                # Those that nobody asks for, in an attack the last two, are pruned from the graph.
                wide = tf.cast(upstream, scale.dtype)
                axes = [0, 1, 2]
                normal = (tf.cast(x, scale.dtype) - mean) * tf.math.rsqrt(variance + self.epsilon)
                return (
                    upstream * tf.cast(scale, upstream.dtype),
                    tf.reduce_sum(wide * normal, axes),
                    tf.reduce_sum(wide, axes),
                )

            return outputs, gradients

        return normalise(inputs, gamma, beta)

    def _fused(self, inputs: Tensor) -> Tensor:
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

    def _parameters(self, inputs: Tensor) -> list[Tensor]:
        dtype = tf.float64 if inputs.dtype == tf.float64 else tf.float32
        mean, variance = (
            tf.cast(tf.convert_to_tensor(v), dtype)
            for v in (self.moving_mean, self.moving_variance)
        )
        gamma = tf.cast(self.gamma, dtype) if self.scale else tf.ones_like(mean)
        beta = tf.cast(self.beta, dtype) if self.center else tf.zeros_like(mean)
        return [mean, variance, gamma, beta]


@keras.saving.register_keras_serializable("rlfat_tf")
class FirstBatchNormalization(FusedBatchNormalization):
    """The same, but the first batch in training sets the moving statistics to its own.

    Later batches move them by the momentum as usual. The first batch is known by the moving
    statistics themselves, which are still 0 and 1 everywhere: nothing more is stored, and where
    they are put back after a pass (``attack_bn="batch"``), the next pass is the first one again.
    (As in the PyTorch code of Rebuffi et al., "Data Augmentation Can Improve Robustness", NeurIPS
    2021, whose first step has a momentum of 0.)
    """

    def call(self, inputs: Tensor, training: Any = None, mask: Any = None) -> Tensor:
        """Normalises as the parent does."""
        if training is not True or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        mean, variance = (
            tf.convert_to_tensor(moving) for moving in (self.moving_mean, self.moving_variance)
        )
        untouched = tf.reduce_all(mean == 0) & tf.reduce_all(variance == 1)
        # From zeros the parent makes 1 - momentum times the batch's statistics of both.
        self.moving_variance.assign(tf.where(untouched, tf.zeros_like(variance), variance))
        outputs = super().call(inputs, training=True, mask=mask)
        factor = tf.where(untouched, tf.constant(1 / (1 - self.momentum), mean.dtype), 1)
        for moving in (self.moving_mean, self.moving_variance):
            moving.assign(tf.convert_to_tensor(moving) * factor)
        return outputs
