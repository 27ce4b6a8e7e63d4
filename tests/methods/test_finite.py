"""Gradients that are not finite, where the loss is, stop a step before they change a weight."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import ATLD, AWP, Standard
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.finite import finite_gradients, finite_or_stop
from rlfat_tf.methods.objective import Objective
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels()
STOPPED = (ValueError, tf.errors.InvalidArgumentError)
MESSAGE = "^The gradients of the loss are not finite at step 0 and no weight was changed by them"


class RootOfZero(keras.layers.Layer):
    """Adds 0, whose derivative is infinity times 0."""

    def call(self, inputs):
        return inputs + tf.sqrt(tf.nn.relu(-tf.abs(inputs)))


def broken(shape=reference.SHAPE):
    inputs = keras.Input(shape)
    return keras.Model(inputs, RootOfZero()(keras.layers.Dense(3)(keras.layers.Flatten()(inputs))))


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("perturbation", [None, AWP(0.1)])
def test_gradients_stop_before_the_weights_change(eager, perturbation):
    robust = Standard(broken(), weight_perturbation=perturbation)
    robust.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=eager)
    before = robust.get_weights()
    with pytest.raises(ValueError, match=MESSAGE):
        robust.fit(IMAGES, LABELS, batch_size=8, verbose=0)
    for old, new in zip(before, robust.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_replicas_stop_together(strategy2):
    with strategy2.scope():
        robust = Standard(broken())
        robust.compile(optimizer=keras.optimizers.SGD(0.1))
    before = robust.get_weights()
    with pytest.raises(STOPPED, match="The gradients of the loss are not finite"):
        robust.fit(IMAGES, LABELS, batch_size=8, verbose=0)
    for old, new in zip(before, robust.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_the_discriminator_of_atld_stops_too():
    inputs = keras.Input((3,))
    heads = [RootOfZero()(keras.layers.Dense(n)(inputs)) for n in (1, 3)]
    robust = ATLD(reference.keras_net(), discriminator=keras.Model(inputs, heads))
    robust.compile(optimizer="sgd")
    robust.optimizer.iterations.assign(13)  # as in the step with the number 12
    logits = tf.ones([8, 3])
    with pytest.raises(STOPPED, match="gradients of the discriminator are not finite at step 12"):
        robust.after_update(Objective(tf.zeros(8), {}, logits, logits), tf.constant(LABELS))


def test_what_is_finite_passes_as_it_is():
    """Rows of an embedding and variables without a gradient too; great ones are no mistake."""
    rows = tf.IndexedSlices(tf.constant([[3e38], [3e38]]), tf.constant([0, 2]))
    dense, nothing, sparse = finite_gradients([tf.constant([1.0, -2.0]), None, rows], 3)
    np.testing.assert_array_equal(dense, [1, -2])
    assert nothing is None and isinstance(sparse, tf.IndexedSlices)
    np.testing.assert_array_equal(sparse.values, rows.values)
    np.testing.assert_array_equal(sparse.indices, rows.indices)
    broken_rows = tf.IndexedSlices(tf.constant([[1.0], [np.inf]]), tf.constant([0, 2]))
    with pytest.raises(STOPPED, match="at step 3 and"):
        finite_gradients([None, broken_rows], 3)


def test_the_message_of_a_loss_is_a_sentence_eagerly():
    with pytest.raises(STOPPED, match="^The loss is not finite: nan at step 7$"):
        with finite_or_stop(tf.constant(np.nan), tf.constant(7)):
            pass
