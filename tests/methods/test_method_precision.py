"""Networks that compute in bfloat16: the attack, the loss and the weights stay float32."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import METHODS, attacks
from rlfat_tf.core import random
from rlfat_tf.core.compat import dtype_policy, keras
from rlfat_tf.methods.steps import TRAIN
from tests import reference

IMAGES, ADVERSARIAL, LABELS = reference.images_and_labels()
ATTACK = attacks.LinfPGD(epsilon=8 / 255, steps=3)


@pytest.fixture(scope="module")
def nets():
    return [
        reference.keras_net(batch_norm=True, dtype=dtype, seed=1)
        for dtype in ("float32", "mixed_bfloat16")
    ]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_attack_stays_in_the_ball_in_float32(nets, norm):
    narrow = nets[1]
    seen = []

    def logits(images):
        seen.append(images.dtype)
        return narrow(images)

    attack = attacks.PGD(norm=norm, epsilon=ATTACK.epsilon, steps=ATTACK.steps)
    found = tf.function(lambda: attack(logits, IMAGES, LABELS))()
    assert found.dtype == tf.float32 and set(seen) == {tf.float32}
    delta = found.numpy().astype(np.float64) - IMAGES
    size = np.abs(delta).max() if norm == "linf" else np.sqrt((delta**2).sum((1, 2, 3))).max()
    # bfloat16 is 4e-3 apart near 1; float32 6e-8.
    assert 0.9 * 8 / 255 < size <= 8 / 255 + 1e-7
    assert found.numpy().min() >= 0 and found.numpy().max() <= 1


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_is_close_to_float32s(nets, name):
    values = []
    for net in nets:
        result = METHODS[name](net, **reference.needed(name)).batch_objective(
            tf.constant(IMAGES),
            tf.constant(ADVERSARIAL),
            tf.constant(LABELS),
            random.as_seed(1).fold(TRAIN),
            training=True,
        )
        assert result.loss.dtype == tf.float32
        for logits in (result.clean_logits, result.adversarial_logits):
            assert logits is None or logits.dtype == tf.float32
        values.append(float(tf.reduce_mean(result.loss)))
    np.testing.assert_allclose(values[1], values[0], rtol=2e-2)
    assert values[1] != values[0]  # it did compute in bfloat16


def test_logits_of_bfloat16_are_raised_and_training_works():
    with dtype_policy("mixed_bfloat16"):
        net = keras.Sequential(
            [keras.Input(reference.SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
        )
    assert net(IMAGES).dtype == tf.bfloat16
    robust = METHODS["rlfat_t"](net, attack=ATTACK)
    adversarial = robust.adversarial_examples(tf.constant(IMAGES), LABELS, 0)
    assert adversarial.dtype == tf.float32
    assert np.abs(adversarial - IMAGES).max() > 0.9 * 8 / 255
    before = net.get_weights()
    robust.compile(optimizer=keras.optimizers.SGD(0.1), metrics=["accuracy"])
    logs = robust.fit(IMAGES, LABELS, verbose=0).history
    assert np.isfinite(logs["loss"][0])
    assert all(np.any(a != b) for a, b in zip(before, net.get_weights()))
    assert all(w.dtype == np.float32 for w in net.get_weights())
