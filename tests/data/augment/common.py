"""Images to augment, seeds, and how often something may happen by chance."""

import numpy as np
import tensorflow as tf

SHAPES = [(32, 32, 3), (8, 8, 1), (9, 14, 2)]


def batch(shape, n=12, dtype=np.uint8):
    values = np.random.RandomState(0).randint(1, 256, (n, *shape))
    return (values / 255).astype(np.float32) if dtype == np.float32 else values.astype(dtype)


def seed(*values):
    return tf.constant(values, tf.int32)


def is_rate(found, probability):
    """Whether a mean of many is within 5 standard deviations of the probability."""
    deviation = np.sqrt(probability * (1 - probability) / len(found))
    return abs(np.mean(found) - probability) <= 5 * deviation
