"""Entropic optimal transport against NumPy, POT and closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import transport

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4))


def numpy_cost(a, b):
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return np.maximum(0, 1 - a @ b.T)


def numpy_plan(cost, regularization, iterations):
    """Sinkhorn's scaling of the Gibbs kernel, not on logarithms."""
    kernel = np.exp(-cost / regularization)
    u, v = np.ones(len(cost)), np.ones(cost.shape[1])
    for _ in range(iterations):
        u = 1 / len(cost) / (kernel @ v)
        v = 1 / cost.shape[1] / (kernel.T @ u)
    return u[:, None] * kernel * v


def test_cosine_cost():
    np.testing.assert_allclose(transport.cosine_cost(A, B), numpy_cost(A, B), atol=1e-12)
    np.testing.assert_allclose(np.diag(transport.cosine_cost(A, 3 * A)), 0, atol=1e-12)


@pytest.mark.parametrize("regularization, iterations", [(0.3, 1), (0.3, 7), (0.1, 50)])
def test_plan_after_so_many_iterations(regularization, iterations):
    cost = numpy_cost(A, B[:5])
    found = transport.sinkhorn(
        cost, regularization=regularization, iterations=iterations, tolerance=0.0
    )
    np.testing.assert_allclose(found, numpy_plan(cost, regularization, iterations), rtol=1e-8)


def test_marginals_are_uniform():
    plan = transport.sinkhorn(numpy_cost(A, B), iterations=500, tolerance=0.0).numpy()
    np.testing.assert_allclose(plan.sum(0), 1 / 6, rtol=1e-6)
    np.testing.assert_allclose(plan.sum(1), 1 / 6, rtol=1e-2)
    assert plan.min() >= 0


def test_plan_is_that_of_pot():
    ot = pytest.importorskip("ot", reason="POT is not installed")
    cost = numpy_cost(A, B)
    expected = ot.sinkhorn(np.full(6, 1 / 6), np.full(6, 1 / 6), cost, 0.05, numItermax=5000)
    # As a graph: so many iterations take half a minute one by one.
    settings = {"regularization": 0.05, "iterations": 5000, "tolerance": 0.0}
    found = tf.function(lambda cost: transport.sinkhorn(cost, **settings))(tf.constant(cost))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_small_regularisation_survives_in_float32():
    cost = tf.constant(numpy_cost(A, B), tf.float32)
    plan = transport.sinkhorn(cost, regularization=0.01).numpy()
    assert np.isfinite(plan).all() and plan.sum() == pytest.approx(1, abs=0.05)


def test_iterations_stop_when_nothing_changes():
    """Equal costs are solved by the first iteration: more change nothing."""
    cost = np.full((4, 4), 0.5)
    found = [transport.sinkhorn(cost, iterations=n) for n in (2, 100)]
    np.testing.assert_allclose(found[0], np.full((4, 4), 1 / 16))
    np.testing.assert_array_equal(*found)


def test_the_plan_of_no_examples_is_empty():
    """As on a replica that gets none of the last batch."""
    assert transport.sinkhorn(np.zeros((0, 0), np.float32)).shape == (0, 0)
    nothing = tf.zeros([0, 4])
    with tf.GradientTape() as tape:
        tape.watch(nothing)
        distance = transport.transport_distance(nothing, nothing)
    assert float(distance) == 0 and tape.gradient(distance, nothing).shape == (0, 4)


def test_the_gradient_goes_through_plan_and_cost():
    b = tf.constant(B)
    settings = {"regularization": 0.2, "iterations": 5, "tolerance": 0.0}
    with tf.GradientTape() as tape:
        tape.watch(b)
        distance = transport.transport_distance(A, b, **settings)
    gradient = tape.gradient(distance, b).numpy()

    def value(points):
        cost = numpy_cost(A, points)
        return (numpy_plan(cost, 0.2, 5) * cost).sum()

    assert float(distance) == pytest.approx(value(B))
    for index in ((0, 0), (3, 2), (5, 3)):
        moved = np.zeros_like(B)
        moved[index] = 1e-6
        expected = (value(B + moved) - value(B - moved)) / 2e-6
        assert gradient[index] == pytest.approx(expected, rel=1e-4, abs=1e-8)
