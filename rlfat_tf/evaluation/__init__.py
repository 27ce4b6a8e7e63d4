"""Evaluates robustness: attacks over a test set, with intervals, checks of itself and a report.

report = rlfat_tf.evaluation.evaluate(model, (images, labels), attacks="pgd,autoattack")
report = rlfat_tf.evaluation.AutoAttack(epsilon=8 / 255).evaluate(model, test)
"""

from __future__ import annotations

from rlfat_tf.evaluation.accuracy import clean_and_adversarial_accuracy
from rlfat_tf.evaluation.autoattack import AutoAttack
from rlfat_tf.evaluation.classes import confusion
from rlfat_tf.evaluation.classifier import Classifier, as_classifier, load_classifier
from rlfat_tf.evaluation.evaluate import evaluate
from rlfat_tf.evaluation.measures.saliency import smooth_grad
from rlfat_tf.evaluation.measures.sensitivity import loss_sensitivity
from rlfat_tf.evaluation.measures.shuffled import shuffled_accuracy
from rlfat_tf.evaluation.records import Examples, Outcomes, read_examples
from rlfat_tf.evaluation.suite import EVALUATION_ATTACKS

__all__ = [
    "EVALUATION_ATTACKS",
    "AutoAttack",
    "Classifier",
    "Examples",
    "Outcomes",
    "as_classifier",
    "clean_and_adversarial_accuracy",
    "confusion",
    "evaluate",
    "load_classifier",
    "loss_sensitivity",
    "read_examples",
    "shuffled_accuracy",
    "smooth_grad",
]
