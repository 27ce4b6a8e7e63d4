"""What every attack owes to whoever calls it: one table, one graph for each attack.

Its ball, [0, 1] and finite numbers; the same result from the same seed, whatever the batch; all
kinds of labels; the refusal of images and labels out of range; no gradient through it. What an
attack is told is tested in test_arguments.py, what it computes in a file of its own.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.attacks.base import Search
from rlfat_tf.attacks.pixels import is_on_grid, off_grid
from rlfat_tf.core import random
from rlfat_tf.evaluation.classifier import Classifier
from tests.attacks.contract import assert_same, numbered, shortened, size_of
from tests.attacks.recording import IMAGES as BETWEEN_LEVELS
from tests.attacks.recording import NETS, SHAPE, make_net

NET = NETS[10]
IMAGES = (np.round(255 * BETWEEN_LEVELS) / 255).astype(np.float32)  # as 8-bit pixels must be
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
WRONG = 6  # misclassified to begin with
LABELS[WRONG] = (LABELS[WRONG] + 1) % 10
SOURCE = Classifier(make_net(10, seed=5), "source")

# Without a graph these take longest, as MALT asks for a gradient of every other class:
# they are tried on the fewest classes that have every loss.
ASK_EVERY_CLASS = {"apgd_t_l2", "fast"}
FEW_CLASSES = make_net(4)

ATTACKS = {
    "fgsm": attacks.FGSM(epsilon=0.1),
    "fgsm_rs": attacks.FGSMRS(epsilon=0.1),
    "n_fgsm": attacks.NFGSM(epsilon=0.1),
    "pgd": attacks.LinfPGD(epsilon=0.1, steps=3),
    "pgd_l2": attacks.L2PGD(epsilon=0.5, steps=3),
    "pgd_kl": attacks.LinfPGD(epsilon=0.1, steps=3, random_start="gaussian", loss="kl"),
    "pgd_dlr": attacks.LinfPGD(epsilon=0.1, steps=3, loss="dlr"),
    "pgd_restarts": attacks.LinfPGD(epsilon=0.1, steps=2, restarts=3, keep="best"),
    "pgd_margin": attacks.L2PGD(epsilon=0.5, steps=2, restarts=2, loss="margin"),
    "mim": attacks.MIM(epsilon=0.1, steps=5),
    "mim_l2": attacks.MIM(norm="l2", epsilon=0.5, steps=5),
    "cw_tanh": attacks.CWTanh(epsilon=0.08, steps=30, binary_search_steps=3),
    "cw_l2": attacks.CWL2(steps=60, binary_search_steps=4, learning_rate=0.05, initial_const=0.1),
    "nattack": attacks.NAttack(
        epsilon=0.1, population=24, iterations=12, test_every=5, learning_rate=0.05
    ),
    "spsa": attacks.SPSA(epsilon=0.06, steps=12, samples=40),
    "apgd": attacks.APGD(epsilon=0.05, steps=7),
    "apgd_dlr": attacks.APGD(norm="l2", epsilon=0.3, steps=7, restarts=2, loss="dlr"),
    "apgd_margin": attacks.APGD(norm="l2", epsilon=0.3, steps=7, loss="margin"),
    "apgd_t": attacks.APGDT(epsilon=0.05, steps=7, restarts=2, targets=3),
    "apgd_t_l2": attacks.APGDT(norm="l2", epsilon=0.3, steps=7, targets=2, order="malt"),
    "fab_t": attacks.FABT(epsilon=0.04, steps=2, restarts=2, targets=3, alpha_max=0.2),
    "fab_t_l2": attacks.FABT(norm="l2", epsilon=0.2, steps=2, restarts=2, targets=3),
    "square": attacks.Square(epsilon=0.06, queries=110),
    "square_l2": attacks.Square(norm="l2", epsilon=0.8, queries=110),
    "fast": attacks.Fast(epsilon=0.03, steps=2),
    "autoattack": attacks.AutoAttack(epsilon=0.03, budget=0.02),
    "feature_scatter": attacks.FeatureScatter(epsilon=0.1, iterations=10),
    "transfer": attacks.Transfer(attack=attacks.LinfPGD(epsilon=0.1, steps=3), source=SOURCE),
    "targeted": attacks.Targeted(attack=attacks.LinfPGD(epsilon=0.1, steps=3), target="random"),
    "8bit_l2": attacks.EightBit(attack=attacks.L2PGD(epsilon=0.5, steps=3)),
    "8bit_fab_t": attacks.EightBit(attack=attacks.FABT(epsilon=0.04, steps=2, targets=3)),
    "8bit_square": attacks.EightBit(attack=attacks.Square(norm="l2", epsilon=0.8, queries=20)),
}
# They draw nothing; or, as FAB here, only for examples that no other start finds either.
SAME_FOR_ANY_SEED = {"fgsm", "mim", "mim_l2", "cw_tanh", "cw_l2", "fab_t", "fab_t_l2", "8bit_fab_t"}
COUPLES_THE_BATCH = {"feature_scatter"}
READS_NO_LABELS = {"feature_scatter", "transfer", "pgd_kl"}  # transfer cannot tell the classes


# In words, where TensorFlow's own loss has not come first.
OUT_OF_RANGE = {
    classes: rf"Expected labels in 0 \.\.\. {classes - 1}|label value of -?\d+ which is outside"
    for classes in (4, 10)
}


@dataclasses.dataclass
class Case:
    name: str
    attack: Any
    call: Any
    found: Any  # of all images with seed 1


@functools.lru_cache
def traced(name):
    call = numbered(ATTACKS[name], NET, SHAPE)
    return Case(name, ATTACKS[name], call, call(IMAGES, LABELS, range(8), 1).numpy())


@pytest.fixture(params=ATTACKS)
def case(request):
    return traced(request.param)


def test_every_attack_is_in_the_table():
    assert {type(attack) for attack in ATTACKS.values()} >= set(attacks.ATTACKS.values())


def test_ball_and_range(case):
    found = case.found
    assert found.dtype == np.float32 and found.shape == IMAGES.shape
    assert found.min() >= 0 and found.max() <= 1  # false for NaN
    if hasattr(case.attack, "epsilon"):
        size = size_of(case.attack.norm, found - IMAGES)
        reach = getattr(case.attack, "reach", case.attack.epsilon)  # of N-FGSM 3 epsilon
        assert size.max() <= reach + 1e-6 and size.max() > 0.3 * reach
    if is_on_grid(case.attack):
        assert off_grid(found) < 1e-3
    # And it is not for nothing.
    assert np.any(np.argmax(NET(found), -1) != np.argmax(NET(IMAGES), -1))
    if isinstance(case.attack, Search):
        np.testing.assert_array_equal(found[WRONG], IMAGES[WRONG])


@pytest.mark.parametrize("part", ATTACKS["autoattack"].components)
def test_autoattack_is_at_least_as_strong_as_each_of_its_parts(part):
    attack = ATTACKS["autoattack"].components[part]
    seed = random.as_seed(1).of_examples(8).fold(random.number(part))
    call = tf.function(lambda x, y: attack(NET, x, y, seed=seed), autograph=False)
    alone = call(IMAGES, LABELS)
    correct_alone, correct = (
        np.argmax(NET(x), -1) == LABELS for x in (alone, traced("autoattack").found)
    )
    assert not np.any(correct & ~correct_alone)


def test_the_seed_decides(case):
    np.testing.assert_array_equal(case.call(IMAGES, LABELS, range(8), 1), case.found)
    other = case.call(IMAGES, LABELS, range(8), 2).numpy()
    assert np.any(other != case.found) != (case.name in SAME_FOR_ANY_SEED)


def test_the_batch_does_not(case):
    if case.name in COUPLES_THE_BATCH:
        pytest.skip("its distance is that of a batch")
    for rows in ([5], [7, 2, WRONG]):  # alone, and among others
        some = case.call(IMAGES[rows], LABELS[rows], rows, 1)
        assert_same(some, case.found[rows])
    none = case.call(IMAGES[:0], LABELS[:0], [], 1)
    assert none.shape == (0, *SHAPE)
    assert case.call.experimental_get_tracing_count() == 1


def without_graph(name):
    """An attack with the least number of everything, a network, two images and their labels."""
    net = FEW_CLASSES if name in ASK_EVERY_CLASS else NET
    images = IMAGES[:2]
    return shortened(ATTACKS[name]), net, images, np.argmax(net(images), -1).astype(np.int32)


@pytest.mark.parametrize("name", ATTACKS)
def test_kinds_of_labels(name):
    attack, net, images, labels = without_graph(name)
    classes = net.output_shape[-1]
    expected = attack(net, images, labels)
    for same in (labels[:, None], labels.tolist(), np.uint8(labels), np.eye(classes)[labels]):
        np.testing.assert_array_equal(attack(net, images, same), expected)
    if name not in READS_NO_LABELS:
        for wrong in (labels + classes, labels - classes):
            with pytest.raises(tf.errors.InvalidArgumentError, match=OUT_OF_RANGE[classes]):
                attack(net, images, wrong)


@pytest.mark.parametrize("name", ATTACKS)
def test_images_that_are_none(name):
    attack, images, labels = shortened(ATTACKS[name]), IMAGES[:2], LABELS[:2]
    for wrong, seen in ((images * 255, "25"), (images * 2 - 1, "-"), (images * np.nan, "nan")):
        message = rf"images in \[0, 1\] \(divide 8-bit images by 255.*values from.*{seen}"
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            attack(NET, wrong, labels)
    for kind in (np.uint8, np.int64):
        with pytest.raises(ValueError, match=rf"received {np.dtype(kind).name}.*/ 255"):
            attack(NET, (255 * images).astype(kind), labels)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_gradient_goes_through(name):
    attack, net, images, labels = without_graph(name)
    with tf.GradientTape(persistent=True) as tape:
        images = tf.constant(images)
        tape.watch(images)
        found = attack(net, images, labels)
        value = tf.reduce_sum(net(found))
    assert tape.gradient(value, images) is None
    assert tape.gradient(found, net.trainable_variables) == [None] * 4
    assert tape.gradient(value, net.trainable_variables)[0] is not None


# Of AutoAttack each part by itself.
@pytest.mark.parametrize(
    "name", [n for n in ATTACKS if hasattr(ATTACKS[n], "epsilon") and n != "autoattack"]
)
def test_epsilon_zero_changes_nothing(name):
    attack, net, images, labels = without_graph(name)
    np.testing.assert_array_equal(attack.replace(epsilon=0)(net, images, labels), images)


@pytest.mark.parametrize("name", [n for n in ATTACKS if isinstance(ATTACKS[n], Search)])
def test_attacks_of_evaluation_cannot_be_unrolled(name):
    with pytest.raises(ValueError, match="cannot be unrolled"):
        ATTACKS[name](NET, IMAGES, LABELS, unroll=True)
