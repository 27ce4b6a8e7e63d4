"""Attacks towards a class: whom they are sent to, and how far that is on affine classifiers."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.attacks.base import is_correct
from rlfat_tf.attacks.ensemble import Ensemble
from rlfat_tf.attacks.targeted import check_has_target, class_number
from rlfat_tf.core import losses, random
from tests.attacks.recording import run

SHAPE = (4, 4, 3)
PIXELS = int(np.prod(SHAPE))
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.48, 0.52, (6, *SHAPE)).astype(np.float32)
# Three classes: on every image 0 is ahead of 1, and 1 of 2. An untargeted attack would go to 1,
# which is nearer; the way to 2 meets no border but that of 0 with 2.
W = RNG.normal(size=(PIXELS, 3)).astype(np.float32)
LEADS = np.array([1.2, 1.6], np.float32)  # of 0 over 1 and over 2, on the grey image
GREY = np.full(PIXELS, 0.5, np.float32)
BIAS = -GREY @ W - np.array([0.0, *LEADS], np.float32)
LABELS, TARGET = np.zeros(6, np.int32), 2
TARGETS = np.full(6, TARGET)


def affine(images):
    return tf.reshape(images, [-1, PIXELS]) @ W + BIAS


def distance(away, to, dual):
    """How far the plane on which two logits are equal is from every image."""
    z, w = affine(IMAGES).numpy(), W[:, to] - W[:, away]
    return (z[:, away] - z[:, to]) / np.linalg.norm(w, dual)


AHEAD = {"linf": distance(0, TARGET, 1), "l2": distance(0, TARGET, 2)}


def targeted(attack, target=TARGET):
    return attacks.Targeted(attack=attack, target=target)


def reached(found):
    return np.argmax(affine(found), -1) == TARGET


def test_the_affine_classifier_is_what_it_is_said_to_be():
    z = affine(IMAGES).numpy()
    assert np.all(z[:, 0] > z[:, 1]) and np.all(z[:, 1] > z[:, 2])
    w = W[:, 2] - W[:, 0]
    for norm, step in (("linf", np.sign(w)), ("l2", w / np.linalg.norm(w))):
        beyond = IMAGES + (1.001 * AHEAD[norm])[:, None, None, None] * step.reshape(SHAPE)
        assert np.all(reached(beyond)) and 0 < beyond.min() and beyond.max() < 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_finds_the_distance_to_the_border_of_its_target(norm):
    fab = attacks.FABT(norm=norm, epsilon=0.4 if norm == "linf" else 2.0, steps=30, eta=1.01)
    delta = (run(targeted(fab), affine, IMAGES, LABELS) - IMAGES).reshape(6, -1)
    size = np.linalg.norm(delta, np.inf if norm == "linf" else 2, axis=-1)
    np.testing.assert_allclose(size, AHEAD[norm], rtol=0.02)
    assert np.all(reached(IMAGES + delta.reshape(IMAGES.shape)))


def test_carlini_and_wagner_find_it_too():
    attack = attacks.CWL2(steps=150, learning_rate=0.02, initial_const=0.1)
    found = run(targeted(attack), affine, IMAGES, LABELS)
    size = np.linalg.norm((found - IMAGES).reshape(6, -1), axis=-1)
    np.testing.assert_allclose(size, AHEAD["l2"], rtol=0.03)
    assert np.all(reached(found))


BOUNDED = {
    "pgd": (attacks.PGD, {"steps": 10, "keep": "best"}),
    "cw": (attacks.PGD, {"steps": 10, "keep": "best", "loss": "margin"}),
    "mim": (attacks.MIM, {"steps": 10}),
    # There is no order of one target: whatever is asked for, it is the one that is given.
    "apgd_t": (attacks.APGDT, {"steps": 10, "targets": 2, "order": "malt"}),
    "square": (attacks.Square, {"queries": 200}),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_reached_is_what_is_within_reach(name):
    """In the maximum norm the best that one can do is known: x + epsilon sign(w_t - w_0)."""
    kind, arguments = BOUNDED[name]
    epsilon = float(np.median(AHEAD["linf"]))
    near, far = AHEAD["linf"] < 0.98 * epsilon, AHEAD["linf"] > epsilon
    found = run(targeted(kind(epsilon=epsilon, **arguments)), affine, IMAGES, LABELS)
    assert near.any() and far.any()
    if name != "square":  # by chance, and to what it comes in so few queries
        assert np.all(reached(found)[near])
    assert not np.any(reached(found)[far])
    lead, before = (
        losses.negative_margin(losses.towards(TARGETS), affine(x)) for x in (found, IMAGES)
    )
    assert np.all(lead > before)
    if name == "cw":  # whose gradient is that of the lead, to the corner and on
        w = W[:, TARGET] - W[:, 0]
        corner = affine(IMAGES + epsilon * np.sign(w).reshape(SHAPE)).numpy()[far]
        expected = corner[:, TARGET] - np.delete(corner, TARGET, 1).max(-1)
        np.testing.assert_allclose(lead.numpy()[far], expected, rtol=1e-3, atol=1e-3)


def test_a_step_of_cross_entropy_raises_the_log_probability_of_the_target():
    found = targeted(attacks.FGSM(epsilon=0.01))(affine, IMAGES, LABELS)
    z = affine(IMAGES).numpy().astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    gradient = (np.eye(3)[TARGETS] - p) @ W.T
    expected = IMAGES + 0.01 * np.sign(gradient).reshape(IMAGES.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_example_of_the_target_is_left_out_and_any_other_label_changes_nothing():
    attack = targeted(attacks.LinfPGD(epsilon=0.3, steps=3))
    labels = np.array([0, 0, TARGET, 1, 1, 0], np.int32)
    found, same = (run(attack, affine, IMAGES, y, seed=3) for y in (labels, LABELS))
    np.testing.assert_array_equal(found[2], IMAGES[2])
    rest = labels != TARGET
    np.testing.assert_array_equal(found[rest], same[rest])
    assert np.all(found[rest] != IMAGES[rest])


@pytest.mark.parametrize(
    "attack", [attacks.FGSM(epsilon=0.3), attacks.LinfPGD(epsilon=0.3, steps=3)]
)
def test_an_example_that_is_predicted_as_its_target_is_left_as_it_is(attack):
    images = IMAGES.copy()
    images[1::2] += 0.4 * np.sign(W[:, TARGET]).reshape(SHAPE).astype(np.float32)
    predicted = np.argmax(affine(images), -1)
    there = predicted == TARGET
    assert 0 < there.sum() < len(there)
    for target, labels in ((TARGET, LABELS), (None, np.full(len(images), TARGET, np.int32))):
        found = run(attacks.Targeted(attack=attack, target=target), affine, images, labels, seed=3)
        np.testing.assert_array_equal(found[there], images[there])
        assert np.all(np.abs(found - images)[~there].max((1, 2, 3)) > 0)


def test_the_targets():
    logits = tf.constant(RNG.normal(size=(400, 5)), tf.float32)
    labels = np.arange(400) % 5
    seed = random.as_seed(7)._replace(examples=tf.range(400))

    def of(target, seed=seed, rows=slice(None)):
        attack = targeted(attacks.MIM(), target)
        return attack.targets(logits[rows], labels[rows], seed).numpy()

    np.testing.assert_array_equal(of("least_likely"), np.argmin(logits, -1))
    np.testing.assert_array_equal(of(3), 3)
    np.testing.assert_array_equal(of(None), labels)
    # As one graph: a draw for every example takes long one by one.
    rule = targeted(attacks.MIM(), "random")
    draw = tf.function(
        lambda y, seed, numbers: rule.targets(logits, y, seed._replace(examples=numbers)),
        reduce_retracing=True,
    )

    def drawn_of(value, rows=slice(None)):
        return draw(
            tf.constant(labels[rows]), random.as_seed(tf.constant([value, 0])), seed.examples[rows]
        ).numpy()

    drawn = drawn_of(7)
    assert not np.any(drawn == labels)
    shares = np.array([np.bincount(drawn[labels == y], minlength=5) for y in range(5)]) / 80
    assert np.all(np.abs(shares - 0.25)[~np.eye(5, dtype=bool)] < 0.17)  # 3.5 deviations
    np.testing.assert_array_equal(drawn_of(7, slice(100, None, 7)), drawn[100::7])
    np.testing.assert_array_equal(of("random", 7, slice(5)), drawn[:5])  # numbered by place
    assert np.any(drawn_of(8) != drawn)
    with pytest.raises(ValueError, match=r"among the classes 0 \.\.\. 4; received 5"):
        of(5)


def test_a_class_is_reached_where_it_is_predicted():
    logits = tf.constant([[1.0, 2.0], [2.0, 1.0], [np.nan, 2.0]])
    np.testing.assert_array_equal(
        is_correct(logits, losses.towards([1, 1, 1])), [False, True, True]
    )
    np.testing.assert_array_equal(is_correct(logits, [1, 1, 1]), [True, False, False])


@pytest.mark.parametrize(
    "attack, why",
    [
        (attacks.AutoAttack(), "AutoAttack cannot be targeted: it is not made for that"),
        (attacks.FeatureScatter(), "FeatureScatter cannot"),
        (attacks.PGD(loss="kl"), "its loss 'kl' reads no class"),
    ],
)
def test_what_cannot_be_targeted(attack, why):
    with pytest.raises(ValueError, match=f"{why}.*Attacks that can are APGD, APGDT, .*Square"):
        targeted(attack)
    with pytest.raises(ValueError, match=why):
        targeted(attacks.EightBit(attack=attack))


def test_what_is_a_target():
    names = ("cat", "dog", "7")
    assert [class_number(t, names) for t in ("dog", "1", 2, "random", None)] == [
        1,
        1,
        2,
        "random",
        None,
    ]
    with pytest.raises(ValueError, match="Unknown target 'dgo'. Did you mean 'dog'"):
        class_number("dgo", names)
    for wrong in (-1, 1.5, "dog", True):
        with pytest.raises(ValueError, match="number of a class, from 0, or one of least_likely"):
            targeted(attacks.MIM(), wrong)


def test_it_is_bounded_as_its_attack():
    attack = targeted(attacks.MIM(epsilon=0.1, eot=3))
    assert (attack.norm, attack.epsilon, attack.eot, attack.components) == ("linf", 0.1, 3, None)
    assert attack.replace(epsilon=0.2, target=1) == targeted(attacks.MIM(epsilon=0.2, eot=3), 1)
    assert not hasattr(targeted(attacks.CWL2()), "epsilon")


class Each(Ensemble):
    """An attack of a user's own towards every other class."""

    goals = (1, TARGET)

    @property
    def components(self):
        pgd = attacks.LinfPGD(epsilon=self.epsilon, steps=5)
        return {str(goal): targeted(pgd, goal) for goal in self.goals}


def test_parts_towards_classes_within_another_attack():
    epsilon = float(1.2 * distance(0, 1, 1).max())
    around = attacks.EightBit(attack=Each(epsilon=epsilon))
    assert [type(part) for part in around.components.values()] == [attacks.Targeted] * 2
    assert [type(part.attack) for part in around.components.values()] == [attacks.EightBit] * 2
    check_has_target(around)
    found = run(Each(epsilon=epsilon), affine, IMAGES, LABELS)
    assert np.all(np.argmax(affine(found), -1) != 0)


def test_a_part_that_goes_to_the_true_class():
    class Missing(Each):
        goals = (None,)

    for attack in (Missing(epsilon=0.1), attacks.EightBit(attack=Missing(epsilon=0.1))):
        with pytest.raises(ValueError, match="goes towards the labels.*Give it a target"):
            check_has_target(attack)
