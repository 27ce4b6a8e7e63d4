"""Wilson's interval against values worked out by hand and against its own definition."""

import pytest

from rlfat_tf.evaluation.intervals import Z_95, wilson


def test_by_hand():
    # p = 0.5, n = 100: (0.5 + 0.0192073 -+ 1.96 sqrt(0.0025 + 0.00009604)) / 1.0384146
    assert wilson(50, 100) == pytest.approx((0.403832, 0.596168), abs=1e-6)
    assert wilson(0, 100) == pytest.approx((0.0, Z_95**2 / (100 + Z_95**2)), abs=1e-9)
    assert wilson(100, 100) == pytest.approx((100 / (100 + Z_95**2), 1.0), abs=1e-9)


@pytest.mark.parametrize("successes, trials", [(1, 7), (30, 40), (499, 1000)])
def test_the_ends_lie_z_standard_errors_away(successes, trials):
    share = successes / trials
    for end in wilson(successes, trials):
        assert abs(share - end) == pytest.approx(Z_95 * (end * (1 - end) / trials) ** 0.5)


@pytest.mark.parametrize("successes, trials", [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match="successes <= trials"):
        wilson(successes, trials)
