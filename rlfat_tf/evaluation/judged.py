"""What an evaluation judges: the network, what trained it, and the file it was read from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.classifier import Classifier
from rlfat_tf.methods import METHODS
from rlfat_tf.methods.base import AdversarialModel

CHUNK = 1 << 20


def network_facts(classifier: Classifier) -> dict[str, Any]:
    """Returns what a classifier itself tells of its network and its training.

    Returns:
        ``network`` (its name) and ``parameters`` (how many numbers it holds) where they are known;
        of a model of this library also ``method`` and ``training_attack``, None without one.
    """
    model = classifier.keeper
    if not isinstance(model, keras.Model):
        variables = getattr(model, "variables", None)
        count = sum(int(np.prod(variable.shape)) for variable in variables or ())
        return {"parameters": count} if count else {}
    if not isinstance(model, AdversarialModel):
        return {"network": model.name, "parameters": int(model.count_params())}
    method = [name for name, kind in METHODS.items() if kind is type(model)]
    return {
        "network": model.model.name,
        "parameters": int(model.model.count_params()),
        "method": method[0] if method else type(model).__name__,
        "training_attack": model.perturbation,
    }


def weights_digest(classifier: Classifier) -> str:
    """Returns the SHA-256 of the weights of a classifier, hexadecimal; "" if it shows none."""
    model, total = classifier.keeper, hashlib.sha256()
    if isinstance(model, keras.Model):
        weights = (model.model if isinstance(model, AdversarialModel) else model).get_weights()
    else:
        weights = [variable.numpy() for variable in getattr(model, "variables", None) or ()]
    for weight in weights:
        total.update(np.ascontiguousarray(weight).tobytes())
    return total.hexdigest() if weights else ""


def digest_of(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, hexadecimal; of a folder, that of its files with their names.

    The same model under another name or in another folder has the same digest.
    """
    path, total = Path(path), hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            total.update(file.relative_to(path).as_posix().encode() + b"\0")
        with open(file, "rb") as content:
            while part := content.read(CHUNK):
                total.update(part)
    return total.hexdigest()
