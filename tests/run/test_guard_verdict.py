"""When the guard against catastrophic overfitting fires, by the accuracies that it measures."""

from __future__ import annotations

import numpy as np
import pytest

from rlfat_tf import OverfittingGuard, data
from tests import reference


def part(number):
    """As many images of which nothing but their number counts."""
    images, _, labels = reference.images_and_labels(20, seed=2)
    return data.Arrays(images, labels).take(np.resize(np.arange(20), number))


@pytest.mark.parametrize(
    ("best", "adversarial", "one_step", "expected"),
    [
        (None, 0.1, 0.39, False),
        (None, 0.1, 0.41, True),  # the gap, where there is nothing that could fall
        (None, 0.25, 0.9, False),
        (0.4, 0.21, 0.3, False),
        (0.4, 0.19, 0.3, True),  # the fall alone
        (0.4, 0.4, 0.71, True),  # the gap
        (0.4, 0.5, 0.79, False),
    ],
)
def test_when_it_fires(best, adversarial, one_step, expected):
    guard = OverfittingGuard(part(100))
    guard.progress["best_probe"] = best
    assert guard.has_overfitted(adversarial, one_step) is expected


@pytest.mark.parametrize(
    ("best", "adversarial", "one_step", "expected"),
    [
        (None, 1, 8, False),  # the lower end of 7 of 15 is 0.25
        (None, 0, 9, True),
        (8, 4, 8, False),  # that of 4 is 0.11
        (8, 0, 1, True),
        (1, 1, 8, False),
        (None, 15, 15, False),
    ],
)
def test_few_images_that_differ_by_chance_do_not_fire(best, adversarial, one_step, expected):
    guard = OverfittingGuard(part(15))
    guard.progress["best_probe"] = None if best is None else best / 15
    assert guard.has_overfitted(adversarial / 15, one_step / 15) is expected
