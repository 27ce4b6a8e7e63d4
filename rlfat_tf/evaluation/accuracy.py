"""Clean and adversarial accuracy of a classifier on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlfat_tf.attacks import Attack
from rlfat_tf.core.types import Model
from rlfat_tf.methods import Standard


def evaluator(model: Model, attack: Attack | None, *, seed: int = 0) -> Model:
    """Returns a Keras model whose ``evaluate`` measures another one, traced once for all calls.

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        attack: The attack behind ``adv_accuracy``; None for ``accuracy`` alone.
        seed: Of the attack's random starts.

    Raises:
        TypeError: If the attack is none.
    """
    if attack is not None and not isinstance(attack, Attack):
        raise TypeError(f"Expected an attack, such as LinfPGD(), or None; received {attack!r}.")
    made = Standard(model, eval_attack=attack, seed=seed)
    made.compile(metrics=["accuracy"])
    return made


def clean_and_adversarial_accuracy(
    model: Model,
    batches: Any,
    attack: Attack | None,
    *,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
) -> tuple[float, float]:
    """Measures the accuracy on clean images and on those that an attack makes of them.

    Args:
        model: A Keras model from float images in [0, 1] to logits.
        batches: ``tf.data.Dataset`` of (images [batch, ...], integer labels [batch]); each example
            counts once, whatever the batch size and number of replicas.
        attack: The attack, made against the model itself; None for clean images only.
        seed: Of the attack's random starts.
        callbacks: Keras callbacks of the evaluation.

    Returns:
        Clean accuracy and accuracy under attack (clean again, if there is none), in [0, 1].

    Raises:
        TypeError: If the attack is none.
    """
    result = evaluator(model, attack, seed=seed).evaluate(
        batches, verbose=0, return_dict=True, callbacks=list(callbacks)
    )
    return float(result["accuracy"]), float(result.get("adv_accuracy", result["accuracy"]))
