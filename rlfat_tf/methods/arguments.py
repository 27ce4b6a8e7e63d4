"""The checks of the arguments that all methods have, whenever they are set.

Those that a method adds are checked as they are declared, see :mod:`rlfat_tf.methods.options`.
"""

from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np

from rlfat_tf.methods.batch_norm import check_attack_bn
from rlfat_tf.methods.weight_perturbation import AWP


def _attack_bn(name: str, value: Any) -> Any:
    check_attack_bn(value)
    return value


def _seed(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"Expected {name} to be a whole number; received {value!r}.")
    return int(value)


def _weight_decay(name: str, value: Any) -> float:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ValueError(f"Expected {name} to be a number of at least 0; received {value!r}.")
    return float(value)


def _weight_perturbation(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, AWP):
        raise TypeError(f"Expected {name} to be an rlfat_tf.AWP; received {value!r}.")
    return value


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "attack_bn": _attack_bn,
    "seed": _seed,
    "weight_decay": _weight_decay,
    "weight_perturbation": _weight_perturbation,
}


def check_regularizer(given: Any) -> None:
    """Refuses what is no regulariser, such as its name.

    Raises:
        TypeError: If it is none.
    """
    if not (callable(given) and hasattr(given, "term") and hasattr(given, "check")):
        raise TypeError(
            "Expected a regulariser with its arguments, such as rlfat_tf.LSP(weight=1.0), or a "
            f"list of them; received {given!r}."
        )
