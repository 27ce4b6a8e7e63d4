"""Runs attacks over a test set: only where the classifier is still correct, batch by batch.

What an attack has broken is broken: the next one sees the rest, packed into full batches, so that
the work shrinks with the robust set. Because every draw goes with its example, the result is the
same as without packing, with any batch size, and after any number of interruptions.
"""

from __future__ import annotations

import time
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from rlfat_tf.attacks.base import Attack, is_correct
from rlfat_tf.core import random
from rlfat_tf.core.types import Array, Images, Labels
from rlfat_tf.evaluation.classifier import Classifier
from rlfat_tf.evaluation.progress import EvaluationProgress
from rlfat_tf.evaluation.step import AttackStep

# Called with (what runs, examples done, examples to do, examples still robust, seconds).
OnProgress = Callable[[str, int, int, int, float], None]


class AttackRunner:
    """Runs attacks on a classifier and test examples, and keeps what is known of them.

    Attributes:
        kept: By name of the attack, adversarial versions of the first examples, float32 NumPy
            [keep, H, W, C]; an example that the attack was not given is in them as it is.

    Args:
        classifier: The classifier to attack.
        images: float32 [n, H, W, C] in [0, 1].
        labels: Integers [n].
        batch_size: How many examples are attacked at once.
        seed: Of all attacks.
        progress: Where progress is kept.
        keep: How many of the first examples' adversarial images are kept, for pictures.
        on_progress: Called after every batch.
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
        self._batch_size, self._seed = batch_size, seed
        self._keep, self._on_progress = keep, on_progress or (lambda *_: None)
        # Traced here, because TensorFlow warns of many functions that are made by the same lines.
        self._predict = tf.function(
            classifier.logits_fn, input_signature=[tf.TensorSpec([None, *images.shape[1:]])]
        ).get_concrete_function()

    def logits(self, images: Images) -> Any:
        """Returns the logits of any number of images, a NumPy array."""
        return np.concatenate(
            [self._predict(tf.constant(b)).numpy() for b in self._batches(images)]
        )

    def _batches(self, rows: Array) -> list[Any]:
        """Returns an array in parts of the size of a batch."""
        return [rows[i : i + self._batch_size] for i in range(0, len(rows), self._batch_size)]

    def clean(self) -> Any:
        """Returns which examples are correctly classified as they are, bool [n]."""
        if self.progress.misclassified is None:
            correct = is_correct(self.logits(self.images), self.labels).numpy()
            self.progress.misclassified = np.flatnonzero(~correct).tolist()
            self.progress.save()
        correct = np.ones(len(self.labels), bool)
        correct[self.progress.misclassified] = False
        return correct

    def attack(
        self, name: str, attack: Attack, robust: Array, *, keep: bool = True
    ) -> tuple[Any, dict[str, Any]]:
        """Attacks the examples that are still robust.

        Args:
            name: Of the attack, in reports and as part of its seed.
            attack: The attack; one with ``components`` runs part by part.
            robust: Which examples to attack, bool [n].
            keep: Whether its adversarial images are kept.

        Returns:
            Which examples are robust afterwards, bool [n], and a record of the run.
        """
        size = self._keep if keep else 0
        parts = getattr(attack, "components", None)
        if parts is None:
            robust, record, kept = self._run(name, name, attack, robust, size)
        else:
            records, kept = {}, self.images[:size]
            for part, component in parts.items():
                given = robust[:size, None, None, None]
                robust, records[part], found = self._run(
                    f"{name}/{part}", part, component, robust, size
                )
                kept = np.where(given, found, kept)
            seconds = sum(record["seconds"] for record in records.values())
            record = {"attack": repr(attack), "seconds": seconds, "components": records}
        if keep:
            self.kept[name] = kept
        return robust, record

    def _run(
        self, name: str, draw: str, attack: Attack, robust: Array, size: int
    ) -> tuple[Any, dict[str, Any], Any]:
        """Runs one attack; returns what it left robust, its record, and ``size`` images."""
        given = np.flatnonzero(robust)
        seed = random.as_seed(self._seed).fold(random.number(draw))
        step = AttackStep(name, attack, self.classifier, self.images.shape[1:], seed)
        key = self.progress.key(name, attack, given, step.graph)
        progress = self.progress.of(key)
        kept = self._kept_images(key, step, given[: progress.done], size)
        while progress.done < len(given):
            begin = time.perf_counter()
            rows = given[progress.done : progress.done + self._batch_size]
            found, correct, sizes = step(self.images[rows], self.labels[rows], rows)
            progress.done += len(rows)
            progress.broken += rows[~correct].tolist()
            progress.norms += [round(float(norm), 6) for norm in sizes[~correct, 1]]
            progress.seconds = round(progress.seconds + time.perf_counter() - begin, 3)
            early = rows < size
            kept[rows[early]] = found[early]
            if early.any():
                done = given[: progress.done]
                self.progress.keep_images(key, done[done < size], kept[done[done < size]])
            self.progress.save()
            left = len(given) - len(progress.broken)
            self._on_progress(name, progress.done, len(given), left, progress.seconds)
        after = robust.copy()
        after[progress.broken] = False
        record = {
            "attack": repr(attack),
            "examples": len(given),
            "broken": len(progress.broken),
            "median_l2": round(float(np.median(progress.norms)), 6) if progress.norms else None,
            "seconds": progress.seconds,
        }
        return after, record, kept

    def _kept_images(self, key: str, step: AttackStep, done: Array, size: int) -> Any:
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
            kept[rows] = step(self.images[rows], self.labels[rows], rows)[0]
        if len(wanted):
            done = done[done < size]
            self.progress.keep_images(key, done, kept[done])
        return kept
