"""Plans agree with published figures, with the intervals they promise, and with simulation."""

import numpy as np
import pytest
from scipy import stats

from rlfat_tf.evaluation import paired, student
from rlfat_tf.evaluation.intervals import wilson
from rlfat_tf.evaluation.sample_size import examples_for_difference, examples_for_interval


def half_width(accuracy, examples):
    low, high = wilson(accuracy * examples, examples)
    return (high - low) / 2


def test_half_widths_in_points():
    """At 50, 25 and 5 %, by the number of examples, as printed in the guide."""
    printed = {100: (9.6, 8.4, 4.5), 250: (6.2, 5.3, 2.7), 500: (4.4, 3.8, 1.9),
               1000: (3.1, 2.7, 1.4), 2000: (2.2, 1.9, 1.0), 5000: (1.4, 1.2, 0.6)}  # fmt: skip
    for examples, points in printed.items():
        counts = [round(accuracy * examples) for accuracy in (0.5, 0.25, 0.05)]
        found = [100 * half_width(count / examples, examples) for count in counts]
        np.testing.assert_allclose(found, points, atol=0.051)


@pytest.mark.parametrize("accuracy", [0.5, 0.25, 0.05, 0.0, 1.0])
@pytest.mark.parametrize("wanted", [0.01, 0.02, 0.05, 0.2])
def test_examples_for_an_interval_are_the_fewest(accuracy, wanted):
    examples = examples_for_interval(wanted, accuracy)
    assert half_width(accuracy, examples) <= wanted + 1e-12
    assert examples == 1 or half_width(accuracy, examples - 1) > wanted - 1e-12


@pytest.mark.parametrize(("points", "normal"), [(1, 9604), (2, 2401), (3, 1068), (5, 385)])
def test_examples_for_an_interval_are_about_those_of_the_normal_one(points, normal):
    """z^2 p (1 - p) / h^2; Wilson's needs z^2 fewer at 50 %."""
    assert examples_for_interval(points / 100) == pytest.approx(normal - 3.84, abs=1)


@pytest.mark.parametrize(
    ("disagreement", "difference", "examples"),
    [(0.1, 0.01, 7847), (0.1, 0.02, 1960), (0.05, 0.01, 3923), (0.05, 0.02, 979)],
)
def test_examples_for_a_difference(disagreement, difference, examples):
    assert abs(examples_for_difference(difference, disagreement) - examples) <= 1
    assert examples_for_difference(-difference, disagreement) == examples_for_difference(
        difference, disagreement
    )


def test_so_many_examples_find_the_difference_as_often_as_promised():
    random, found = np.random.RandomState(0), 0
    examples = examples_for_difference(0.03, 0.08, power=0.8)
    counts = random.multinomial(examples, [0.055, 0.025, 0.92], size=1000)
    found = np.mean([paired.mcnemar(int(b), int(c)) < 0.05 for b, c, _ in counts])
    assert 0.75 < found < 0.85


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="half_width"):
        examples_for_interval(0.0)
    with pytest.raises(ValueError, match="difference"):
        examples_for_difference(0.02, 0.01)
    with pytest.raises(ValueError, match="power"):
        examples_for_difference(0.01, 0.1, power=1.0)


@pytest.mark.parametrize("freedom", [1, 2.5, 7, 400, 1e6, np.inf])
def test_student(freedom):
    law = stats.norm if np.isinf(freedom) else stats.t(freedom)
    for value in (0.0, 0.3, -2.0, 9.0):
        assert student.two_sided(value, freedom) == pytest.approx(2 * law.sf(abs(value)), rel=1e-7)
    assert student.two_sided(np.inf, freedom) == 0
    for outside in (0.5, 0.05, 0.001):
        expected = law.ppf(1 - outside / 2)
        assert student.quantile(freedom, outside) == pytest.approx(expected, rel=1e-7)
