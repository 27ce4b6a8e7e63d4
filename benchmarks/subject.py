"""The network that is evaluated: ours, its copy in PyTorch, and what it classifies correctly."""

from __future__ import annotations

import argparse
import atexit
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.measure import say
from benchmarks.network_file import Network, network_of
from benchmarks.torch_side import TorchSide
from rlfat_tf import data
from rlfat_tf.evaluation.classifier import as_classifier
from rlfat_tf.evaluation.identity import digest
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.storage import checkpoint

LOGIT_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Subject:
    """The network, and the test examples that it classifies correctly.

    Attributes:
        logits_fn: A ``tf.function`` from images to logits.
        images: float32 [n, height, width, channels].
        labels: int32 [n].
        examples: int32 [n]: their places in the test set.
        total: Number of all test examples.
        num_classes: Number of logits.
        network: What its copy in PyTorch is made of.
        copy_fn: From images as above to the copy's logits; None where PyTorch is missing.
    """

    logits_fn: Any
    images: np.ndarray
    labels: np.ndarray
    examples: np.ndarray
    total: int
    num_classes: int
    network: Network
    copy_fn: Any


def logits_of(logits_fn: Any, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Computes logits batch by batch."""
    starts = range(0, len(images), batch_size)
    return np.concatenate([np.asarray(logits_fn(images[i : i + batch_size])) for i in starts])


def right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tells which examples are correctly classified; NaN never is."""
    return (logits.argmax(-1) == labels) & np.isfinite(logits).all(-1)


def prepare(args: argparse.Namespace) -> tuple[Any, Subject, dict[str, Any]]:
    """Loads network and data; also returns what holds for all rows of the output."""
    trained = checkpoint.load(args.workdir, args.checkpoint)
    model: Any = getattr(trained, "model", trained)
    config = TrainConfig.from_json((Path(args.workdir) / "config.json").read_text("utf-8"))
    test = data.load(
        config.dataset,
        data_dir=args.data_dir,
        download=False,
        test_examples=args.test_examples,
        image_size=config.image_size,
    ).test
    images = np.asarray(test.images, np.float32) / (255 if test.images.dtype == np.uint8 else 1)
    images, labels = images.astype(np.float32), test.labels.astype(np.int32)
    classifier = as_classifier(model)
    spec = tf.TensorSpec([None, *images.shape[1:]], tf.float32)
    logits_fn = tf.function(classifier.logits_fn, input_signature=[spec])
    logits = logits_of(logits_fn, images, args.batch_size)
    (chosen,) = np.nonzero(right(logits, labels))
    if not len(chosen):
        raise ValueError(f"The network classifies none of {len(labels)} test examples correctly.")
    network = network_of(model)
    copy_fn = torch_copy(network)
    difference = None
    if copy_fn is not None:
        theirs = logits_of(copy_fn, images, args.batch_size)
        difference = float(np.abs(theirs - logits).max())
        if not difference < LOGIT_TOLERANCE:
            raise ValueError(
                f"Expected the copy's logits to differ by less than {LOGIT_TOLERANCE:g}; they "
                f"differ by {difference:g}: the peers would evaluate another network."
            )
    subject = Subject(
        logits_fn,
        images[chosen],
        labels[chosen],
        chosen.astype(np.int32),
        len(labels),
        logits.shape[-1],
        network,
        copy_fn,
    )
    shared = {
        "network": {
            "name": model.name,
            "method": config.method,
            "digest": digest(logits_fn.get_concrete_function()),
        },
        "data": {"dataset": config.dataset, "part": "test", "examples": len(labels)},
        "clean_accuracy": len(chosen) / len(labels),
        "largest_logit_difference": difference,
    }
    say(
        f"{model.name}: clean accuracy {shared['clean_accuracy']:.4f}, "
        f"largest difference of logits to PyTorch {difference}"
    )
    return model, subject, shared


def torch_copy(network: Network) -> Any:
    """Returns a function of NumPy images to the logits of the copy in PyTorch, or None."""
    try:
        side = TorchSide("logits", network, {})
    except ImportError:
        return None
    atexit.register(side.close)
    return lambda images: side(images=np.asarray(images, np.float32))
