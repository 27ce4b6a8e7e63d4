"""The radius of training that grows over the first steps; that of validation never does."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import METHODS, PGDAT, Standard, attacks
from rlfat_tf.core import compat, random
from rlfat_tf.core.compat import keras
from rlfat_tf.methods import Batch
from rlfat_tf.models.discriminator import latent_discriminator
from rlfat_tf.run import epsilon_warmup
from tests import reference
from tests.runs import config

IMAGES, _, LABELS = reference.images_and_labels(8, seed=3)
IMAGES = np.float32(0.3 + 0.4 * IMAGES)  # nothing is clipped to [0, 1]
SEED = random.as_seed(2)
EPSILON = 0.1
ATTACK = attacks.LinfPGD(epsilon=EPSILON, steps=2)


def make(method=PGDAT, warmup=4, **arguments):
    robust = method(reference.keras_net(seed=8), epsilon_warmup=warmup, **arguments)
    robust.compile(optimizer=keras.optimizers.SGD(0.0))
    compat.build_optimizer(robust.optimizer, robust.trainable_variables)
    return robust


def examples(robust, step):
    compat.batches_seen(robust.optimizer).assign(step)
    return robust.adversarial_examples(tf.constant(IMAGES), LABELS, SEED).numpy()


def test_the_scale_of_every_step():
    robust = make()
    scales = []
    for step in range(6):
        compat.batches_seen(robust.optimizer).assign(step)
        scales.append(float(robust.epsilon_scale()))
    assert scales == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert make(warmup=0).epsilon_scale() is None


@pytest.mark.parametrize(
    "attack", [ATTACK, attacks.FGSMRS(epsilon=EPSILON), attacks.NFGSM(epsilon=EPSILON)]
)
def test_examples_are_those_of_the_smaller_radius_and_then_the_usual_ones(attack):
    robust, usual = make(attack=attack), make(attack=attack, warmup=0)
    np.testing.assert_array_equal(examples(robust, 3), examples(usual, 3))
    np.testing.assert_array_equal(examples(robust, 900), examples(usual, 900))
    smaller = make(attack=attack.replace(epsilon=EPSILON / 2), warmup=0)
    np.testing.assert_allclose(examples(robust, 1), examples(smaller, 1), atol=1e-6)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "standard"])
def test_every_method_with_adversarial_examples_has_it(name):
    small = {"num_classes": reference.CLASSES, "widths": (8,), "units_per_stage": 1}
    given = {"attack": ATTACK}
    if name == "feature_scattering":
        given = {}
    elif name == "atld":
        given = {"epsilon": EPSILON, "discriminator": latent_discriminator(**small)}
    robust = make(METHODS[name], **given, **reference.needed(name))
    epsilon = getattr(robust, "epsilon", None) or robust.attack.epsilon
    for step, scale in ((0, 0.25), (3, 1.0)):
        reached = np.abs(examples(robust, step) - IMAGES).max()
        assert reached == pytest.approx(scale * epsilon, abs=1e-6)
    robust.train_step((tf.constant(IMAGES), tf.constant(LABELS)))


def test_the_local_balls_grow_as_well():
    robust = make(METHODS["local_global"], attack=ATTACK)
    scale = tf.constant(0.25)
    batch = Batch(tf.constant(IMAGES), tf.constant(IMAGES), LABELS, None, SEED, scale)
    point = robust.local_point(batch, None)
    assert np.abs(point - IMAGES).max() == pytest.approx(EPSILON / 8, abs=1e-6)  # r = epsilon / 2


def test_validation_has_the_whole_radius():
    logs = [
        make(warmup=warmup, attack=ATTACK).evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
        for warmup in (0, 10**6)
    ]
    assert logs[0] == logs[1]


def test_what_cannot_grow(tmp_path):
    with pytest.raises(ValueError, match="Standard has no epsilon to warm up: it trains on clean"):
        make(Standard)
    with pytest.raises(ValueError, match=r"needs an attack whose radius may grow.*APGD\("):
        make(attack=attacks.APGD(epsilon=0.1))
    for wrong in (-1, 0.5, "full"):
        with pytest.raises(ValueError, match="epsilon_warmup to be"):
            make(warmup=wrong)
    with pytest.raises(ValueError, match="Standard has no epsilon"):
        config(tmp_path, epsilon_warmup="5")
    with pytest.raises(ValueError, match="--epsilon_warmup to be a number of epochs"):
        config(tmp_path, method="pgdat", epsilon_warmup="ful")


def test_from_the_command_line(tmp_path):
    assert epsilon_warmup.steps_of("2.5", 10, 100) == 25
    assert epsilon_warmup.steps_of("full", 10, 100) == 100
    with pytest.warns(UserWarning, match="150 steps, more than the 100 of the run"):
        assert epsilon_warmup.steps_of("15", 10, 100) == 150
    for text in ("nan", "inf", "-1"):
        with pytest.raises(ValueError, match="or full for the whole run"):
            epsilon_warmup.parse(text)
    # Whether a run may grow: not if its radius is that of a part of the whole.
    identity = {
        text: config(tmp_path, method="pgdat", epsilon_warmup=text).identity
        for text in ("0", "3", "full")
    }
    assert ["epochs" in identity[text] for text in identity] == [False, False, True]
