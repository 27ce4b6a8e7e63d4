"""Small classifiers for the tests of APGD, and what an attack shows them on its way."""

import numpy as np
import tensorflow as tf

from rlfat_tf.core.compat import keras
from tests import reference

SHAPE = reference.SHAPE
PIXELS = int(np.prod(SHAPE))
IMAGES, _, _ = reference.images_and_labels(8, seed=1)
IMAGES[0, 0], IMAGES[1, 1] = 0, 1
MIDDLE = np.float32(0.3 + 0.4 * IMAGES)  # away from 0 and 1: no clip to the range of pixels
W = np.random.default_rng(3).normal(size=PIXELS).astype(np.float32)


def make_net(classes, seed=0):
    """Flatten, Dense(5), tanh, Dense(classes): what :class:`tests.reference.Net` computes."""
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(5, "tanh")]
    net = keras.Sequential([*layers, keras.layers.Dense(classes)])
    rng = np.random.default_rng(seed)
    net.set_weights([rng.normal(0, 0.6, w.shape) for w in net.get_weights()])
    return net


NETS = {classes: make_net(classes) for classes in (2, 3, 10)}


def right_labels(net):
    return np.argmax(net(IMAGES), -1).astype(np.int32)


def is_right(net, found, labels):
    return np.argmax(net(tf.constant(found)), -1) == labels


def linear(images):
    """Two classes; class 1 leads by 100 + w x, so that it is never misclassified."""
    score = tf.linalg.matvec(tf.reshape(images, [-1, PIXELS]), W) + 100
    return tf.stack([tf.zeros_like(score), score], -1)


ONES = np.ones(8, np.int32)  # its labels
AWAY = -W  # its gradient


def spy(logits_fn, seen):
    """Notes what the classifier sees, in a graph too."""

    def note(images):
        seen.append(np.array(images))

    def logits(images):
        with tf.control_dependencies([tf.numpy_function(note, [images], [])]):
            return logits_fn(tf.identity(images))

    return logits


def run(attack, logits_fn, images, labels, seed=0):
    """The attack as one graph, in which many steps are many times as fast as one by one."""
    labels = tf.constant(labels, tf.int32)
    call = tf.function(lambda x, y: attack(logits_fn, x, y, seed=seed), autograph=False)
    return call(tf.constant(images), labels).numpy()


def directly(attack, logits_fn, images, labels, seed=0):
    """The attack step by step: a few steps are over before a graph of them would be made."""
    labels = tf.constant(labels, tf.int32)
    return attack(logits_fn, tf.constant(images), labels, seed=seed).numpy()


def path_of(seen, images, steps):
    """The points of the first start; the images themselves may be looked at at any time."""
    points = [x for x in seen if x.shape != images.shape or np.any(x != images)]
    return np.stack(points[: steps + 1]).reshape(steps + 1, len(images), -1)


def without_gradients(logits_fn):
    """The same classifier, of which nobody may take a gradient."""

    @tf.custom_gradient
    def logits(images):
        def refuse(*_):
            raise AssertionError("a gradient was taken")

        return logits_fn(images), refuse

    return logits
