"""Transfer: every classifier on the adversarial examples of every other.

found = rlfat_tf.evaluation.transfer_matrix({"a": one, "b": other}, test, LinfPGD(steps=20))
found["robust"]["a"]["b"]  # the accuracy of b on the examples that were made on a
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks import Attack, Targeted
from rlfat_tf.attacks.arguments import check_count
from rlfat_tf.attacks.base import check_within_ball, is_correct
from rlfat_tf.attacks.transfer import warn_of_border
from rlfat_tf.attacks.wrapping import attacks_in
from rlfat_tf.core import random
from rlfat_tf.core.errors import warn
from rlfat_tf.core.random import plain_seed
from rlfat_tf.core.types import Array, Images, Labels, Tensor
from rlfat_tf.evaluation.checks.findings import Finding, finding
from rlfat_tf.evaluation.classifier import Classifier, as_classifier
from rlfat_tf.evaluation.examples import as_arrays, check_width
from rlfat_tf.evaluation.fitting import check_fits
from rlfat_tf.evaluation.paired import holm, mcnemar
from rlfat_tf.evaluation.plan import Plan
from rlfat_tf.evaluation.step import AttackStep

CONVENTION = (
    "robust[source][target] is the share of all examples that the target classifies correctly both "
    "as they are and as the attack on the source leaves them; where source and target are the same "
    "it is the white-box robust accuracy. success is the share of what the target classifies "
    "correctly as it is that the examples break."
)


def transfer_matrix(
    models: Mapping[str, Any],
    data: Any,
    attack: Attack,
    *,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluates every classifier on the adversarial examples of every other.

    The examples of a source are made of all images that any of the classifiers gets right; for the
    others than itself the attack goes to its end, see :class:`rlfat_tf.attacks.Transfer`.
    Knowing the target's gradients must not hurt: where examples of another source leave fewer of a
    target robust than those of the target itself, beyond noise (McNemar's exact test, adjusted by
    Holm, at 5 %), the target masks its gradients or the attack is too weak, and that is a finding.

    Args:
        models: By name, at least two of what :func:`evaluate` takes, for the same images and
            classes.
        data: As of :func:`evaluate`.
        attack: The attack that each source is given; none towards a class.
        batch_size: Changes speed and memory, not the result.
        seed: Of the attack, whose random draws belong to the examples.

    Returns:
        ``names``, ``examples``, ``attack``, ``clean`` (by name), ``robust`` and ``success`` (by
        source, then by target, in [0, 1]; ``success`` is None of a target that gets nothing right),
        ``convention`` (what these mean) and ``warnings``, as in a report.

    Raises:
        TypeError: If the attack or a model is none, or the models have no names.
        ValueError: If there are fewer than two models, the attack goes towards a class, or data,
            models and attack do not fit together.
    """
    if not isinstance(attack, Attack):
        raise TypeError(f"Expected an attack, such as LinfPGD(); received {attack!r}.")
    if any(isinstance(each, Targeted) for each in attacks_in(attack)):
        raise ValueError(
            f"Expected an attack away from the label; received {attack!r}, whose failures are no "
            "robustness: what misses its target may be misclassified all the same. Hand over the "
            "attack within it."
        )
    if not isinstance(models, Mapping) or not all(isinstance(name, str) for name in models):
        raise TypeError(
            f"Expected models by name, {{'mine': model, 'other': model}}; received {models!r}."
        )
    if len(models) < 2:
        raise ValueError(f"Expected at least two models by name; received {len(models)}.")
    batch_size, seed = check_count(None, "batch_size", batch_size), plain_seed(seed)
    check_within_ball(attack)
    warn_of_border(attack)
    classifiers = {
        name: dataclasses.replace(as_classifier(model), name=name) for name, model in models.items()
    }
    images, labels = as_arrays(data)
    plan: Plan = [(None, {type(attack).__name__: attack})]
    counts = {
        name: check_fits(plan, classifier, images, labels, batch_size)
        for name, classifier in classifiers.items()
    }
    if len(set(counts.values())) > 1:
        raise ValueError(f"Expected models of the same classes; received {counts}.")
    check_width(data, next(iter(counts.values())))
    clean, robust = _evaluated(classifiers, images, labels, attack, batch_size, seed)
    warnings = _findings(list(classifiers), robust)
    for found in warnings:
        warn(f"{found.message} See {found.page}.")
    shares, base = robust.mean(-1).tolist(), clean.mean(-1).tolist()
    success = [[1 - s / b if b else None for s, b in zip(row, base)] for row in shares]
    return {
        "names": list(classifiers),
        "examples": len(labels),
        "attack": repr(attack),
        "clean": dict(zip(classifiers, base)),
        "robust": {source: dict(zip(classifiers, row)) for source, row in zip(classifiers, shares)},
        "success": {source: dict(zip(classifiers, r)) for source, r in zip(classifiers, success)},
        "convention": CONVENTION,
        "warnings": [found.to_dict() for found in warnings],
    }


def _evaluated(
    classifiers: Mapping[str, Classifier],
    images: Images,
    labels: Labels,
    attack: Attack,
    batch_size: int,
    seed: int,
) -> tuple[Array, Array]:
    """Returns what is right when clean, [target, n], and what is robust, [source, target, n]."""

    def correct(images: Images, labels: Labels) -> Tensor:
        found = [is_correct(c.logits_fn(images), labels) for c in classifiers.values()]
        return tf.stack(found)

    signature = [tf.TensorSpec([None, *images.shape[1:]]), tf.TensorSpec([None], tf.int32)]
    right = tf.function(correct, input_signature=signature).get_concrete_function()

    def batches(rows: Array) -> list[Array]:
        return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]

    clean = np.zeros((len(classifiers), len(labels)), bool)
    for rows in batches(np.arange(len(labels))):
        clean[:, rows] = right(tf.constant(images[rows]), tf.constant(labels[rows]))
    robust = np.repeat(clean[None], len(classifiers), 0)
    for number, (name, source) in enumerate(classifiers.items()):
        draws = random.as_seed(seed).fold(random.number(name))
        others: Array = np.arange(len(classifiers)) != number
        # A success on the source is none on the others: for them the attack goes to the end.
        end = attack.to_the_end()
        both = [(attack, ~others), (end, others)]
        runs = [(attack, np.ones_like(others))] if end is attack else both
        for chosen, targets in runs:
            step = AttackStep(f"on {name}", chosen, source, images.shape[1:], draws)
            for rows in batches(np.flatnonzero(clean[targets].any(0))):
                found = step(images[rows], labels[rows], rows).images
                still = np.asarray(right(tf.constant(found), tf.constant(labels[rows])))
                robust[number][np.ix_(targets, rows)] &= still[targets]
    return clean, robust


def _findings(names: Sequence[str], robust: Array) -> list[Finding]:
    """Looks for targets that another source's examples break more of than their own."""
    pairs = {
        (source, target): (robust[source, target], robust[target, target])
        for source in range(len(names))
        for target in range(len(names))
        if source != target
    }
    p_values = {
        pair: mcnemar(int((there & ~own).sum()), int((own & ~there).sum()))
        for pair, (there, own) in pairs.items()
    }
    found = []
    for (source, target), p in holm(p_values).items():
        there, own = (robust.mean() for robust in pairs[source, target])
        if p < 0.05 and there < own:
            name = names[target]
            message = (
                f"Examples that were made on {names[source]} leave {there:.1%} of {name} robust, "
                f"those made on {name} itself {own:.1%} (p {p:.2g}). Knowing its gradients must "
                "not hurt: they are masked, or the attack is too weak, and robust accuracy may be "
                "lower still. Look for what masks them, use more steps, restarts and losses."
            )
            found.append(finding("black-box", message))
    return found
