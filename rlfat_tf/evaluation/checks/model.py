"""Checks of a classifier before it is evaluated; see :mod:`rlfat_tf.evaluation.checks`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks.base import is_correct
from rlfat_tf.attacks.passes import gradient_of
from rlfat_tf.attacks.pgd import PGD
from rlfat_tf.core import losses
from rlfat_tf.core.checks import are_probabilities
from rlfat_tf.core.compat import keras
from rlfat_tf.core.model_checks import try_out
from rlfat_tf.core.types import Array, Images, Labels, Logits, LogitsFn
from rlfat_tf.evaluation.checks.findings import Finding, finding
from rlfat_tf.evaluation.classifier import Classifier
from rlfat_tf.evaluation.suite import step_size
from rlfat_tf.methods import AdversarialModel
from rlfat_tf.methods.inference import InferenceTransform

SUBSET = 48  # examples that the classifier is checked on
OTHER_RANGES = {"[-1, 1]": lambda x: 2 * x - 1, "[0, 255]": lambda x: 255 * x}
RANGE_GAIN = 0.2
ALMOST_BLACK = 1.001 / 255  # the greatest pixel of images that were divided by 255 twice
# Relative to the spread of the logits. Two runs of one graph differ by rounding at most; between
# two places in a batch, kernels may add up in another order, which would show in bfloat16.
SAME_PLACE, OTHER_PLACE = 1e-4, 3e-2
SATURATED = (
    "It is lost by rounding: the logits are so far apart that the softmax is exactly 1 in float32, "
    "or what is left is too small for a model in float16. PGD, MIM and APGD of this library "
    "compute loss and gradient without that rounding; trust them, the losses that do not depend on "
    "the logits' scale (apgd with dlr, autoattack, cw), and no figure that the attacks of other "
    "programs on the cross entropy give."
)
LOST = (
    "An operation of the model passes no gradient: attack past it or replace its derivative, and "
    "trust attacks without gradients only (square, nattack, spsa)."
)
FEW = 0.05  # share of examples that may be odd by chance


def check_classifier(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    clean: Array,
    *,
    epsilon: float,
    norm: str,
) -> list[Finding]:
    """Looks at outputs, determinism, range, gradients, attacks, until one finds something.

    Args:
        classifier: Whom to check.
        images: float32 [n, H, W, C] in [0, 1], NumPy.
        labels: int32 [n].
        clean: Which examples are correctly classified, bool [n].
        epsilon: Radius, above 0.
        norm: ``"linf"`` or ``"l2"``.
    """
    some, correct = _spread(np.arange(len(images))), _spread(np.flatnonzero(clean))
    traced = tf.function(
        lambda x: losses.as_float(classifier.logits_fn(x)),
        input_signature=[tf.TensorSpec([None, *images.shape[1:]])],
    ).get_concrete_function()

    def predict(some: Images) -> Logits:
        return traced(tf.constant(some, tf.float32))

    found = _outputs(predict, images[some]) or _determinism(predict, images[some])
    found = found or _python_randomness(classifier, images[some])
    # Of random predictions a difference between two ranges says nothing.
    found = found or _range(predict, images[some], labels[some], clean[some])
    found = found or _scaling(classifier, images.shape[1:])
    if found or not len(correct) or not classifier.has_gradients(images[correct[:1]]):
        return found
    examples = tf.constant(images[correct]), tf.constant(labels[correct], tf.int32)
    return _gradients(classifier, *examples) or _attacks(classifier, *examples, epsilon, norm)


def _spread(rows: Array) -> Array:
    """Takes at most SUBSET rows evenly, because data sets are often sorted by class."""
    places = np.linspace(0, len(rows) - 1, min(SUBSET, len(rows)))
    return rows[places.astype(int)]


def _outputs(predict: LogitsFn, images: Images) -> list[Finding]:
    """Looks at the numbers that come out."""
    logits = predict(images).numpy()
    rows = len(images)
    broken = int(np.sum(~np.isfinite(logits).all(-1)))
    if broken:
        return [
            finding(
                "non-finite-logits",
                f"{broken} of {rows} clean images have logits that are NaN or infinite, and no "
                "loss to follow. Find the operation that overflows (16-bit floats, log, division).",
            )
        ]
    if rows > 1 and are_probabilities(logits):
        return [
            finding(
                "softmax-outputs",
                f"The outputs of all {rows} images are non-negative and sum to 1, so they seem to "
                "be probabilities. Attacks need logits: the gradient through a softmax too many "
                "vanishes, and the model looks robust. Evaluate the model without its softmax, "
                "which rlfat_tf.adapt(model) cuts off where the layers can be seen.",
            )
        ]
    within = logits.min() >= 0 and logits.max() <= 1 and logits.min() < 0.5 < logits.max()
    if within and not are_probabilities(logits):
        return [
            finding(
                "softmax-outputs",
                f"The outputs of all {rows} images lie in [0, 1] and do not sum to 1, as behind a "
                "sigmoid for each class. Attacks need logits: near 0 and 1 the gradient vanishes, "
                "and the model looks robust. Evaluate the model without it, for a Keras model "
                "rlfat_tf.adapt(model, logits='before_sigmoid').",
            )
        ]
    return []


def _correct(predict: LogitsFn, images: Images, labels: Labels) -> int:
    """Counts the correctly classified images; none if the model refuses images of this range."""
    try:
        return int(is_correct(predict(images), labels).numpy().sum())
    except (tf.errors.OpError, ValueError):  # from Python within it the error is UnknownError
        return 0


def _range(predict: LogitsFn, images: Images, labels: Labels, clean: Array) -> list[Finding]:
    """Looks whether the images were wanted in another range."""
    rows, here = len(images), int(clean.sum())
    there = {name: _correct(predict, scale(images), labels) for name, scale in OTHER_RANGES.items()}
    name = max(there, key=lambda name: there[name])
    if there[name] - here < max(3, RANGE_GAIN * rows):
        return []
    cause = (
        f"it seems to have been trained on those. Put the scaling from [0, 1] to {name} inside of "
        "the model."
    )
    if float(np.max(images)) <= ALMOST_BLACK:
        cause = (
            "no pixel is greater than 1 / 255, so they seem to have been divided by 255 twice. "
            "Divide them once."
        )
    return [
        finding(
            "another-range",
            f"Of {rows} images the model classifies {here} correctly as they are, in [0, 1], "
            f"and {there[name]} when scaled to {name}: {cause}",
        )
    ]


def _scaling(classifier: Classifier, shape: tuple[int, ...]) -> list[Finding]:
    """Looks at what a Keras model makes of black and white images, whatever it was trained on."""
    model = classifier.keeper
    if isinstance(model, (AdversarialModel, InferenceTransform)):
        model = model.model
    if not isinstance(model, keras.Model):
        return []
    sentence = try_out(model, shape).scaling
    return [] if sentence is None else [finding("another-range", sentence)]


def _determinism(predict: LogitsFn, images: Images) -> list[Finding]:
    """Looks whether an example's logits are a function of the example."""
    count = len(images)
    twice = predict(np.concatenate([images, images])).numpy()
    again = predict(np.concatenate([images, images])).numpy()
    logits = twice[:count]
    # Equal shapes, so that the same kernels run; images as different as can be.
    company = predict(np.concatenate([images, 1 - images])).numpy()[:count]
    spread = max(float(np.ptp(twice)), float(np.finfo(np.float32).tiny))
    differs = float(np.abs(twice - again).max()) / spread
    if differs > SAME_PLACE:
        return [
            finding(
                "randomised-predictions",
                f"Two predictions of the same images differ by {differs:.2%} of the range of the "
                "logits. An attack that sees one draw is easily missed by the next: use "
                "AutoAttack's version 'rand', or eot for PGD: they average over draws; checks that "
                "need equal predictions were left out.",
            )
        ]
    by_place = float(np.abs(logits - twice[count:]).max()) / spread
    by_company = float(np.abs(logits - company).max()) / spread
    if by_company > SAME_PLACE or by_place > OTHER_PLACE:
        return [
            finding(
                "batch-dependence",
                f"The logits of an image change by {max(by_company, by_place):.2%} of their range "
                "with the other images of its batch, or with its place among them. Is batch "
                "normalisation in training mode? Call the model with training=False; checks that "
                "need an image's own logits were left out.",
            )
        ]
    return []


def _python_randomness(classifier: Classifier, images: Images) -> list[Finding]:
    """Looks whether Python draws numbers, which a graph draws once and keeps.

    Two predictions of one graph are equal then, as if the classifier was deterministic; called
    eagerly it is not.
    """
    points = tf.constant(images, tf.float32)
    try:
        one, other = (np.asarray(classifier.logits_fn(points)) for _ in range(2))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError, tf.errors.OpError):
        # It works in graphs only.
        return []
    differs = float(np.abs(one - other).max()) / max(float(np.ptp(one)), 1e-30)
    if differs <= SAME_PLACE:
        return []
    return [
        finding(
            "randomised-predictions",
            f"Called twice from Python, the classifier's logits differ by {differs:.2%} of their "
            "range, while a graph of it always predicts the same: it draws its random numbers by "
            "Python or NumPy. Graphs draw them once when they are made, so that every attack sees "
            "one draw, is judged by another, and eot averages nothing. Draw by tf.random, "
            "or keras.random, inside the classifier.",
        )
    ]


def _gradients(classifier: Classifier, images: Images, labels: Labels) -> list[Finding]:
    """Looks whether the gradient of the cross entropy gives a direction."""

    @tf.function
    def look() -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = losses.as_float(classifier.logits_fn(images))
            plain = losses.cross_entropy(labels, logits)
        usual = tape.gradient(plain, images)
        ours, _ = gradient_of(
            classifier.logits_fn,
            lambda logits: losses.unsaturated_cross_entropy(labels, losses.as_float(logits)),
            images,
        )
        axes = list(range(1, images.shape.rank))
        finite = tf.reduce_all(tf.math.is_finite(usual), axes)
        still, lost = (finite & tf.reduce_all(slope == 0, axes) for slope in (usual, ours))
        return tf.reduce_sum(tf.cast([~finite, still, lost], tf.int32), -1)

    count = len(images)
    broken, zero, lost = look.get_concrete_function()().numpy()
    found = []
    if broken > FEW * count:
        found.append(
            finding(
                "non-finite-gradients",
                f"The input gradient of the cross entropy is NaN or infinite on {broken} of "
                f"{count} images; attacks of other programs may stand still or make "
                "images of NaN, those here count NaN as 0 and move what is left. Find the "
                "operation without a derivative (sqrt, norm, division at 0; a branch of where) and "
                "give it a finite one.",
            )
        )
    if zero > FEW * count:
        found.append(
            finding(
                "zero-gradients",
                f"The input gradient of the cross entropy is zero on {zero} of {count} images, "
                "which a usual attack on it leaves as they are: their robustness is apparent only. "
                + (LOST if lost > FEW * count else SATURATED),
            )
        )
    return found


def _attacks(
    classifier: Classifier, images: Images, labels: Labels, epsilon: float, norm: str
) -> list[Finding]:
    """Looks whether an attack with more of everything is stronger."""
    count = len(images)

    def attack(**arguments: Any) -> tuple[int, float]:
        """Returns how many examples stay correct and the mean cross entropy."""
        chosen = PGD(**{"keep": "best", **arguments})

        @tf.function
        def run() -> Any:
            logits = classifier.logits_fn(chosen(classifier.logits_fn, images, labels, seed=0))
            correct = tf.reduce_sum(tf.cast(is_correct(logits, labels), tf.int32))
            return correct, tf.reduce_mean(losses.cross_entropy(labels, logits))

        # Not called as it is, because TensorFlow warns of many functions from the same lines.
        correct, loss = run.get_concrete_function()()
        return int(correct), float(loss)

    def walk(radius: float, steps: int) -> tuple[int, float]:
        radius = min(radius, 1.0) if norm == "linf" else radius
        if steps == 1:
            return attack(norm=norm, epsilon=radius, steps=1, step_size=radius, random_start="none")
        length = step_size(norm, radius, steps)
        return attack(norm=norm, epsilon=radius, steps=steps, step_size=length)

    one, many, wide = walk(epsilon, 1), walk(epsilon, 20), walk(2 * epsilon, 20)
    free = 0
    if len(np.unique(labels)) > 1:  # so each has a correct image of another class within reach
        # The box is the only bound, hence the maximum norm always: Euclidean steps stall at its
        # faces, as they do on robust networks for MNIST.
        free, _ = attack(epsilon=1.0, steps=30, step_size=0.1, random_start="none", loss="margin")
    slack = max(1, FEW * count)
    found = []
    if many[0] > one[0] + slack or many[1] < 0.99 * one[1]:
        found.append(
            finding(
                "more-steps",
                f"At epsilon {epsilon:.4g} PGD with 20 steps leaves {many[0]} of {count} images "
                f"correct at a mean loss of {many[1]:.3g}, with one step {one[0]} at {one[1]:.3g}. "
                "More steps must not be weaker, so gradients lead astray: remove what masks "
                "them, try larger steps, add attacks without gradients.",
            )
        )
    if wide[0] > many[0] + slack:
        found.append(
            finding(
                "larger-epsilon",
                f"PGD leaves {many[0]} of {count} images correct at epsilon {epsilon:.4g} and "
                f"{wide[0]} at twice that. The larger ball holds the smaller one, so the attack is "
                "at fault: adapt its steps and its loss, remove what masks gradients.",
            )
        )
    if free:
        found.append(
            finding(
                "unbounded-attack",
                f"PGD without a bound but [0, 1] leaves {free} of {count} images correct, though "
                "images that the model gives to other classes are within its reach. Gradients do "
                "not lead there, so attacks by them overestimate robustness: remove what masks "
                "them, add attacks without gradients.",
            )
        )
    return found
