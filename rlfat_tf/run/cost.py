"""The passes of a training step, as a configuration asks for them.

A pass goes forward and back through the classifier, to its input in an attack and to its weights in
the update. The numbers are those of the table in ``docs/methods.md``, whose test counts them.
"""

from __future__ import annotations

from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.training_attack import training_attack

# Back to the input, where it is not the attack of the flags, and beside its steps.
OWN_ATTACK = {"standard": 0, "feature_scattering": 1, "atld": 3}
MORE = {"local_global": 1}
# To the weights.
UPDATE = {
    "standard": 1,
    "pgdat": 1,
    "trades": 2,
    "rbsat_p": 1,
    "rbsat_t": 2,
    "rlfat_p": 2,
    "rlfat_t": 3,
    "feature_scattering": 1,
    "atld": 1,
    "local_global": 3,
    "mart": 2,
    "hat": 3,
    "ikl": 2,
    "score": 2,
}


def attack_passes(config: TrainConfig) -> int:
    """Returns the passes to the input of a step."""
    if config.method in OWN_ATTACK:
        return OWN_ATTACK[config.method]
    steps = getattr(training_attack(config), "steps", 1)
    return int(steps) + MORE.get(config.method, 0)


def update_passes(config: TrainConfig) -> int:
    """Returns the passes to the weights of a step; AWP makes each of them twice."""
    return UPDATE[config.method] * (2 if config.awp else 1)


def passes(config: TrainConfig) -> str:
    """Returns both as ``"10 + 1"``."""
    return f"{attack_passes(config)} + {update_passes(config)}"
