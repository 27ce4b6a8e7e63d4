"""RLFAT_P as the reference's code runs it: the host steps through the attack, one call a step.

Each call hands arrays in and takes arrays out, Random Block Shuffle is done in NumPy, and batch
normalisation is in training mode throughout, so that every attack step also moves its statistics.
The calls themselves are compiled graphs with the fused kernel, as TensorFlow 1's sessions were.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.core.compat import keras


class ReferenceLoop:
    """Trains a Keras network.

    Args:
        net: From images to logits.
        epsilon: Radius, maximum norm.
        steps: Of the attack.
        step_size: Of the attack.
        eta: Weight of the alignment.
    """

    def __init__(self, net: Any, *, epsilon: float, steps: int, step_size: float, eta: float = 0.5):
        self.net, self.epsilon, self.steps = net, epsilon, steps
        self.step_size, self.eta = step_size, eta
        self.optimizer = keras.optimizers.Adam(1e-3)
        self.optimizer.build(net.trainable_variables)
        self.random = np.random.default_rng(0)

    @tf.function
    def gradient(self, images: Any, labels: Any) -> Any:
        """The gradient of the attack's loss."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = self.net(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses)
        return tape.gradient(loss, images)

    def attack(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """PGD, on the host."""
        noise = self.random.uniform(-self.epsilon, self.epsilon, images.shape)
        points = (images + noise).astype(np.float32)
        for _ in range(self.steps):
            gradient = self.gradient(tf.constant(points), tf.constant(labels)).numpy()
            points = points + self.step_size * np.sign(gradient)
            points = np.clip(points, images - self.epsilon, images + self.epsilon)
            points = np.clip(points, 0, 1).astype(np.float32)
        return points

    def shuffle(self, images: np.ndarray) -> np.ndarray:
        """Random Block Shuffle with two blocks."""
        for axis in (1, 2):
            first, second = np.split(images, [self.random.integers(images.shape[axis])], axis)
            if self.random.random() < 0.5:
                first, second = second, first
            images = np.concatenate([first, second], axis)
        return images

    @tf.function
    def loss(self, shuffled: Any, points: Any, labels: Any) -> Any:
        """CE(f(RBS(x')), y) + eta ||f(RBS(x')) - f(x')||^2."""
        shuffled_logits = self.net(shuffled, training=True)
        logits = self.net(points, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, shuffled_logits)
        distance = tf.reduce_sum(tf.square(shuffled_logits - logits), -1)
        return tf.reduce_mean(losses + self.eta * distance)

    @tf.function
    def update(self, shuffled: Any, points: Any, labels: Any) -> Any:
        """One step of Adam."""
        variables = self.net.trainable_variables
        with tf.GradientTape() as tape:
            loss = self.loss(shuffled, points, labels)
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    def __call__(self, images: np.ndarray, labels: np.ndarray) -> float:
        """One optimisation step."""
        points = self.attack(images, labels)
        arrays = self.shuffle(points), points, labels
        return float(self.update(*(tf.constant(array) for array in arrays)))
