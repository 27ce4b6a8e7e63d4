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
from rlfat_tf.evaluation.classifier import Classifier
from rlfat_tf.evaluation.progress import State

# Called with (what runs, examples done, examples to do, examples still robust, seconds).
Watch = Callable[[str, int, int, int, float], None]
TOLERANCE = 1e-4


class AttackRunner:
    """A classifier, test examples, and what is known of them.

    Args:
        classifier: Whom to runner.
        images: float32 [n, H, W, C] in [0, 1].
        labels: Integers [n].
        batch_size: How many examples are attacked at once.
        seed: Of all attacks.
        state: Where progress is kept.
        keep: How many of the first examples' adversarial images are kept, for pictures.
        watch: Is told of progress.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Any,
        labels: Any,
        *,
        batch_size: int,
        seed: int,
        state: State,
        keep: int = 0,
        watch: Watch | None = None,
    ):
        self.classifier = classifier
        self.images, self.labels = images, labels
        self.state = state
        self.kept: dict[str, Any] = {}
        self._batch_size, self._seed = batch_size, seed
        self._keep, self._watch = keep, watch or (lambda *_: None)
        self._predict = tf.function(
            classifier.logits_fn, input_signature=[tf.TensorSpec([None, *images.shape[1:]])]
        )

    def logits(self, images: Any) -> Any:
        """Returns the logits of any number of images, a NumPy array."""
        batches = range(0, len(images), self._batch_size)
        parts = [self._predict(images[i : i + self._batch_size]).numpy() for i in batches]
        return np.concatenate(parts)

    def clean(self) -> Any:
        """Returns which examples are correctly classified as they are, bool [n]."""
        return is_correct(self.logits(self.images), self.labels).numpy()

    def attack(self, name: str, attack: Attack, robust: Any) -> tuple[Any, dict[str, Any]]:
        """Attacks the examples that are still robust.

        Args:
            name: Of the attack, in reports and as part of its seed.
            attack: The attack; one with ``components`` runs part by part.
            robust: Which examples to attack, bool [n].

        Returns:
            Which examples are robust afterwards, bool [n], and a record of the run.
        """
        parts = getattr(attack, "components", None)
        if parts is None:
            return self._run(name, name, attack, robust)
        records, kept = {}, self.images[: self._keep]
        for part, component in parts.items():
            before = robust
            robust, records[part] = self._run(f"{name}/{part}", part, component, robust)
            broken = (before & ~robust)[: self._keep]
            kept = np.where(broken[:, None, None, None], self.kept[f"{name}/{part}"], kept)
        self.kept[name] = kept
        record = {"attack": repr(attack), "seconds": sum(r["seconds"] for r in records.values())}
        return robust, {**record, "components": records}

    def _run(self, name: str, draw: str, attack: Attack, robust: Any) -> tuple[Any, dict[str, Any]]:
        given = np.flatnonzero(robust)
        key = self.state.key(name.replace("/", "-"), attack, given)
        progress = self.state.progress(key)
        stored = self.state.kept_images(key)
        kept = self.images[: self._keep].copy() if stored is None else stored
        step = self._compile(attack, draw)
        while progress.done < len(given):
            begin = time.perf_counter()
            rows = given[progress.done : progress.done + self._batch_size]
            found, correct, sizes = (
                t.numpy() for t in step(self.images[rows], self.labels[rows], rows)
            )
            self._check(name, attack, found, sizes)
            wrong = ~correct
            progress.done += len(rows)
            progress.broken += rows[wrong].tolist()
            progress.norms += [round(float(size), 6) for size in sizes[wrong, 1]]
            progress.seconds = round(progress.seconds + time.perf_counter() - begin, 3)
            early = rows < self._keep
            kept[rows[early]] = found[early]
            self.state.save(key, kept if early.any() else None)
            left = len(given) - len(progress.broken)
            self._watch(name, progress.done, len(given), left, progress.seconds)
        self.kept[name] = kept
        after = robust.copy()
        after[progress.broken] = False
        return after, {
            "attack": repr(attack),
            "examples": len(given),
            "broken": len(progress.broken),
            "median_l2": round(float(np.median(progress.norms)), 6) if progress.norms else None,
            "seconds": progress.seconds,
        }

    def _compile(self, attack: Attack, draw: str) -> Any:
        """Makes one graph of the attack, the second look at what it found, and its size."""
        seed = random.as_seed(self._seed).fold(random.number(draw))
        shape = [None, *self.images.shape[1:]]

        def step(images: Any, labels: Any, rows: Any) -> Any:
            numbered = seed._replace(examples=rows)
            found = attack(self.classifier.logits_fn, images, labels, seed=numbered)
            # What a gradient that is no number leads to is no image; it counts as not found.
            found = tf.where(tf.math.is_finite(found), found, images)
            delta = tf.reshape(found - images, [tf.shape(images)[0], -1])
            sizes = [tf.reduce_max(tf.abs(delta), -1), tf.norm(delta, axis=-1)]
            correct = is_correct(self.classifier.logits_fn(found), labels)
            return found, correct, tf.stack(sizes, -1)

        signature = [tf.TensorSpec(shape), *[tf.TensorSpec([None], tf.int32)] * 2]
        return tf.function(step, input_signature=signature)

    @staticmethod
    def _check(name: str, attack: Attack, found: Any, sizes: Any) -> None:
        """Refuses to count points outside of the threat model."""
        size = sizes[:, 0 if getattr(attack, "norm", "linf") == "linf" else 1].max()
        inside = size <= getattr(attack, "epsilon", np.inf) + TOLERANCE
        if not (inside and found.min() >= 0 and found.max() <= 1):
            raise RuntimeError(
                f"The attack {name} left its ball or [0, 1]: perturbation {size:g}, pixels from "
                f"{found.min():g} to {found.max():g}. Its result would not count; this is an error "
                f"in {attack!r}."
            )
