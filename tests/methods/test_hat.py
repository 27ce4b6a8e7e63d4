"""HAT against NumPy and TRADES, and what its helper must be."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import HAT, TRADES, Standard, attacks
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from tests import reference

BATCH = reference.images_and_labels(6, seed=2)
IMAGES, ADVERSARIAL, LABELS = BATCH
ATTACK = attacks.LinfPGD(epsilon=0.1, steps=1)


def make(dtype="float32", **arguments):
    helper = reference.keras_net(seed=9, batch_norm=True)
    return HAT(reference.keras_net(dtype=dtype, seed=1), helper_model=helper, **arguments)


@pytest.mark.parametrize("dtype, rtol, smoothing", [("float64", 1e-5, 0.3), ("float32", 2e-3, 0.0)])
def test_loss_and_gradient(dtype, rtol, smoothing):
    """y_h is the helper's label of x', by its moving statistics; x_h may leave [0, 1]."""
    robust = make(dtype, beta=2.0, gamma=3.0, h=8.0, label_smoothing=smoothing)
    helper = reference.Net(robust.helper_model)
    images = [np.asarray(x, dtype) for x in (IMAGES, ADVERSARIAL)]
    far = images[0] + 8 * (images[1] - images[0])
    assert far.min() < 0 and far.max() > 1
    y_h, of_far, by_batch = (
        helper.forward(x, training)[0].argmax(-1)
        for x, training in ((images[1], False), (far, False), (images[1], True))
    )
    assert np.any(y_h != of_far) and np.any(y_h != by_batch) and np.any(y_h != LABELS)

    rows = (1 - smoothing) * np.eye(3)[LABELS] + smoothing / 3

    def terms(net):
        clean, there, helped = (net.forward(x)[0] for x in (*images, far))
        return {
            "clean_loss": reference.cross_entropy(rows, clean)[0],
            "kl_loss": reference.kl(clean, there)[0],
            "helper_loss": reference.cross_entropy(y_h, helped)[0],
        }

    def loss(t):
        return t["clean_loss"] + 2 * t["kl_loss"] + 3 * t["helper_loss"]

    reference.check_objective(robust, terms, loss, BATCH, rtol=rtol)


def test_without_the_helper_term_it_is_trades():
    """Its attack, its loss, its update and its batch statistics, to the last bit."""
    helper = reference.keras_net(seed=9)

    def stepped(method, **arguments):
        net = reference.keras_net(batch_norm=True, seed=1)
        robust = method(net, attack=ATTACK, **arguments)
        robust.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
        logs = robust.train_step((tf.constant(IMAGES), tf.constant(LABELS)))
        return net.get_weights(), {name: float(value) for name, value in logs.items()}

    hat, hat_logs = stepped(HAT, helper_model=helper, beta=6.0, gamma=0.0)
    trades, logs = stepped(TRADES, trades_lambda=6.0)
    for ours, theirs in zip(hat, trades):
        np.testing.assert_array_equal(ours, theirs)
    assert hat_logs.pop("helper_loss") == 0
    assert hat_logs == logs


def test_the_helper_is_frozen_and_saved(tmp_path):
    robust = make(weight_decay=0.5, attack=ATTACK)
    robust.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    before, trained = (m.get_weights() for m in (robust.helper_model, robust.model))
    robust.train_step((tf.constant(IMAGES), tf.constant(LABELS)))
    assert np.any(trained[0] != robust.model.get_weights()[0])
    for old, new in zip(before, robust.helper_model.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert len(robust.trainable_variables) == 4
    of_helper = {id(v) for v in compat.variables_of(robust.helper_model)}
    assert not of_helper & {id(v) for v in robust.state}
    robust.save(tmp_path / "hat.keras")
    again = keras.models.load_model(tmp_path / "hat.keras")
    for old, new in zip(before, again.helper_model.get_weights()):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(again.model(IMAGES), robust.model(IMAGES), rtol=1e-5, atol=1e-6)
    assert (again.beta, again.gamma, again.h) == (2.5, 0.5, 2.0)


def test_what_the_helper_must_be():
    net = reference.keras_net(seed=1)
    with pytest.raises(ValueError, match="HAT needs helper_model=.* --method=standard"):
        HAT(net)
    other = keras.Sequential(
        [keras.Input((7, 5, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match=r"helper_model to take images of shape \(6, 5, 2\)"):
        HAT(net, helper_model=other)
    more = keras.Sequential([keras.Input((6, 5, 2)), keras.layers.Flatten(), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match="helper_model to tell 3 classes.* tells 4"):
        HAT(net, helper_model=more)
    with pytest.raises(ValueError, match="one that shares weights"):
        HAT(net, helper_model=net)
    with pytest.raises(TypeError, match="Expected a Keras model"):
        HAT(net, helper_model="runs/digits_standard")
    helper = reference.keras_net(seed=9)
    robust = HAT(net, helper_model=Standard(helper))
    assert robust.helper_model is helper
    with pytest.raises(ValueError, match="tells 4"):
        robust.helper_model = more
    assert tf.reduce_all(robust(IMAGES) == net(IMAGES))


def test_the_helper_cannot_be_taken_away():
    robust = make()
    with pytest.raises(TypeError, match="received NoneType"):
        robust.helper_model = None
    assert robust.helper_model is not None
