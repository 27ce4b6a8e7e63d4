"""Recognises a classifier that an evaluation has seen before, by what it computes.

Progress is only worth keeping if it is never taken for that of another classifier. One is the same
as before if its graph is (:mod:`rlfat_tf.evaluation.identity`) and if it does the same with some
images: the logits, and the derivatives that an attack would follow, since two defences may compute
the same logits and pass different gradients. The latter are compared up to rounding and, of a
classifier that draws at random, up to what its draws explain.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.core.types import Images, Tensor
from rlfat_tf.evaluation.classifier import Classifier
from rlfat_tf.evaluation.identity import digest
from rlfat_tf.storage.files import replacing
from rlfat_tf.storage.reading import as_written, read_arrays

PASSES = 3
OWN, DRAWN = 4, 2  # images of the data set and random ones
DIRECTIONS = 3
# Differences by rounding, relative to the range of the values.
ROUNDING = {"logits": 1e-4, "slopes": 1e-3}
DEVIATIONS = 6.0  # how far means of the same draws may lie apart, in standard errors
NOISE_RATIO = 3.0


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """What a classifier did with some images, pass by pass.

    Attributes:
        logits: [passes, images, classes].
        slopes: Derivatives of a mixture of the logits along some directions, [passes, images,
            directions]; no images if the classifier passes no gradient.
    """

    logits: Any
    slopes: Any

    def agrees(self, other: Behaviour) -> bool:
        """Tells whether the two are of one classifier, as far as these images show."""
        return all(
            _same(getattr(self, name), getattr(other, name), rounding)
            for name, rounding in ROUNDING.items()
        )


def _same(one: Any, other: Any, rounding: float) -> bool:
    """Compares the means of passes [passes, ...] and how far the passes are apart."""
    if one.shape != other.shape:
        return False
    if not one.size:
        return True
    means = one.mean(0), other.mean(0)
    finite = np.isfinite(means[0])
    if not np.array_equal(finite, np.isfinite(means[1])):
        return False
    if not np.array_equal(means[0][~finite], means[1][~finite], equal_nan=True):
        return False
    if not finite.any():
        return True
    variances = [passes[:, finite].var(0, ddof=1) for passes in (one, other)]
    size = rounding * max(float(np.ptp(mean[finite])) for mean in means)
    noise = [float(np.sqrt(variance.mean())) for variance in variances]
    if max(noise) > size and max(noise) > NOISE_RATIO * min(noise):
        return False
    allowed = size + DEVIATIONS * float(np.sqrt((variances[0] + variances[1]).max() / PASSES))
    return bool(np.abs(means[0] - means[1])[finite].max() <= allowed)


def probes(images: Images) -> Any:
    """Returns images to try a classifier on: of the data set, flat ones, mixed and random ones.

    Args:
        images: float32 [n, ...] in [0, 1], NumPy.

    Returns:
        float32, the same for the same data; the last OWN + DRAWN have no two equal pixels, so that
        rounding does not decide which of them is the largest.
    """
    rows = np.linspace(0, len(images) - 1, min(OWN, len(images))).astype(int)
    own = images[rows]
    drawn = np.random.default_rng(0).random((len(own) + DRAWN, *own.shape[1:]), np.float32)
    mixed = 0.9 * own + 0.1 * drawn[: len(own)]
    flat = np.stack([np.zeros_like(own[0]), np.ones_like(own[0])])
    return np.concatenate([own, flat, mixed, drawn[len(own) :]]).astype(np.float32)


def observe(classifier: Classifier, images: Images) -> tuple[str, Behaviour]:
    """Returns the digest of a classifier, and what it does with the :func:`probes` of a data set.

    Args:
        classifier: The classifier.
        images: float32 [n, ...] in [0, 1], NumPy.
    """
    chosen = probes(images)
    signature = [tf.TensorSpec([None, *images.shape[1:]])]
    rng = np.random.default_rng(1)
    directions = rng.normal(size=[int(np.prod(images.shape[1:])), DIRECTIONS])

    def predict(points: Images) -> Tensor:
        return tf.cast(classifier.logits_fn(points), tf.float32)

    def slopes(points: Images) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = predict(points)
            weights = tf.constant(rng.normal(size=logits.shape[-1]), tf.float32)
            mixture = tf.reduce_sum(weights * logits, -1)
        gradient = tf.reshape(tape.gradient(mixture, points), [tf.shape(points)[0], -1])
        return gradient @ tf.constant(directions, tf.float32)

    def passes(function: Any, points: Images) -> Any:
        return np.stack([function(tf.constant(points)).numpy() for _ in range(PASSES)])

    traced = tf.function(predict, input_signature=signature).get_concrete_function()
    found = np.zeros([PASSES, 0, DIRECTIONS], np.float32)
    if classifier.has_gradients(images[:1]):
        differentiated = tf.function(slopes, input_signature=signature).get_concrete_function()
        found = passes(differentiated, chosen[-min(OWN, len(images)) - DRAWN :])
    return digest(traced), Behaviour(passes(traced, chosen), found)


class KnownClassifiers:
    """The classifiers that a folder knows, by names that stay.

    Args:
        folder: Where what they do is kept, a file for each; None for nowhere, where every
            classifier is a new one.
        images: Of the data set, float32 [n, ...] in [0, 1], NumPy.
    """

    def __init__(self, folder: Path | None, images: Images):
        self._folder, self._images = folder, images
        self._named: dict[int, tuple[Classifier, str]] = {}
        self._data = hashlib.sha256(probes(images).tobytes()).hexdigest()[:8]

    def name_of(self, classifier: Classifier) -> str:
        """Returns the name of a classifier; one that is not known yet is kept and gets a name.

        Raises:
            ValueError: If a file of the folder cannot be read.
        """
        if self._folder is None:
            return classifier.name
        if id(classifier) not in self._named:
            self._named[id(classifier)] = classifier, self._recognised(classifier, self._folder)
        return self._named[id(classifier)][1]

    def _recognised(self, classifier: Classifier, folder: Path) -> str:
        graph, behaviour = observe(classifier, self._images)
        names = (f"{graph}-{self._data}-{number}.npz" for number in itertools.count())
        paths = (folder / name for name in names)
        path = next(p for p in paths if not p.is_file() or behaviour.agrees(_read(p)))
        if not path.is_file():
            with replacing(path) as written:
                np.savez(written, **dataclasses.asdict(behaviour))
        return path.stem


def _read(path: Path) -> Behaviour:
    advice = advice_for(path)
    arrays = read_arrays(path, advice)
    with as_written(path, advice):
        logits, slopes = (arrays[name].astype(np.float32) for name in ("logits", "slopes"))
        if logits.ndim != 3 or slopes.ndim != 3:
            raise TypeError("logits and slopes must have three dimensions")
    return Behaviour(logits, slopes)


def advice_for(path: Path) -> str:
    """Returns what to do with a damaged file of an evaluation's progress."""
    return f"Delete the folder {path.parent}; what it holds is then computed anew."
