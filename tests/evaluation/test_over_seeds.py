"""Intervals over examples and seeds agree with what is known of their corners, and cover."""

import numpy as np
import pytest
from scipy import stats

from rlfat_tf.evaluation import over_seeds
from rlfat_tf.evaluation.intervals import wilson


def test_one_seed_of_each_is_the_paired_difference():
    """b 12, c 25 of 1,000: -1.3 points, -2.49 to -0.11."""
    one, other = np.zeros((2, 1, 1000))
    one[0, :112], other[0, 12:137] = 1, 1  # 100 of both, 12 of the one, 25 of the other
    found = over_seeds.difference(one, other)
    np.testing.assert_allclose(found, [-0.013, -0.0249, -0.0011], atol=5e-5)
    error = np.sqrt(12 + 25 - 13**2 / 1000) / 1000
    np.testing.assert_allclose(found[1:], -0.013 + stats.norm.ppf([0.025, 0.975]) * error)


@pytest.mark.parametrize("axis", [0, 1])
def test_where_only_one_of_the_two_varies_it_alone_counts(axis):
    """Seeds that agree on every example count once; so do examples that only follow the seed."""
    line = np.random.RandomState(1).uniform(-0.3, 0.3, 4 if axis else 50)
    values = np.repeat(line[:, None], 50, 1) if axis else np.repeat(line[None], 4, 0)
    quantile, error = stats.norm.ppf(0.975), line.std() / np.sqrt(50)
    if axis:
        quantile, error = stats.t.ppf(0.975, 3), line.std(ddof=1) / 2
    expected = line.mean() + np.array([-1, 1]) * quantile * error
    np.testing.assert_allclose(over_seeds.mean(values)[1:], expected, rtol=1e-9)


def test_the_variance_is_that_of_the_parts():
    values = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    # Means of examples 1, 1/3, 1/3, 0, of seeds 1/2, 1/2, 1/4, of all 5/12.
    of_examples = np.var([1, 1 / 3, 1 / 3, 0]) / 4
    of_seeds = np.var([0.5, 0.5, 0.25], ddof=1) / 3
    left = values - [1, 1 / 3, 1 / 3, 0] - np.array([[0.5], [0.5], [0.25]]) + 5 / 12
    rest = np.sum(left**2) / (2 * 3) / 12
    assert over_seeds.parts(values) == pytest.approx((of_examples, of_seeds, rest, 2))
    reach = np.sqrt(
        stats.norm.ppf(0.975) ** 2 * (of_examples - rest) + stats.t.ppf(0.975, 2) ** 2 * of_seeds
    )
    found = over_seeds.mean(values)
    np.testing.assert_allclose(found, [5 / 12, 5 / 12 - reach, 5 / 12 + reach])
    other = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])  # a seed that learned nothing
    found = over_seeds.parts(values, -other)
    alone = 0.5 / 2  # of the other's seeds, which leave no rest
    freedom = (of_seeds + alone) ** 2 / (of_seeds**2 / 2 + alone**2 / 1)
    assert found == pytest.approx((of_examples, of_seeds + alone, rest, freedom))


def test_a_single_seed_is_taken_to_vary_as_much_as_those_of_the_other_method():
    """A third and once the variance of three seeds, with their two degrees of freedom."""
    random = np.random.RandomState(5)
    several, single = (random.uniform(size=(seeds, 50)) < 0.5 for seeds in (3, 1))
    several, single = several.astype(float), single.astype(float)
    of_seeds = several.mean(1).var(ddof=1)
    left = several - several.mean(0) - several.mean(1, keepdims=True) + several.mean()
    rest = np.sum(left**2) / (2 * 49) / 50
    found = over_seeds.parts(several, -single)
    assert found[1:] == pytest.approx((4 / 3 * of_seeds, 4 / 3 * rest, 2))
    assert over_seeds.parts(single, -single)[1:] == (0, 0, np.inf)


def table(random, count, skill, spread, hardness):
    """Which examples networks classify correctly that differ by seed, example and chance."""
    seed, chance = random.normal(size=(count, 1)), random.normal(size=(count, len(hardness)))
    return (skill + spread * seed + hardness + 0.5 * chance > 0).astype(float)


@pytest.mark.parametrize("seeds", [(4, 3), (1, 3), (3,)], ids=str)
def test_intervals_cover_what_all_seeds_and_examples_would_give(seeds):
    random, covered, trials, spread = np.random.RandomState(2), 0, 300, 0.1
    skills, signs = (0.1, 0.0), (1, -1)
    parts = [stats.norm.cdf(skill / np.sqrt(1 + spread**2 + 0.25)) for skill in skills]
    true = sum(sign * part for sign, part, _ in zip(signs, parts, seeds))
    for _ in range(trials):
        hardness = random.normal(size=600)
        tables = [
            sign * table(random, count, skill, spread, hardness)
            for sign, skill, count in zip(signs, skills, seeds)
        ]
        found = over_seeds.mean(*tables)
        covered += found.low <= true <= found.high
    assert 0.93 * trials <= covered <= 0.99 * trials


def test_many_seeds_agree_with_a_nested_bootstrap():
    """Drawing seeds and examples with replacement, the same examples for both methods."""
    random = np.random.RandomState(3)
    hardness = random.normal(size=300)
    one, other = table(random, 30, 0.1, 0.3, hardness), table(random, 40, 0.0, 0.3, hardness)
    drawn = []
    for _ in range(1000):
        share = np.bincount(random.randint(0, 300, 300), minlength=300) / 300
        means = [t[random.randint(0, len(t), len(t))].mean(0) for t in (one, other)]
        drawn.append((means[0] - means[1]) @ share)
    found = over_seeds.difference(one, other)
    np.testing.assert_allclose(found[1:], np.percentile(drawn, [2.5, 97.5]), atol=0.01)
    assert found.high - found.low > 0.1


def test_the_p_value_is_that_of_the_interval():
    random = np.random.RandomState(4)
    hardness = random.normal(size=200)
    one, other = table(random, 3, 0.3, 0.1, hardness), table(random, 4, 0.0, 0.1, hardness)
    found = over_seeds.p_value(one, other)
    assert found == over_seeds.p_value(other, one)
    # The interval outside of which this share lies ends at 0.
    assert over_seeds.parts(one, -other).reach(found) == pytest.approx(one.mean() - other.mean())
    single = over_seeds.parts(one[:1], -other[:1]).examples
    expected = 2 * stats.norm.sf(abs(one[0].mean() - other[0].mean()) / np.sqrt(single))
    assert over_seeds.p_value(one[:1], other[:1]) == pytest.approx(expected)
    assert over_seeds.p_value(one, one) == 1 and over_seeds.p_value(one * 0, one * 0 + 1) == 0
    with pytest.raises(ValueError, match=r"same examples.*\(3, 200\), \(4, 100\)"):
        over_seeds.difference(one, other[:, ::2])


def test_accuracies():
    correct = np.random.RandomState(3).uniform(size=(1, 200)) < 0.3
    assert over_seeds.accuracy(correct)[1:] == wilson(int(correct.sum()), 200)
    # Seeds that agree are worth no more than one of them.
    low, high = over_seeds.accuracy(np.repeat(correct, 3, 0))[1:]
    np.testing.assert_allclose((low, high), wilson(int(correct.sum()), 200), atol=5e-3)
    none = over_seeds.accuracy(np.zeros((3, 300), bool))
    assert none.mean == none.low == 0 and 0.01 < none.high < 0.03
    # Seeds of which one learned nothing: three values of 60, 60 and 0 % say next to nothing.
    apart = over_seeds.accuracy(np.repeat([[True] * 60 + [False] * 40], 3, 0) & [[1], [1], [0]])
    assert apart.low < 0.1 and apart.high > 0.8
