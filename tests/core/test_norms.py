"""The balls: starts inside, unit steps, projections that are nearest points."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import norms

IMAGES = tf.zeros([400, 3, 2, 1])


def lengths(x):
    return np.sqrt(np.square(np.asarray(x)).sum(axis=(1, 2, 3)))


def test_linf_start_is_uniform_in_the_ball():
    start = norms.get("linf").random_start(IMAGES, 0.1, "uniform", 0).numpy()
    assert np.abs(start).max() <= 0.1
    assert abs(start.mean()) < 0.005
    assert abs(start.std() - 0.1 / np.sqrt(3)) < 0.003


def test_l2_start_is_uniform_in_the_volume():
    start = norms.get("l2").random_start(IMAGES, 2.0, "uniform", 0)
    radius = lengths(start) / 2.0
    assert radius.max() <= 1 + 1e-6
    # In dimension d the radius to the power d is uniform.
    assert abs((radius**6).mean() - 0.5) < 0.05
    assert abs((radius**6).std() - 1 / np.sqrt(12)) < 0.03
    assert np.all(np.abs(start.numpy().mean(0)) < 0.15)


def test_the_radial_start_has_a_uniform_length_and_direction():
    start = norms.get("l2").random_start(IMAGES, 2.0, "radial", 0)
    radius = lengths(start) / 2.0
    assert radius.min() >= 0 and radius.max() <= 1 + 1e-6
    assert abs(radius.mean() - 0.5) < 0.03  # the mean length is epsilon / 2
    assert abs(radius.std() - 1 / np.sqrt(12)) < 0.02
    assert np.all(np.abs(start.numpy().mean(0)) < 0.15)
    with pytest.raises(ValueError, match="Unknown random start 'radial'.*uniform"):
        norms.get("linf").random_start(IMAGES, 0.1, "radial", 0)


@pytest.mark.parametrize("name", norms.NORMS)
def test_common_starts(name):
    norm = norms.get(name)
    gaussian = norm.random_start(IMAGES, 0.1, "gaussian", 0).numpy()
    assert abs(gaussian.std() - 1e-3) < 1e-4 and abs(gaussian.mean()) < 1e-4
    assert np.all(norm.random_start(IMAGES, 0.1, "none", 0) == 0)
    assert np.all(norm.random_start(IMAGES, 0.0, "uniform", 0) == 0)
    with pytest.raises(ValueError, match="Did you mean 'gaussian'"):
        norm.random_start(IMAGES, 0.1, "gausian", 0)


@pytest.mark.parametrize("name", norms.NORMS)
@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_starts_depend_on_the_seed_and_the_position(name, kind):
    norm = norms.get(name)
    start = norm.random_start(IMAGES, 0.1, kind, 3).numpy()
    np.testing.assert_array_equal(start, norm.random_start(IMAGES, 0.1, kind, 3))
    assert np.all(start != norm.random_start(IMAGES, 0.1, kind, 4))
    assert np.all(start[0] != start[1])


def test_linf_step_and_projection():
    norm = norms.get("linf")
    gradient = np.array([[-1e-12, 0.0, 3.0]], np.float32)
    np.testing.assert_array_equal(norm.step(gradient), [[-1, 0, 1]])
    np.testing.assert_allclose(
        norm.project(np.float32([[-3, 0.05, 0.2]]), 0.1), [[-0.1, 0.05, 0.1]]
    )


def test_l2_step_and_projection():
    norm = norms.get("l2")
    delta = tf.constant(np.random.default_rng(0).normal(size=(5, 3, 2, 1)).astype(np.float32))
    expected = delta.numpy() / lengths(delta)[:, None, None, None]
    np.testing.assert_allclose(norm.step(delta), expected, rtol=1e-6)
    np.testing.assert_allclose(norm.project(delta, 0.5), 0.5 * expected, rtol=1e-6)
    inside = 0.01 * delta
    np.testing.assert_allclose(norm.project(inside, 0.5), inside, rtol=1e-6)
    zero = tf.zeros_like(delta)
    for result in (norm.step(zero), norm.project(zero, 0.5), norm.project(delta, 0.0)):
        assert np.all(result.numpy() == 0)


def test_an_unknown_norm_names_the_known():
    with pytest.raises(ValueError, match=r"Unknown norm 'linff'. Did you mean 'linf'"):
        norms.get("linff")


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 2e-38, 1e-30, 1e-20, 1.0, 1e20, 1e30])
@pytest.mark.parametrize("compiled", [False, True])
def test_lengths_and_unit_steps_of_any_scale(scale, compiled):
    """Against float64. TensorFlow takes what is below 1.2e-38 for 0, which stays 0."""
    values = np.array([[3.0, -4.0, 0.0, 12.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    given = (scale * values).astype(np.float32)
    functions = [norms.length, norms.normalise, norms.get("l2").step]
    if compiled:
        functions = [tf.function(f, jit_compile=True) for f in functions]
    length, *units = (f(tf.constant(given)).numpy() for f in functions)
    seen = np.where(np.abs(given) < np.finfo(np.float32).tiny, 0.0, given).astype(np.float64)
    expected = np.linalg.norm(seen, axis=-1)
    np.testing.assert_allclose(length, expected, rtol=1e-6)
    for unit in units:
        wanted = seen / np.where(expected == 0, 1, expected)[:, None]
        np.testing.assert_allclose(unit, wanted, rtol=1e-6, atol=1e-7)


def test_the_derivatives_of_lengths_are_finite():
    x = tf.constant([[3e-25, 4e-25], [0.0, 0.0], [0.0, 5.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        length, first = norms.length(x), norms.normalise(x)[:, 0]
    np.testing.assert_allclose(tape.gradient(length, x), [[0.6, 0.8], [0, 0], [0, 1]], rtol=1e-6)
    slope = tape.gradient(first, x).numpy()
    np.testing.assert_allclose(slope[0] * 5e-25, [0.64, -0.48], rtol=1e-5)
    np.testing.assert_allclose(slope[2], [0.2, 0.0], rtol=1e-5)
    assert np.all(np.isfinite(slope))


def test_sizes_of_every_norm():
    delta = np.array([[[3.0, -4.0]], [[0.0, 0.0]], [[-0.5, 0.0]]], np.float32)
    expected = {"linf": [4, 0, 0.5], "l2": [5, 0, 0.5], "l1": [7, 0, 0.5], "l0": [2, 0, 1]}
    assert set(norms.SIZES) == set(expected)
    for name, sizes in expected.items():
        np.testing.assert_allclose(norms.size(name)(tf.constant(delta)), sizes)
    with pytest.raises(ValueError, match="Unknown norm 'l3'. Did you mean"):
        norms.size("l3")
