"""The data of a run: loaded, looked at, recorded, and compared with those the run began with."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf import data
from rlfat_tf.core.errors import warn
from rlfat_tf.data.content import without_place
from rlfat_tf.data.reading import Options
from rlfat_tf.data.subset import stratified
from rlfat_tf.data.view import View
from rlfat_tf.evaluation.corrupted_examples import AuthorsFiles
from rlfat_tf.models import zoo
from rlfat_tf.run import class_names
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.data_checks import (
    check_classes,
    check_extra_share,
    shortened,
    warn_of_classes,
    warn_of_dark,
    warn_of_flip,
)
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.workdir import read_config
from rlfat_tf.storage.files import write_text
from rlfat_tf.storage.reading import as_written, read_json
from rlfat_tf.storage.saved_model import CLASS_NAMES

RECORD = "data.json"
# Test images for models of other sets, whose classes they number in the same order without names.
OF_ANOTHER_SET = ("corrupted:", "tfds:cifar10_corrupted/", "tfds:cifar10_1")


def load_for_training(
    config: TrainConfig,
) -> tuple[data.DataSet, data.Source | data.Mixture, data.Source | None]:
    """Loads the data of a run, and warns of what is wrong with them.

    Returns:
        The data set; its training examples without those set aside for validation (the data set
        holds no others then either, so that memory does not), and with the extra data of the run,
        where it has some; and those for validation: the set's own
        validation part, where it has one; else with ``validation_examples`` the ones that follow
        the training examples, or a random part of them. None if both options are 0.
    """
    check_extra_share(config.extra_data, config.extra_share)
    following = config.validation_examples or 0
    memory = _memory(config)
    data_set = data.load(
        config.dataset,
        data_dir=config.data_dir,
        download=config.download,
        train_examples=config.train_examples,
        following=following,
        test_examples=config.test_examples,
        image_size=config.image_size,
        skip_unreadable=config.skip_unreadable,
        background=config.background,
        memory=memory,
        view=config.view,
        cache_dir=config.cache_dir,
    )
    print(where_it_is(data_set), flush=True)
    train, validation = data_set.train, None
    if data_set.validation is not None and (following or config.validation_fraction):
        validation = data_set.validation
        if following:
            warn(
                f"The data set has {len(validation)} validation images of its own, which are used: "
                f"--validation_examples={following} sets no training images aside."
            )
    elif following:
        train, validation = data.split_end(train, following)
        if following > len(train):
            warn(
                f"--validation_examples={following} sets {following} of {len(train) + following} "
                "training images aside. Is it meant for a larger data set? For a share of them "
                "give --validation_examples=0 --validation_fraction=0.1."
            )
    elif config.validation_fraction:
        train, validation = data.split(train, config.validation_fraction, config.seed)
    check_classes(train, data_set.class_names)
    warn_of_classes(data_set)
    warn_of_flip(config.dataset, config.augment)
    warn_of_dark(train, "training")
    data_set = dataclasses.replace(data_set, train=train)
    if config.extra_data is None:
        return data_set, train, validation
    look = View(config.image_size, config.view)
    extra = data.open_several(config.extra_data.split(","), look)
    examples = data.Mixture(train, extra, config.extra_share, config.extra_label_smoothing)
    examples.check_classes(data_set.num_classes)
    warn_of_dark(extra, "extra")
    content = {**data_set.content, "extra": extra.describe()}
    return dataclasses.replace(data_set, content=content), examples, validation


def _memory(config: TrainConfig) -> str:
    """Returns whether images are held in memory; windows are cut out of images as stored.

    Raises:
        ValueError: If they are to be held, though windows are cut out of images of other sizes.
    """
    resized = config.image_size is not None and data.augment.parse(config.augment).cuts
    if not resized:
        return config.memory
    if config.memory == "always":
        raise ValueError(
            f"--augment={config.augment} cuts windows out of the images as they are stored, and "
            "--memory=always would hold them resized. Leave --memory out."
        )
    return "never"


def where_it_is(data_set: data.DataSet) -> str:
    """Says in a line whether the images of a data set are in memory."""
    count = len(data_set.train) + len(data_set.test) + len(data_set.validation or ())
    size = count * int(np.prod(data_set.image_shape)) / 2**20
    shape = " x ".join(map(str, data_set.image_shape))
    in_memory = isinstance(data_set.test, data.Arrays)
    where = "held in memory" if in_memory else "read from disk when they are needed (--memory)"
    return f"{count} images of {shape}, {size:.0f} MiB, are {where}."


def fingerprint(data_set: data.DataSet) -> int:
    """Returns a number that data of other content or other classes do not share, but by chance."""
    return zlib.crc32(json.dumps(_record(data_set), sort_keys=True).encode())


def write_record(workdir: Path, data_set: data.DataSet) -> None:
    """Writes ``data.json``: the classes of a run and what identifies the content of its data."""
    write_text(workdir / RECORD, json.dumps(_record(data_set), indent=2) + "\n")


def _record(data_set: data.DataSet) -> dict[str, Any]:
    return {
        "class_names": list(data_set.class_names),
        "image_shape": list(data_set.image_shape),
        "content": dict(data_set.content),
    }


def read_record(workdir: Path) -> dict[str, Any] | None:
    """Returns what ``data.json`` holds; None if there is none.

    Raises:
        ValueError: If it is damaged.
    """
    path = workdir / RECORD
    if not path.is_file():
        return None
    advice = "Remove it if the data are those of this run: the next training makes it anew."
    record = read_json(path, advice)
    with as_written(path, advice):
        return {
            "class_names": [str(name) for name in record["class_names"]],
            "image_shape": [int(side) for side in record["image_shape"]],
            "content": {str(part): str(line) for part, line in record["content"].items()},
        }


def check_same_data(workdir: Path, data_set: data.DataSet) -> None:
    """Refuses to go on with a run on other data than it began with.

    Raises:
        ValueError: If classes or content are others.
    """
    there = read_record(workdir)
    if there is None:
        if (workdir / "config.json").is_file():
            print(
                f"The run in {workdir} was begun by a version that kept no record of its data: "
                "whether they are the same is not checked.",
                flush=True,
            )
        return
    differences = _differences(there, _record(data_set))
    if differences:
        raise ValueError(
            f"The data of the run in {workdir} have changed: {'; '.join(differences)}. Choose "
            "another --workdir, or bring the data back to what they were."
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    said = []
    lost = sorted(set(there["class_names"]) - set(here["class_names"]))
    new = sorted(set(here["class_names"]) - set(there["class_names"]))
    if new:
        said.append(f"there are new classes ({shortened(new)})")
    if lost:
        said.append(f"classes are gone ({shortened(lost)})")
    before, now = there["content"], here["content"]
    for part in {**now, **before} if before else ():  # version 0.1 recorded no content
        had, has = before.get(part, "nothing"), now.get(part, "nothing")
        if had != has:
            said.append(f"the {part} part had {had}, and has {has} now")
    if not said and there["class_names"] != here["class_names"]:
        said.append("the classes have another order")
    if not said and there["image_shape"] != here["image_shape"]:
        said.append(f"images had shape {there['image_shape']}, and have {here['image_shape']} now")
    return said


def load_for_evaluation(
    config: EvalConfig, image_shape: Sequence[int | None] | None
) -> data.DataSet:
    """Loads the test part on which a model is evaluated; its classes are numbered as the model's.

    Args:
        config: The evaluation, completed.
        image_shape: Of the images that the model takes; None if that is not known.

    Raises:
        ValueError: If there are test images of classes that the model does not know.
    """
    channels = image_shape[-1] if image_shape is not None and len(image_shape) == 3 else None
    data_set = data.load(
        str(config.dataset),
        data_dir=config.data_dir,
        download=config.download,
        test_examples=config.test_examples if config.test_subset == "first" else None,
        image_size=config.image_size,
        skip_unreadable=bool(config.skip_unreadable),
        background=config.background or "white",
        channels=channels if channels in (1, 3) else None,
        test_only=True,
        memory=config.memory,
        view=config.view or "squash",
        cache_dir=config.cache_dir,
    )
    print(where_it_is(data_set), flush=True)
    warn_of_dark(data_set.test, "test")
    data_set = _classes_of_model(config, data_set, config.dataset)
    record = None if config.workdir is None else read_record(Path(config.workdir))
    if record is not None and without_place(str(config.dataset)) == without_place(
        _dataset_of_run(config)
    ):
        there, here = record["content"].get("test"), data_set.content.get("test")
        if here is not None and there not in (None, here):
            warn(
                f"The test part of {config.dataset} is not the one of this run, which had "
                f"{there}: it has {here} now. Images that the run was trained on may be among "
                "them."
            )
    return data_set


def _classes_of_model(
    config: EvalConfig, data_set: data.DataSet, dataset: str | None
) -> data.DataSet:
    """Numbers classes as the model of an evaluation does, where it is known how."""
    names = _class_names(config.path)
    if names is None:
        return data_set
    if _numbered(dataset, data_set, names):
        return dataclasses.replace(data_set, num_classes=len(names), class_names=tuple(names))
    return class_names.match(data_set, names)


def corrupted_by_authors(config: EvalConfig) -> AuthorsFiles:
    """Opens the folder of corrupted images of an evaluation.

    Raises:
        FileNotFoundError: If it holds none.
    """
    options = Options(
        test_examples=config.test_examples,
        image_size=config.image_size,
        skip_unreadable=bool(config.skip_unreadable),
        background=config.background or "white",
        memory=config.memory,
        view=config.view or "squash",
    )
    return AuthorsFiles(
        str(config.corruption_dir),
        options,
        lambda found: _classes_of_model(config, found, "corrupted:"),
    )


def _numbered(dataset: str | None, data_set: data.DataSet, names: Sequence[str]) -> bool:
    """Tells whether classes have numbers for want of names: those of the data set it came from."""
    made_of_another = str(dataset).startswith(OF_ANOTHER_SET)
    return made_of_another and data_set.class_names == tuple(map(str, range(len(names))))


def _dataset_of_run(config: EvalConfig) -> str:
    return read_config(str(config.workdir)).dataset


def _class_names(path: str) -> Sequence[str] | None:
    """Returns the class names that a run, a SavedModel or a pretrained network brings."""
    if path.startswith(zoo.PREFIX):
        return zoo.card_of(path).class_names
    place = Path(path).expanduser().absolute()
    of_run = place.is_file() and place.parent.name == "checkpoints"
    record = read_record(place.parents[1] if of_run else place)
    if record is not None:
        return list(record["class_names"])
    for assets in (place / "assets", place / "export" / "assets"):
        if (assets / CLASS_NAMES).is_file():
            return (assets / CLASS_NAMES).read_text(encoding="utf-8").splitlines()
    return None


def chosen_examples(
    config: EvalConfig, data_set: data.DataSet
) -> tuple[data.Source, np.ndarray, dict[str, Any]]:
    """Returns the test examples that an evaluation is of.

    Warns where the first examples leave classes out that they should hold: that is how examples
    look which are sorted by class.

    Args:
        config: The evaluation, completed.
        data_set: From :func:`load_for_evaluation`.

    Returns:
        The examples, their numbers in the test part, and what a report says of the choice: nothing
        if all examples are taken.

    Raises:
        ValueError: If there are not so many examples.
    """
    test, count = data_set.test, config.test_examples
    if count is None:
        return test, np.arange(len(test)), {}
    if config.test_subset == "stratified":
        numbers = stratified(test.labels, count, config.subset_seed)
        said = {"how": "stratified", "seed": config.subset_seed, "of": len(test)}
        return test.take(numbers), numbers, {"test_subset": said}
    held = np.bincount(test.labels, minlength=data_set.num_classes) > 0
    # Ten a class: of a random order the chance to miss a given one is e^-10.
    if len(test) >= 10 * data_set.num_classes and not held.all():
        missing = [data_set.class_names[label] for label in np.flatnonzero(~held)]
        warn(
            f"The first {len(test)} test examples hold none of the classes {shortened(missing)}. "
            "Are the examples sorted by class? --test_subset=stratified takes examples of every "
            "class."
        )
    return test, np.arange(len(test)), {"test_subset": {"how": "first"}}
