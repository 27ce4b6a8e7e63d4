"""Several classifiers as one: the mean of their logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rlfat_tf.core.types import Images, Logits
from rlfat_tf.evaluation.classifier import Classifier, as_classifier


def ensemble(models: Sequence[Any]) -> Classifier:
    """Returns one classifier whose logits are the mean of several models' logits.

    As the source of a transfer it makes examples that break what its members have in common (Liu
    et al., "Delving into Transferable Adversarial Examples and Black-box Attacks", ICLR 2017; of
    the ways to join them the mean of logits transfers best, Dong et al., "Boosting Adversarial
    Attacks with Momentum", CVPR 2018).

    Args:
        models: At least one of what :func:`evaluate` takes, for the same images and classes.

    Raises:
        ValueError: If there is none, or their images differ.
    """
    classifiers = [as_classifier(model) for model in models]
    if not classifiers:
        raise ValueError("Expected at least one classifier; received none.")
    if len(classifiers) == 1:
        return classifiers[0]
    shape = tf.TensorShape(None)
    for classifier in classifiers:
        try:
            shape = shape.merge_with(tf.TensorShape(classifier.image_shape))
        except ValueError as error:
            shapes = {c.name: str(tf.TensorShape(c.image_shape)) for c in classifiers}
            raise ValueError(
                f"Expected sources that take the same images; received {shapes}."
            ) from error

    def logits_fn(images: Images) -> Logits:
        logits = [classifier.logits_fn(images) for classifier in classifiers]
        if len({member.shape[-1] for member in logits}) > 1:
            counts = {c.name: member.shape[-1] for c, member in zip(classifiers, logits)}
            raise ValueError(f"Expected sources of the same classes; received {counts}.")
        widest = max((member.dtype for member in logits), key=lambda dtype: dtype.size)
        return tf.add_n([tf.cast(member, widest) for member in logits]) / len(logits)

    name = "mean of " + ", ".join(classifier.name for classifier in classifiers)
    known = None if shape.rank is None else shape
    return Classifier(logits_fn, name, known, [c.keeper for c in classifiers])
