"""Adversarial images of 8-bit pixels: the rounding against NumPy, and what attacks make of it."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.attacks.base import Attack
from rlfat_tf.attacks.pixels import (
    EightBit,
    farthest_inside,
    nearest,
    off_grid,
    radius_on_grid,
    rounded_inside,
)
from rlfat_tf.evaluation.classifier import Classifier
from tests.attacks.contract import shortened, size_of
from tests.attacks.recording import IMAGES as BETWEEN_LEVELS
from tests.attacks.recording import NETS, run

NET = NETS[10]
IMAGES = (np.round(255 * BETWEEN_LEVELS) / 255).astype(np.float32)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
SMALL = np.random.default_rng(0)
ORIGIN = SMALL.integers(0, 256, (5, 2, 2, 3))
CLEAN = (ORIGIN / 255).astype(np.float32)


def levels(images):
    exact = 255 * np.asarray(images, np.float64)
    assert np.abs(exact - np.round(exact)).max() < 1e-4
    return np.round(exact)


def points_at(delta):
    """Points so many levels away from ORIGIN, and how far they are."""
    points = np.clip((ORIGIN + delta) / 255, 0, 1).astype(np.float32)
    return points, 255 * points.astype(np.float64) - ORIGIN


@pytest.mark.parametrize("epsilon, most", [(8 / 255, 8), (0.03, 7), (0.5 / 255, 0), (1.0, 255)])
def test_rounding_in_the_maximum_norm(epsilon, most):
    points, delta = points_at(SMALL.uniform(-1, 1, ORIGIN.shape) * 255 * epsilon)
    found = levels(rounded_inside(CLEAN, points, "linf", epsilon)) - ORIGIN
    np.testing.assert_array_equal(found, np.clip(np.rint(delta), -most, most))
    assert radius_on_grid("linf", epsilon, 12) == most / 255


def scaled(delta, radius):
    """By trying every scale at which a value changes its level."""
    steps = np.arange(int(radius) + 1) + 0.5
    scales = np.sort(np.append(0, (steps / np.abs(delta).reshape(-1, 1)).ravel()))
    fits = [s for s in scales if np.sum(np.rint((s * (1 + 1e-12)) * delta) ** 2) <= radius**2]
    return np.rint(max(fits) * (1 + 1e-12) * delta)


@pytest.mark.parametrize("radius", [1.5, 3.0, 7.5, 30.0])
def test_rounding_in_the_euclidean_norm(radius):
    middle = np.full(ORIGIN.shape, 128)
    delta = SMALL.normal(size=ORIGIN.shape)
    delta *= radius / np.sqrt((delta**2).sum((1, 2, 3), keepdims=True)) * (1 - 1e-6)
    clean, points = ((middle + d).astype(np.float32) / np.float32(255) for d in (0, delta))
    farthest = levels(farthest_inside(clean, points, radius / 255)) - 128
    found = levels(rounded_inside(clean, points, "l2", radius / 255)) - 128
    for one, full, exact in zip(found, farthest, delta):
        np.testing.assert_array_equal(full, scaled(exact, radius))
        inside = np.sum(np.rint(exact) ** 2) <= radius**2
        np.testing.assert_array_equal(one, np.rint(exact) if inside else full)
    nearest_ones = np.rint(delta)
    assert np.any(farthest != nearest_ones) and np.any(found == nearest_ones)


def test_no_point_of_the_grid_has_a_greater_product_with_the_direction():
    direction = np.array([0.9, -0.5, 0.31, 0.12])
    clean = np.full((1, 1, 1, 4), 128 / 255, np.float32)
    points = clean + np.float32(direction / 255).reshape(clean.shape)
    grid = np.array(list(itertools.product(range(-3, 4), repeat=4)))
    for radius in (1.0, 1.5, 2.0, 2.5, 3.0):
        inside = grid[np.sum(grid**2, 1) <= radius**2]
        found = levels(farthest_inside(clean, points, radius / 255)).ravel() - 128
        left = radius**2 - np.sum(found**2)
        # What it leaves of the square is less than its next step would take.
        better = inside[inside @ direction > found @ direction + 1e-9]
        assert left >= 0 and np.all(np.sum(better**2, 1) > np.sum(found**2))


def test_of_values_of_one_size_as_many_move_as_there_is_room_for():
    clean = np.full((2, 2, 2, 3), 128 / 255, np.float32)
    clean[1, 0, 0] = 1.0  # where nothing can move up
    points = np.minimum(clean + np.float32(0.4 / 255), 1)
    found = levels(farthest_inside(clean, points, np.sqrt(5) / 255)) - np.round(255 * clean)
    assert np.sum(found == 1, (1, 2, 3)).tolist() == [5, 5] and np.all(found >= 0)
    assert np.all(found[1, 0, 0] == 0)
    unmoved = farthest_inside(clean, clean, 0.5)
    np.testing.assert_array_equal(unmoved, clean)


def test_where_the_attack_failed_it_goes_on_to_the_border():
    """Of 48 values with one gradient 9 may move by a level; 0.43 of a level rounds to none."""
    weight = np.float32(np.random.default_rng(3).choice([-1.0, 1.0], 48))
    images = np.full([2, 4, 4, 3], 128 / 255, np.float32)

    def affine(x):
        lead = tf.linalg.matvec(tf.reshape(x, [-1, 48]) - 128 / 255, weight)
        return tf.stack([tf.zeros_like(lead), lead - tf.constant([8.5, 10]) / 255], -1)

    attack = EightBit(attack=attacks.L2PGD(epsilon=3 / 255, steps=3, random_start="none"))
    found = run(attack, affine, images, np.zeros(2, np.int32))
    moved = (levels(found) - 128).reshape(2, 48)
    np.testing.assert_array_equal(np.sum(np.abs(moved), 1), 9)
    np.testing.assert_array_equal(moved @ weight, 9)


def test_the_smaller_ball_has_room_for_its_rounded_points():
    """Of random directions, with 3,072 values and a radius of 0.5, 97.7 % and more."""
    radius = radius_on_grid("l2", 0.5, 3072)
    delta = np.random.default_rng(1).normal(size=(400, 3072))
    delta *= 255 * radius / np.linalg.norm(delta, axis=-1, keepdims=True)
    inside = np.linalg.norm(np.rint(delta), axis=-1) <= 255 * 0.5
    assert 0.95 < inside.mean() < 1 and 0.98 * 0.5 < radius < 0.99 * 0.5
    for small in (0.0, 1e-4, 0.01, 0.05):
        assert np.sqrt(0.5) * small <= radius_on_grid("l2", small, 3072) <= small


def test_pixels_that_do_not_move_stay_exactly_as_they_are():
    images = np.float32(ORIGIN) * np.float32(1 / 255)  # a rounding error away from n / 255
    assert np.any(images != np.float32(ORIGIN) / np.float32(255))
    np.testing.assert_array_equal(rounded_inside(images, images + 0.001, None, 0.0), images)


def test_images_between_the_levels_are_refused():
    attack = EightBit(attack=attacks.FGSM(epsilon=0.1))
    assert off_grid(IMAGES) < 1e-4 < 0.1 < off_grid(BETWEEN_LEVELS)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"8-bit pixels, n / 255.*off by.*0\.4"
    ):
        attack(NET, BETWEEN_LEVELS, LABELS)


SUITE = {
    "fgsm": attacks.FGSM(epsilon=0.05),
    "pgd": attacks.LinfPGD(epsilon=0.05, steps=2, keep="best"),
    "pgd_l2": attacks.L2PGD(epsilon=0.4, steps=2, restarts=2, keep="best"),
    "mim": attacks.MIM(epsilon=0.05),
    "mim_l2": attacks.MIM(norm="l2", epsilon=0.4),
    "cw_tanh": attacks.CWTanh(epsilon=0.05),
    "cw_l2": attacks.CWL2(),
    "nattack": attacks.NAttack(epsilon=0.05),
    "spsa": attacks.SPSA(epsilon=0.05),
    "autoattack": attacks.AutoAttack(epsilon=0.05),
    "autoattack_l2": attacks.AutoAttack(norm="l2", epsilon=0.4),
}


@pytest.mark.parametrize("name", SUITE)
def test_every_attack_stays_on_the_grid_and_in_its_ball(name):
    attack = EightBit(attack=shortened(SUITE[name]))
    found = attack(NET, IMAGES[:2], LABELS[:2], seed=1)
    levels(found)
    delta = found.numpy() - IMAGES[:2]
    if hasattr(attack, "epsilon"):
        assert np.all(size_of(attack.norm, delta) <= attack.epsilon * (1 + 1e-5))


def test_an_attack_of_ones_own_without_a_norm_is_one_of_the_maximum_norm():
    class Upwards(Attack):
        epsilon: float = 0.1

        def run(self, logits_fn, images, labels, seed, unroll):
            return tf.clip_by_value(images + self.epsilon, 0.0, 1.0)

    assert EightBit(attack=Upwards()).norm == "linf"
    found = EightBit(attack=Upwards())(NET, IMAGES, LABELS).numpy()
    expected = np.minimum(np.round(255 * IMAGES) + np.floor(25.5), 255) / 255
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_images_of_any_size():
    """In a graph that is made before their height and width are known."""

    def bright(x):
        means = tf.reduce_mean(x, [1, 2])
        return tf.stack([means[:, 0], means[:, 1]], -1)

    def made(attack):
        signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None], tf.int32)]
        return tf.function(lambda x, y: attack(bright, x, y), input_signature=signature)

    attack = EightBit(attack=attacks.FGSM(epsilon=8.5 / 255))
    labels = np.zeros(5, np.int32)
    for images in (CLEAN, CLEAN[:, :1]):
        found = made(attack)(images, labels)
        np.testing.assert_allclose(found, attack(bright, images, labels), atol=1e-6)
        assert np.abs(levels(found) - levels(images)).max() == 8
    with pytest.raises(ValueError, match="Expected images of a known size for EightBit"):
        made(EightBit(attack=attacks.L2PGD(epsilon=0.5))).get_concrete_function()


def test_transfer_looks_at_its_source_through_the_rounding():
    source = Classifier(NET, "source")
    inside = attacks.Transfer(attack=EightBit(attack=attacks.FGSM(epsilon=0.03)), source=source)
    found = inside(NETS[3], IMAGES, LABELS)
    assert np.abs(levels(found) - levels(IMAGES)).max() == 7
    with pytest.raises(ValueError, match="EightBit inside of Transfer"):
        EightBit(attack=inside)


def test_fab_finds_points_that_survive_rounding():
    """A border 2.4 levels away in every value: FAB stops there, and rounding would go back."""
    rng = np.random.default_rng(2)
    signs = rng.choice([-1.0, 1.0], 48).astype(np.float32)
    images = np.full([3, 4, 4, 3], 127 / 255, np.float32)
    offset = np.float32(np.sum(signs) * 127 / 255 + 48 * 2.4 / 255)

    def affine(x):
        lead = tf.linalg.matvec(tf.reshape(x, [-1, 48]), signs) - offset
        return tf.stack([tf.zeros_like(lead), lead], -1)

    fab = attacks.FABT(epsilon=4 / 255, steps=10, eta=1.01)
    labels = np.zeros(3, np.int32)
    plain = run(fab, affine, images, labels)
    assert np.all(affine(plain)[:, 1] > 0) and np.all(affine(nearest(plain))[:, 1] < 0)
    found = run(EightBit(attack=fab), affine, images, labels)
    assert np.all(affine(found)[:, 1] > 0)
    moved = levels(found) - 127
    assert np.abs(moved).max() <= 4 and np.all(
        np.sum(moved * signs.reshape(4, 4, 3), (1, 2, 3)) > 48 * 2.4
    )


def test_its_parts_are_those_of_its_attack():
    whole = EightBit(attack=attacks.AutoAttack(epsilon=0.03, budget=0.1))
    assert list(whole.components) == ["apgd_ce", "apgd_t", "fab_t", "square"]
    for name, part in whole.components.items():
        assert part == EightBit(attack=whole.attack.components[name])
