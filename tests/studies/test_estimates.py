"""Intervals over examples and seeds agree with what is known of their corners, and cover."""

import numpy as np
import pytest
from scipy import stats

from rlfat_tf.evaluation.intervals import wilson
from studies import bits, estimates


def t_interval(values):
    """The textbook's, of independent values."""
    reach = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return np.mean(values) - reach, np.mean(values) + reach


def test_one_seed_is_the_interval_over_examples():
    one, other = np.random.RandomState(0).randint(0, 2, (2, 1, 30))
    found = estimates.of_difference(one, other)
    np.testing.assert_allclose(found[1:], t_interval((one - other)[0]), rtol=1e-12)
    assert found.mean == pytest.approx((one - other).mean())


@pytest.mark.parametrize("axis", [0, 1])
def test_where_only_one_of_the_two_varies_it_alone_counts(axis):
    """Seeds that agree on every example count once; so do examples that only follow the seed."""
    line = np.random.RandomState(1).uniform(-0.3, 0.3, 4 if axis else 50)
    values = np.repeat(line[:, None], 50, 1) if axis else np.repeat(line[None], 4, 0)
    found = estimates.of_difference(values, np.zeros_like(values))
    np.testing.assert_allclose(found[1:], t_interval(line), rtol=1e-9)


def test_the_variance_is_that_of_the_mean_squares():
    values = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    # Means of seeds 2/3, 1/3, of examples 1/2, 0, 1, of all 1/2; residuals are +-1/6, -+1/3, ...
    of_examples, of_seeds = 2 * 0.5 / 2, 3 * (2 / 36) / 1
    rest = (values - [0.5, 0.0, 1.0]) - np.array([[1 / 6], [-1 / 6]])
    of_rest = np.sum(rest**2) / 2
    assert of_rest == pytest.approx(1 / 12 + 1 / 12)
    found, freedom = estimates.variance(values)
    assert found == pytest.approx((of_examples + of_seeds - of_rest) / 6)
    # 1/2 + 1/6 - 1/6 is not more than the examples' 1/2 alone.
    assert freedom == 2


def test_intervals_cover_the_mean_of_all_seeds_and_examples():
    random, covered = np.random.RandomState(2), 0
    for _ in range(300):
        seeds, examples = random.normal(0, 0.05, (3, 1)), random.normal(0, 0.3, (1, 40))
        values = 0.1 + seeds + examples + random.normal(0, 0.3, (3, 40))
        _, low, high = estimates.of_difference(values, np.zeros_like(values))
        covered += low <= 0.1 <= high
    assert covered >= 0.93 * 300


def test_accuracies():
    correct = np.random.RandomState(3).uniform(size=(1, 200)) < 0.3
    assert estimates.of_accuracy(correct)[1:] == wilson(int(correct.sum()), 200)
    # Seeds that agree are worth no more than one of them, but for t in place of z.
    low, high = estimates.of_accuracy(np.repeat(correct, 3, 0))[1:]
    np.testing.assert_allclose((low, high), wilson(int(correct.sum()), 200), atol=5e-3)
    none = estimates.of_accuracy(np.zeros((3, 300), bool))
    assert none.mean == none.low == 0 and 0.01 < none.high < 0.03
    # Seeds of which one learned nothing: three values of 60, 60 and 0 % say next to nothing.
    apart = estimates.of_accuracy(np.repeat([[True] * 60 + [False] * 40], 3, 0) & [[1], [1], [0]])
    assert apart.low < 0.1 and apart.high > 0.8


def test_bits_come_back():
    for count in (1, 8, 300):
        correct = np.random.RandomState(count).uniform(size=count) < 0.5
        np.testing.assert_array_equal(bits.from_text(bits.to_text(correct), count), correct)
    assert len(bits.to_text(np.ones(2000, bool))) == 336
    with pytest.raises(ValueError, match="bits of 9 examples; received 1 bytes"):
        bits.from_text(bits.to_text(np.ones(8, bool)), 9)
