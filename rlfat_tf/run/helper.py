"""The helper of a run, where its method takes one: loaded, recorded, and compared when it goes on.

``helper.json`` keeps the digest of the helper's file, so that a run does not go on with another
helper, wherever that file lies by then.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Model
from rlfat_tf.methods import METHODS
from rlfat_tf.methods.options import options_of
from rlfat_tf.methods.wrapped_classifier import WrappedClassifier
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.storage import checkpoint
from rlfat_tf.storage.files import write_text
from rlfat_tf.storage.reading import as_written, read_json

RECORD = "helper.json"
ADVICE = "Remove it if the helper is that of this run: the next training makes it anew."


class Helper(NamedTuple):
    """A classifier that helps to train another.

    Attributes:
        model: The classifier, as it was loaded.
        digest: The SHA-256 of its file.
    """

    model: Model
    digest: str

    @property
    def fingerprint(self) -> int:
        """A number, exact in float64, that other helpers do not share."""
        return int(self.digest[:12], 16)


def load(config: TrainConfig) -> Helper | None:
    """Loads the helper that a run asks for; None of a method that takes none.

    Raises:
        ValueError: If there is none, or its file must not be loaded or is damaged.
    """
    if "helper_model" not in options_of(METHODS[config.method]):
        return None
    how = (
        "Train one first, without an adversary: python train.py "
        f"--dataset={config.dataset} --method=standard --workdir=<folder>, then give "
        "--helper_model=<folder>."
    )
    if config.helper_model is None:
        raise ValueError(f"--method={config.method} needs --helper_model. {how}")
    path = Path(config.helper_model)
    try:
        file = checkpoint.model_path(path) if path.is_dir() else path
        model = checkpoint.load(file)
    except FileNotFoundError as error:
        raise ValueError(f"--helper_model: {error} {how}") from error
    model = model.model if isinstance(model, WrappedClassifier) else model
    return Helper(model, str(checkpoint.digest(file)))


def in_this_scope(helper: Helper) -> Model:
    """Returns the helper made anew with the variables of the strategy's scope.

    Keras 2 cannot load a model in such a scope, and uses none that was made outside of it.
    """
    packed = keras.saving.serialize_keras_object(helper.model)
    model = keras.saving.deserialize_keras_object(packed)
    compat.set_weights(model, helper.model.get_weights())
    return model


def check_same(workdir: Path, helper: Helper | None) -> None:
    """Refuses to go on with a run with another helper than it began with.

    Raises:
        ValueError: If the helper is another one, or the record is damaged.
    """
    path = workdir / RECORD
    if helper is None or not path.is_file():
        return
    record = read_json(path, ADVICE)
    with as_written(path, ADVICE):
        there = str(record["sha256"])
    if there != helper.digest:
        raise ValueError(
            f"The run in {workdir} began with another --helper_model: its file had the SHA-256 "
            f"{there[:12]}..., and this one has {helper.digest[:12]}... Give that one, or choose "
            "another --workdir."
        )


def write_record(workdir: Path, helper: Helper | None) -> None:
    """Writes ``helper.json``, where there is a helper."""
    if helper is not None:
        write_text(workdir / RECORD, json.dumps({"sha256": helper.digest}, indent=2) + "\n")
