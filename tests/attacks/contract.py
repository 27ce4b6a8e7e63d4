"""What the contract is tested on, and how two results of the same attack are compared."""

import numpy as np
import tensorflow as tf

from rlfat_tf.core import random

# Another size of the batch takes other kernels, and those add the same products in another order. A
# sum of n products moves by n u times their sizes, u = 2^-24; here n = 75, and terms that cancel
# leave a tenth of their sizes: 75 * 6e-8 * 10 = 4.5e-5 of a gradient's length. The steps of an
# attack together are 2.5 epsilon = 1.25 long at most, and where the net is curved a difference
# grows, by e at most: 1.5e-4. Attacks that depended on the batch would part by epsilon, 0.05 and
# more.
ROUNDING = 2e-4
# Entries of a gradient as near to 0 as that change their signs, and with them a pixel by two steps.
TURNED = 0.01


def assert_same(found, expected):
    """The same attack on the same examples, in batches of other sizes or by another graph."""
    apart = np.abs(np.asarray(found, np.float64) - expected)
    assert np.all(np.isfinite(apart)) and np.mean(apart > ROUNDING) <= TURNED, apart.max()


def numbered(attack, logits_fn, shape):
    """The attack as one graph for batches of any size, of (images, labels, numbers, seed)."""
    signature = [tf.TensorSpec([None, *shape]), tf.TensorSpec([None], tf.int32)]
    signature += [tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)]

    @tf.function(input_signature=signature)  # with the usual autograph
    def call(images, labels, numbers, seed):
        seed = random.as_seed(seed)._replace(examples=numbers)
        return attack(logits_fn, images, labels, seed=seed)

    return call


def size_of(norm, delta):
    """The length of a perturbation of every example."""
    flat = np.asarray(delta, np.float64).reshape(len(delta), -1)
    return np.abs(flat).max(-1) if norm == "linf" else np.sqrt((flat**2).sum(-1))


# Of an attack only once: so few steps that a call without a graph takes no time.
FEW = {
    "steps": 1,
    "iterations": 1,
    "population": 2,
    "samples": 2,
    "queries": 2,
    "binary_search_steps": 1,
    "restarts": 1,
    "targets": 1,
    "budget": 1e-3,
}


def shortened(attack):
    """The attack with the least number of everything."""
    if hasattr(attack, "attack"):  # transfer
        return attack.replace(attack=shortened(attack.attack))
    return attack.replace(**{name: few for name, few in FEW.items() if name in attack.get_config()})
