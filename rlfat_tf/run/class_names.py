"""The classes of test images, numbered as a model does that was trained on other images."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from rlfat_tf import data
from rlfat_tf.core.errors import warn
from rlfat_tf.data.prepared import CLASS_NAMES
from rlfat_tf.run.data_checks import shortened


def match(data_set: data.DataSet, class_names: Sequence[str]) -> data.DataSet:
    """Numbers the classes of a data set as a model does, which may know more of them.

    Args:
        data_set: Whose test part is evaluated.
        class_names: The classes of the model, in the order of its outputs.

    Raises:
        ValueError: If there are test images of a class that is not among them, or of one whose name
            does not tell it from another.
    """
    theirs, own = ([*map(_composed, names)] for names in (class_names, data_set.class_names))
    number = {name: label for label, name in enumerate(theirs)}
    found = range(len(own)) if own == theirs else [number.get(name, -1) for name in own]
    labels = np.array(found, np.int64)[data_set.test.labels]
    there = [data_set.class_names[i] for i in np.unique(data_set.test.labels)]
    unknown = [name for name in there if _composed(name) not in number]
    if unknown:
        raise ValueError(
            f"Expected images of the classes that the model has learned: "
            f"{shortened(class_names)}; received some of {shortened(unknown)}. Classes are "
            "matched by name: rename or remove the folders of those that the model does not know, "
            f"or correct {CLASS_NAMES}."
        )
    several = [n for n in there if max(of.count(_composed(n)) for of in (own, theirs)) > 1]
    if several and own != theirs:
        raise ValueError(
            f"Expected class names that tell classes apart, for they are matched by name; received "
            f"several classes called {shortened(several)}. Give each a name of its own, the same "
            "in the model and in the data."
        )
    return data.DataSet(
        data.Arrays.none(data_set.image_shape),
        data_set.test.relabelled(labels),
        len(class_names),
        tuple(class_names),
        content=data_set.content,
    )


def warn_of_fewer(class_names: Sequence[str], outputs: int) -> None:
    """Warns where a model tells more classes apart than there are, and its own have no names.

    Args:
        class_names: Those of the data, as they are numbered.
        outputs: How many classes the model has.
    """
    named = list(class_names) != [*map(str, range(len(class_names)))]
    if named and len(class_names) < outputs:
        warn(
            f"The model tells {outputs} classes apart and the data set has {len(class_names)}. "
            "What the classes of the model are called is not known, so the first class of the data "
            f"set, {class_names[0]!r}, is taken for the first output of the model, and so on. If a "
            "class between them is missing, the accuracy is wrong: evaluate the folder of the run "
            "(--workdir) or its SavedModel, which know the names, or give every class its folder."
        )


def _composed(name: str) -> str:
    """A name as it is in a SavedModel, which keeps one blank for any white space."""
    return unicodedata.normalize("NFC", " ".join(name.split()))
