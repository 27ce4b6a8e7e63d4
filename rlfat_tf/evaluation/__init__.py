"""Evaluates robustness: attacks over a test set, with intervals, checks of itself and a report.

report = rlfat_tf.evaluation.evaluate(model, (images, labels), attacks="pgd,autoattack")
report = rlfat_tf.evaluation.AutoAttack(epsilon=8 / 255).evaluate(model, test)
"""

from __future__ import annotations

from rlfat_tf.evaluation.accuracy import clean_and_adversarial_accuracy
from rlfat_tf.evaluation.autoattack import AutoAttack
from rlfat_tf.evaluation.classes import confusion
from rlfat_tf.evaluation.classifier import Classifier, as_classifier, load_classifier
from rlfat_tf.evaluation.comparison import compare
from rlfat_tf.evaluation.corrupted_records import Corrupted, read_corrupted
from rlfat_tf.evaluation.corruptions import evaluate_corruptions
from rlfat_tf.evaluation.ensemble import ensemble
from rlfat_tf.evaluation.evaluate import evaluate
from rlfat_tf.evaluation.measures.saliency import smooth_grad
from rlfat_tf.evaluation.measures.sensitivity import loss_sensitivity
from rlfat_tf.evaluation.measures.shuffled import shuffled_accuracy
from rlfat_tf.evaluation.paired import holm, mcnemar
from rlfat_tf.evaluation.records import Examples, Outcomes, TargetedOutcomes, read_examples
from rlfat_tf.evaluation.sample_size import examples_for_difference, examples_for_interval
from rlfat_tf.evaluation.suite import EVALUATION_ATTACKS
from rlfat_tf.evaluation.transfer_matrix import transfer_matrix

__all__ = [
    "EVALUATION_ATTACKS",
    "AutoAttack",
    "Classifier",
    "Corrupted",
    "Examples",
    "Outcomes",
    "TargetedOutcomes",
    "as_classifier",
    "clean_and_adversarial_accuracy",
    "compare",
    "confusion",
    "ensemble",
    "evaluate",
    "examples_for_difference",
    "examples_for_interval",
    "holm",
    "evaluate_corruptions",
    "load_classifier",
    "loss_sensitivity",
    "mcnemar",
    "read_corrupted",
    "read_examples",
    "shuffled_accuracy",
    "smooth_grad",
    "transfer_matrix",
]
