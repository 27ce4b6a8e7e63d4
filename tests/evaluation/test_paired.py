"""Tests of two classifiers agree with counting, with SciPy and with published figures."""

import itertools

import numpy as np
import pytest
from scipy import stats

from rlfat_tf.evaluation import paired


def test_the_figures_of_one_comparison():
    """b 12, c 25: exact p .0470; chi squared 4.568 (p .0326), corrected 3.892 (p .0485)."""
    assert paired.mcnemar(12, 25) == pytest.approx(0.0470, abs=5e-5)
    found = paired.mcnemar_chi_squared(12, 25, corrected=False)
    assert found == pytest.approx((4.568, 0.0326), abs=5e-4)
    assert found[1] == pytest.approx(stats.chi2.sf(13**2 / 37, 1), rel=1e-12)
    assert paired.mcnemar_chi_squared(25, 12) == pytest.approx((3.892, 0.0485), abs=5e-4)
    assert paired.mcnemar(0, 0) == paired.mcnemar(7, 7) == 1
    assert paired.mcnemar_chi_squared(0, 0) == (0, 1)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (0, 6), (3, 2), (40, 71), (900, 1100)])
def test_the_exact_test_is_the_binomial_one(only_a, only_b):
    expected = stats.binomtest(only_a, only_a + only_b).pvalue
    assert paired.mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    assert paired.mcnemar(only_b, only_a) == paired.mcnemar(only_a, only_b)


def test_the_exact_test_counts_coins():
    """Of all ways in which five coins may fall, those at least as far from even as 1 of 5."""
    heads = np.array([sum(coins) for coins in itertools.product((0, 1), repeat=5)])
    assert paired.mcnemar(1, 4) == np.mean(np.abs(heads - 2.5) >= 1.5)


def test_holm():
    found = paired.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(found) == ["a", "b", "c", "d"]
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert paired.holm({"x": 0.6, "y": 0.7}) == {"x": 1.0, "y": 1.0}
    assert paired.holm({}) == {} and paired.holm({("a", "b"): 0.04}) == {("a", "b"): 0.04}


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="received -1 and 2"):
        paired.mcnemar(-1, 2)
    with pytest.raises(ValueError, match=r"received 1.5 of 'x'"):
        paired.holm({"x": 1.5})
