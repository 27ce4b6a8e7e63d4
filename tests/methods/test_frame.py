"""Every method inside today's frame: smoothed labels, an average, AWP and a one-step attack."""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import METHODS
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.storage import checkpoint
from tests import reference
from tests.methods.test_replicas import small_discriminator

IMAGES, _, LABELS = reference.images_and_labels(8, seed=4)
# What couples the examples of a batch is computed by each replica for its own.
OF_EACH_REPLICA = ("feature_scattering",)


def made(name):
    arguments = {
        "label_smoothing": 0.1,
        "average": rlfat_tf.Average(0.9),
        "weight_perturbation": rlfat_tf.AWP(0.1, warmup=1),
        "weight_decay": 1e-3,
        "decay_exclude": "vectors",
    }
    if METHODS[name].instead_of_an_attack is None and name != "feature_scattering":
        arguments["attack"] = rlfat_tf.attacks.NFGSM(epsilon=0.1)
    if name == "atld":
        arguments["discriminator"] = small_discriminator()
    arguments.update(reference.needed(name))
    robust = METHODS[name](reference.keras_net(seed=3), **arguments)
    robust.compile(optimizer=keras.optimizers.SGD(0.2, momentum=0.9))
    compat.build_optimizer(robust.optimizer, robust.trainable_variables)
    return robust


def steps(robust, number):
    data = tf.data.Dataset.from_tensors((IMAGES, LABELS)).repeat(number)
    robust.fit(data, shuffle=False, verbose=0)
    with robust.weights_of_training():
        return [variable.numpy() for variable in robust.state]


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_repeated_from_the_state_to_the_last_bit(name, tmp_path):
    robust = made(name)
    before = steps(robust, 1)
    checkpoint.save_state(tmp_path / "state.npz", robust, {})
    first = steps(robust, 2)
    checkpoint.restore_state(tmp_path / "state.npz", robust)
    again = steps(robust, 2)
    for one, other in zip(first, again):
        np.testing.assert_array_equal(one, other)
    assert all(np.all(np.isfinite(value)) for value in first)
    assert sum(not np.array_equal(one, other) for one, other in zip(before, first)) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(METHODS) - set(OF_EACH_REPLICA)))
def test_two_replicas_do_what_one_device_does(name, strategy2):
    with strategy2.scope():
        replicas = made(name)
    for one, other in zip(steps(replicas, 3), steps(made(name), 3)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
