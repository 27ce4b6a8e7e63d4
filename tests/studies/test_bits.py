"""Truth values as text come back, and others are refused."""

import numpy as np
import pytest

from studies import bits


def test_bits_come_back():
    for count in (1, 8, 300):
        correct = np.random.RandomState(count).uniform(size=count) < 0.5
        np.testing.assert_array_equal(bits.from_text(bits.to_text(correct), count), correct)
    assert len(bits.to_text(np.ones(2000, bool))) == 336
    with pytest.raises(ValueError, match="bits of 9 examples; received 1 bytes"):
        bits.from_text(bits.to_text(np.ones(8, bool)), 9)
