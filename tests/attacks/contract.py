"""What every attack owes, for the tests of each."""

import numpy as np
import tensorflow as tf

from rlfat_tf.core import random
from tests import reference


def numbered(attack, logits_fn, shape):
    """The attack as one graph for batches of any size, of (images, labels, numbers, seed)."""
    signature = [tf.TensorSpec([None, *shape]), tf.TensorSpec([None], tf.int32)]
    signature += [tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)]

    @tf.function(input_signature=signature)  # with the usual autograph
    def call(images, labels, numbers, seed):
        seed = random.as_seed(seed)._replace(examples=numbers)
        return attack(logits_fn, images, labels, seed=seed)

    return call


def blind(logits_fn):
    """The same classifier, of which nobody may take a gradient."""

    @tf.custom_gradient
    def logits(images):
        def refuse(*_):
            raise AssertionError("a gradient was taken")

        return logits_fn(images), refuse

    return logits


def on_a_net(attack):
    """A net, images some of whose pixels are at their borders, their labels; the attack on it."""
    net = reference.keras_net(seed=4)
    images, _, _ = reference.images_and_labels(8, seed=1)
    images[0, 0], images[1, 1] = 0, 1
    labels = np.argmax(net(images), -1).astype(np.int32)
    signature = [tf.TensorSpec([None, *reference.SHAPE]), tf.TensorSpec([None], tf.int32)]
    in_graph = tf.function(lambda x, y: attack(net, x, y), input_signature=signature)
    return net, images, labels, in_graph


def check_without_gradients(attack, short):
    """Of an attack in the maximum norm: its ball, range, graph and kinds of labels, on a net.

    ``short`` are settings with which a call step by step takes no time.
    """
    net, images, labels, in_graph = on_a_net(attack)
    found = in_graph(images, labels).numpy()
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    assert 0.03 < np.abs(found - images).max() <= attack.epsilon + 1e-6
    np.testing.assert_array_equal(in_graph(images, labels), found)
    np.testing.assert_allclose(in_graph(images[:3], labels[:3]), found[:3], atol=1e-3)
    quick = attack.replace(**short)
    expected = quick(net, images, labels)
    np.testing.assert_array_equal(quick(net, images, np.eye(3)[labels]), expected)
