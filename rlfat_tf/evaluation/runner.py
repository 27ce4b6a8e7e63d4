"""Runs attacks over a test set: only where the classifier is still correct, batch by batch.

What an attack has broken is broken: the next one sees the rest, packed into full batches, so that
the work shrinks with the robust set. Because every draw goes with its example, the result is the
same as without packing, with any batch size, and after any number of interruptions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks import Targeted
from rlfat_tf.attacks.base import Attack, norm_of, predicted_class
from rlfat_tf.core import random
from rlfat_tf.core.types import Array, Images, Labels
from rlfat_tf.evaluation.classifier import Classifier
from rlfat_tf.evaluation.fitting import needs_gradients
from rlfat_tf.evaluation.progress import AttackProgress, EvaluationProgress
from rlfat_tf.evaluation.step import AttackStep
from rlfat_tf.evaluation.watching import OnProgress, Standing


class Outcome(NamedTuple):
    """What an attack did to each example.

    Attributes:
        robust: Which of the examples that it was given it left correctly classified, bool [n].
        record: Of the run, for a report.
        prediction: Of those that it broke, the classes that they are taken for; of all others the
            predictions on the clean images; int32 [n].
        size: The lengths in its norm of the perturbations that broke an example, NaN for all
            others; float32 [n].
    """

    robust: Any
    record: dict[str, Any]
    prediction: Any
    size: Any


class AttackRunner:
    """Runs attacks on a classifier and test examples, and keeps what is known of them.

    Attributes:
        kept: By name of the attack, adversarial versions of the first examples, float32 NumPy
            [keep, H, W, C]; an example that the attack was not given is in them as it is.
        batch_size: How many examples are looked at at once.

    Args:
        classifier: The classifier to attack.
        images: float32 [n, H, W, C] in [0, 1].
        labels: Integers [n].
        batch_size: How many examples are attacked at once.
        seed: Of all attacks.
        progress: Where progress is kept.
        keep: How many of the first examples' adversarial images are kept, for pictures.
        on_progress: Called before an attack, every second within a batch, and after every batch.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        *,
        batch_size: int,
        seed: int,
        progress: EvaluationProgress,
        keep: int = 0,
        on_progress: OnProgress | None = None,
    ):
        self.classifier = classifier
        self.images, self.labels = images, labels
        self.progress = progress
        self.kept: dict[str, Any] = {}
        self.batch_size, self._seed = batch_size, seed
        self._keep, self._on_progress = keep, on_progress or (lambda *_: None)
        # Traced here, because TensorFlow warns of many functions that are made by the same lines.
        self._predict = tf.function(
            classifier.logits_fn, input_signature=[tf.TensorSpec([None, *images.shape[1:]])]
        ).get_concrete_function()

    @property
    def classes(self) -> int:
        """How many classes the classifier tells apart."""
        return int(self._predict.structured_outputs.shape[-1])

    def logits(self, images: Images) -> Any:
        """Returns the logits of any number of images, a NumPy array."""
        return np.concatenate(
            [self._predict(tf.constant(b)).numpy() for b in self._batches(images)]
        )

    def _batches(self, rows: Array) -> Iterator[Any]:
        """Yields an array in parts of the size of a batch: images on disk are read by then."""
        for first in range(0, len(rows), self.batch_size):
            yield rows[first : first + self.batch_size]

    def clean(self) -> Any:
        """Returns which examples are correctly classified as they are, bool [n]."""
        return self.clean_predictions() == self.labels

    def clean_predictions(self) -> Any:
        """Returns the classes that are predicted of the examples as they are, int32 [n]."""
        if self.progress.predictions is None:
            begin, total = time.perf_counter(), len(self.labels)
            predictions, right = [], 0
            for rows in self._batches(np.arange(total)):
                found = predicted_class(self.logits(self.images[rows])).numpy()
                predictions += found.tolist()
                right += int((found == self.labels[rows]).sum())
                seconds, done = time.perf_counter() - begin, len(predictions)
                self._on_progress(Standing("clean", None, done, total, right, seconds, passes=0))
            self.progress.predictions = predictions
            self.progress.save()
        return np.array(self.progress.predictions, np.int32)

    def targets(self, attack: Targeted) -> Any:
        """Returns the class to which a targeted attack takes each example, int32 [n].

        They depend on the classifier, the seed and the number of an example, not on the name of the
        attack, so that all attacks with one rule have the same.
        """
        logits, labels = tf.constant(self.logits(self.images)), tf.constant(self.labels)
        seed = random.as_seed(self._seed)._replace(examples=tf.range(len(self.labels)))
        return tf.function(attack.targets)(logits, labels, seed).numpy()

    def attack(
        self,
        name: str,
        attack: Attack,
        given: Array,
        *,
        keep: bool = True,
        targets: Array | None = None,
    ) -> Outcome:
        """Attacks some of the examples.

        Args:
            name: Of the attack, in reports and as part of its seed.
            attack: The attack; one with ``components`` runs part by part.
            given: Which examples to attack, bool [n].
            keep: Whether its adversarial images are kept.
            targets: Of a targeted attack whose labels are its targets: integers [n]. It has broken
                an example that is taken for its target.
        """
        parts = getattr(attack, "components", None)
        robust, prediction = np.array(given), self.clean_predictions()
        size = np.full(len(robust), np.nan, np.float32)
        records, kept = {}, self.images[: self._keep if keep else 0]
        for part, component in (parts or {name: attack}).items():
            full = name if parts is None else f"{name}/{part}"
            attacked = robust[: len(kept), None, None, None]
            rows = np.flatnonzero(robust)
            done, found = self._run(full, part, component, rows, len(kept), targets)
            kept = np.where(attacked, found, kept)
            records[part] = _record(component, int(robust.sum()), done)
            robust[done.broken] = False
            prediction[done.broken], size[done.broken] = done.predictions, done.sizes
        if parts is None:
            record = records[name]
        else:
            seconds = sum(part["seconds"] for part in records.values())
            record = {**_facts(attack), "seconds": seconds, "components": records}
        if keep:
            self.kept[name] = kept
        return Outcome(robust, record, prediction, size)

    def _run(
        self,
        name: str,
        draw: str,
        attack: Attack,
        given: Array,
        size: int,
        targets: Array | None,
    ) -> tuple[AttackProgress, Any]:
        """Runs one attack on these examples; returns its progress and ``size`` images."""
        labels = self.labels if targets is None else targets
        seed = random.as_seed(self._seed).fold(random.number(draw))
        step = AttackStep(name, attack, self.classifier, self.images.shape[1:], seed)
        whom = given if targets is None else np.concatenate([given, targets[given]])
        key = self.progress.key(name, attack, whom, step.graph)
        progress = self.progress.of(key)
        kept = self._kept_images(key, step, given[: progress.done], size, labels)

        begin = time.perf_counter()

        def tell(passes: int | None) -> None:
            left = len(given) - len(progress.broken)
            running = 0.0 if passes is None else time.perf_counter() - begin
            seconds = progress.seconds + running
            self._on_progress(
                Standing(name, attack, progress.done, len(given), left, seconds, passes, running)
            )

        if progress.done < len(given):
            tell(0)  # before the graph is made, which takes its time
        while progress.done < len(given):
            begin = time.perf_counter()
            rows = given[progress.done : progress.done + self.batch_size]
            judged = step(self.images[rows], labels[rows], rows, tell)
            broken = (judged.prediction == labels[rows]) == (targets is not None)
            progress.add(rows, judged, broken, time.perf_counter() - begin)
            early = rows < size
            kept[rows[early]] = judged.images[early]
            if early.any():
                done = given[: progress.done]
                self.progress.keep_images(key, done[done < size], kept[done[done < size]])
            self.progress.save()
            tell(None)
        return progress, kept

    def _kept_images(
        self, key: str, step: AttackStep, done: Array, size: int, labels: Labels
    ) -> Any:
        """Returns adversarial images of the first examples, made again where none were kept.

        An evaluation without pictures keeps none. Draws go with the example, so the same attack
        makes them again.
        """
        kept, wanted = self.images[:size].copy(), done[done < size]
        stored = self.progress.kept_images(key)
        if stored is not None:
            numbers, images = stored
            early = numbers < size
            kept[numbers[early]] = images[early]
            wanted = np.setdiff1d(wanted, numbers)
        for rows in self._batches(wanted):
            kept[rows] = step(self.images[rows], labels[rows], rows).images
        if len(wanted):
            done = done[done < size]
            self.progress.keep_images(key, done, kept[done])
        return kept


def _record(attack: Attack, given: int, progress: AttackProgress) -> dict[str, Any]:
    """Returns what a report says of one attack on so many examples."""
    return {
        **_facts(attack),
        "examples": given,
        "broken": len(progress.broken),
        "median_l2": round(float(np.median(progress.l2)), 6) if progress.l2 else None,
        "seconds": progress.seconds,
    }


def _facts(attack: Attack) -> dict[str, Any]:
    """Returns what a report says of an attack before it has run."""
    epsilon = getattr(attack, "epsilon", None)
    ball = {"norm": norm_of(attack), "epsilon": None if epsilon is None else float(epsilon)}
    return {"attack": repr(attack), **ball, "needs_gradients": needs_gradients(attack)}
