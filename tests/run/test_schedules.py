"""Learning rates by step, against the formulas of the papers' code in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core.compat import keras
from rlfat_tf.run import schedules
from rlfat_tf.run.config import TrainConfig


def rates(text, steps, *, rate=0.1, steps_per_epoch=10, total=100):
    schedule = schedules.parse(text).build(rate, steps_per_epoch, total)
    return np.array([float(schedule(tf.constant(step, tf.int64))) for step in steps])


def cosine(first, last, part):
    return last + (first - last) * (1 + math.cos(math.pi * part)) / 2


def test_one_cycle_by_epoch_has_the_published_rates():
    """FAST: rate 0.1, 100 epochs, 30 % up: 0.004, ..., 0.1 in epoch 29, 4e-7 in epoch 99."""
    epochs = [0, 29, 28, 30, 99]
    found = rates("onecycle:0.3,by=epoch", [10 * e for e in epochs], total=1000)
    down = cosine(0.1, 4e-7, 1 / 70)
    np.testing.assert_allclose(
        found, [0.004, 0.1, cosine(0.004, 0.1, 28 / 29), down, 4e-7], rtol=1e-5
    )
    within = rates("onecycle:0.3,by=epoch", range(280, 290), total=1000)
    np.testing.assert_array_equal(within, within[0])


def test_one_cycle_by_step():
    found = rates("onecycle:0.25", [0, 23, 24, 25, 99, 200], rate=0.4)
    expected = [
        0.016, cosine(0.016, 0.4, 23 / 24), 0.4, cosine(0.4, 1.6e-6, 1 / 75), 1.6e-6, 1.6e-6,
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_cosine_with_and_without_warm_up():
    np.testing.assert_allclose(
        rates("cosine", [0, 25, 50, 100]),
        [0.1, cosine(0.1, 0, 0.25), 0.05, 0.0],
        rtol=1e-5,
        atol=1e-9,
    )
    np.testing.assert_allclose(
        rates("cosine:warmup=2", [0, 1, 19, 20, 21, 60, 100]),
        [0.0, 0.005, 0.095, 0.1, cosine(0.1, 0, 1 / 80), 0.05, 0.0],
        rtol=1e-5,
        atol=1e-9,
    )


def test_cyclic_is_a_triangle():
    np.testing.assert_allclose(
        rates("cyclic:0.4", [0, 20, 39, 40, 41, 70, 100, 110], rate=0.2),
        [0, 0.1, 0.195, 0.2, 0.2 * 59 / 60, 0.1, 0, 0],
        rtol=1e-5,
        atol=1e-8,
    )


def test_steps_fall_with_the_first_step_of_an_epoch():
    # Keras's boundaries are inclusive: the step before the epoch, its first one, the one after.
    np.testing.assert_allclose(rates("step:3,5", [29, 30, 49, 50]), [0.1, 0.01, 0.01, 0.001])


@pytest.mark.parametrize("text", ["cosine:warmup=1", "onecycle:0.3,by=epoch", "cyclic:0.5"])
def test_schedules_are_saved_with_their_optimizer(text):
    optimizer = keras.optimizers.SGD(schedules.parse(text).build(0.1, 10, 100))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert float(again.learning_rate) == float(optimizer.learning_rate)


@pytest.mark.parametrize(
    "text",
    [
        "linear", "cosine:3", "cosine:warmup=0", "cosine:warmup=nan", "onecycle", "onecycle:1",
        "onecycle:0.3,by=step", "cyclic", "cyclic:-1", "constant:1", "step:", "step:nan", "cyclic:",
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ValueError, match="lr_schedule"):
        TrainConfig(lr_schedule=text)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="shorter than the run of 100 steps.* 200 steps"):
        schedules.parse("cosine:warmup=20").build(0.1, 10, 100)


@pytest.mark.parametrize(
    "text, bound",
    [("constant", False), ("step:3", False), ("cosine", True), ("onecycle:0.3", True)],
)
def test_the_length_belongs_to_the_identity_of_schedules_that_depend_on_it(text, bound):
    assert ("epochs" in TrainConfig(lr_schedule=text).identity) == bound
    assert schedules.parse(text).depends_on_the_end == bound


def test_sgd_with_nesterov_against_numpy():
    """Three steps at a changing rate; the old rate stays inside of Keras's velocity."""
    schedule = schedules.parse("cyclic:0.5").build(0.1, 10, 8)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)
    variable = tf.Variable([1.0, -2.0])
    value, velocity = np.array([1.0, -2.0]), np.zeros(2)
    for step in range(3):
        gradient = 2 * value
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        rate = 0.1 * step / 4
        velocity = 0.9 * velocity - rate * gradient
        value = value + 0.9 * velocity - rate * gradient
    np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5)
