"""What the attack does to batch normalisation, in each of its modes.

The net's batch normalisation sees a constant: its mean under any attack on other pixels is known.
"""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import PGDAT, RLFATP, TRADES, attacks
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.batch_norm import attack_forward
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(8, seed=1)
STEPS = 3


def net_with(mean=0.5, variance=2.0):
    model = reference.keras_net(batch_norm=True, seed=2)
    norm = next(layer for layer in model.layers if "BatchNorm" in type(layer).__name__)
    norm.moving_mean.assign(tf.fill([5], mean))
    norm.moving_variance.assign(tf.fill([5], variance))
    return model, norm


def statistics(norm):
    return np.array(norm.moving_mean), np.array(norm.moving_variance)


def attacked(model, mode, method=PGDAT, **arguments):
    arguments = {"epsilon": 0.1, "steps": STEPS, "random_start": "none", **arguments}
    robust = method(model, attack=attacks.LinfPGD(**arguments), attack_bn=mode)
    step = tf.function(lambda: robust.adversarial_examples(IMAGES, LABELS, 0))
    return step().numpy()


class Batch(reference.Net):
    """The NumPy net whose every pass uses batch statistics."""

    def forward(self, images, training=True):
        return super().forward(images, training=True)


@pytest.mark.parametrize("mode", ["eval", "batch", "train"])
def test_which_statistics_the_attack_uses(mode):
    model, _ = net_with()
    net = (reference.Net if mode == "eval" else Batch)(model)
    expected = reference.pgd(
        net, IMAGES, LABELS, start=0.0, epsilon=0.1, step_size=0.25 / STEPS, steps=STEPS
    )
    np.testing.assert_allclose(attacked(model, mode), expected, atol=1e-6)


def test_the_modes_differ():
    results = [attacked(net_with()[0], mode) for mode in ("eval", "batch", "train")]
    assert np.any(results[0] != results[1])
    np.testing.assert_allclose(results[1], results[2], atol=1e-6)


@pytest.mark.parametrize("mode", ["eval", "batch"])
@pytest.mark.parametrize("eager", [False, True])
def test_moving_statistics_are_left_alone(mode, eager):
    model, norm = net_with()
    before = statistics(norm)
    with attack_forward(model, mode) as logits:
        (logits if eager else tf.function(logits))(IMAGES)
    attacked(model, mode)
    for old, new in zip(before, statistics(norm)):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("method", "arguments", "passes"),
    [
        (PGDAT, {}, STEPS),
        (PGDAT, {"restarts": 2}, 2 * STEPS + 2),  # and a pass to evaluate each restart
        (TRADES, {"random_start": "gaussian"}, STEPS + 1),  # and one of the clean images
    ],
)
def test_train_mode_updates_the_moving_statistics_once_per_pass(method, arguments, passes):
    model, norm = net_with()
    kernel, bias = model.get_weights()[:2]
    model.set_weights([0 * kernel, bias, *model.get_weights()[2:]])  # what it sees: the bias
    attacked(model, "train", method, **arguments)
    mean, variance = statistics(norm)
    decay = 0.9**passes
    np.testing.assert_allclose(mean, decay * 0.5 + (1 - decay) * bias, rtol=1e-5)
    np.testing.assert_allclose(variance, decay * 2.0, rtol=1e-5)


@pytest.mark.parametrize(("mode", "passes"), [("eval", 2), ("batch", 2), ("train", 2 + STEPS)])
def test_a_whole_step_of_rlfat_p(mode, passes):
    """The two passes of the loss update the statistics in every mode; the metrics do not."""
    model, norm = net_with()
    weights = model.get_weights()
    model.set_weights([0 * weights[0], *weights[1:]])

    attack = attacks.LinfPGD(epsilon=0.1, steps=STEPS)
    robust = RLFATP(model, attack=attack, attack_bn=mode)
    robust.compile(optimizer=keras.optimizers.SGD(0.0))
    robust.fit(IMAGES, LABELS, batch_size=8, verbose=0)
    decay = 0.9**passes
    np.testing.assert_allclose(
        statistics(norm)[0], decay * 0.5 + (1 - decay) * weights[1], rtol=1e-5
    )
    robust.evaluate(IMAGES, LABELS, verbose=0)
    np.testing.assert_allclose(
        statistics(norm)[0], decay * 0.5 + (1 - decay) * weights[1], rtol=1e-5
    )


def test_an_unknown_mode():
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        PGDAT(net_with()[0], attack_bn="trian")
