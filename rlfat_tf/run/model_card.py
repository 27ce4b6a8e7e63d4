"""What a user of a trained model should know about it."""

from __future__ import annotations

from typing import Any

from rlfat_tf.core.types import Report
from rlfat_tf.data.view import View
from rlfat_tf.run.config import TrainConfig


def model_card(config: TrainConfig, summary: Report, perturbation: str | None) -> dict[str, Any]:
    """Returns what a user of a trained model should know about it.

    Args:
        config: The run.
        summary: What its ``summary.json`` holds.
        perturbation: What made its adversarial examples of training; None if nothing did.
    """
    measured = ("test_accuracy", "test_adv_accuracy", "test_attack", "test_examples")
    return {
        "model": config.model,
        "method": config.method,
        "regularizer": config.regularizer,
        "dataset": config.dataset,
        "view": View(config.image_size, config.view).describe(),
        "norm": config.attack_norm,
        "epsilon": config.epsilon,
        "training_attack": perturbation,
        "steps": summary["steps"],
        "batch_size": config.batch_size,
        "seed": config.seed,
        "checkpoint": summary["checkpoint"],
        **{name: summary[name] for name in measured},
        "intended_use": f"Classifying images like those of {config.dataset}, scaled to [0, 1].",
        "limits": (
            "The adversarial accuracy is that under the named attack alone, an upper bound of what "
            "a stronger one leaves, and says nothing of other norms, larger epsilons or other "
            "images. Evaluate with eval.py before you rely on it."
        ),
        "versions": summary["versions"],
    }
