"""Catches evaluations that are wrong; see ``docs/evaluation_checks.md``."""

from __future__ import annotations

from rlfat_tf.evaluation.checks.findings import Finding
from rlfat_tf.evaluation.checks.results import (
    check_attacks,
    check_model,
    check_results,
    epsilon_unit,
    images_in_range,
)

__all__ = [
    "Finding",
    "check_attacks",
    "check_model",
    "check_results",
    "epsilon_unit",
    "images_in_range",
]
