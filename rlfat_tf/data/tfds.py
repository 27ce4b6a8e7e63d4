"""Image classification sets of TensorFlow Datasets (TFDS).

Data that TFDS has prepared before are found and read as they are, in whatever version they have on
disk; only if there are none, and downloading is allowed, TFDS's own builder prepares them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
import requests
import tensorflow as tf

from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Tensor
from rlfat_tf.data.arrays import Arrays, DataSet
from rlfat_tf.data.memory import holds
from rlfat_tf.data.reading import READ_BATCH, Options, Unreadable, check_count, read
from rlfat_tf.data.records import Part, Records, make_index
from rlfat_tf.data.source import Source

ANSWER_SECONDS = 10.0  # a server that has not begun to answer by then counts as unreachable


def load(name: str, options: Options) -> DataSet:
    """Loads a TFDS data set.

    The test part is the split ``test``, or else ``validation``, or else the last fifth of
    ``train``. Where there are both, ``validation`` is the validation part; but where the labels of
    ``test`` were never published, as those of ImageNet, ``test`` is not used. A set without
    ``train``, such as ``cifar10_corrupted``, has a test part only.

    Args:
        name: ``"<name>"`` or ``"<name>/<config>"``. Of a set of corrupted images the config says
            which corruption, so it must be there.
        options: ``data_dir`` None means the environment's ``TFDS_DATA_DIR``, or else TFDS's
            default folder. Without ``download`` the network is not touched.

    Returns:
        Images uint8, labels int64.

    Raises:
        FileNotFoundError: If the data set is not on disk, and may not or could not be downloaded.
        ImportError: If TFDS is not installed.
        ValueError: If the name is unknown, the set is not one for image classification, its images
            differ in size and ``image_size`` is not given, it is too large, or there is nothing to
            train on and ``test_only`` is not given.
    """
    _check_corruption_named(name)
    builder = _builder(name, options)
    image_key, label_key = _keys(name, builder.info)
    features = builder.info.features
    shape = _image_shape(name, features[image_key], options.image_size)

    def finish(image: Tensor) -> Tensor:
        return tf.ensure_shape(options.look(image), shape)

    splits = _splits(name, builder, label_key, options.test_only)
    pairs = {
        part: _pairs(builder, split_name, (image_key, label_key), finish)
        for part, split_name in splits.items()
    }
    options = options.for_parts(pairs)
    numbers = {part: options.number(part, count) for part, (_, count) in pairs.items()}
    in_memory = holds(options.memory, sum(numbers.values()), shape)
    parts: dict[str, Source] = {"train": Arrays.none(shape)}
    content = {}
    for part, split_name in splits.items():
        examples, available = pairs[part]
        if in_memory:
            parts[part] = Arrays(*read(examples, numbers[part]))
        else:
            stored = _records(builder, split_name, (image_key, label_key), shape, options)
            check_count(available, len(stored))
            parts[part] = stored.take(slice(numbers[part]))
        content[part] = f"{available} examples of {builder.info.full_name}, {split_name}"
    label = features[label_key]
    return DataSet(
        parts["train"],
        parts["test"],
        label.num_classes,
        tuple(label.names),
        parts.get("validation"),
        content,
    )


def _import_tfds() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"TensorFlow Datasets cannot be imported ({error}). "
            "Run: pip install tensorflow-datasets importlib_resources"
        ) from error
    return tensorflow_datasets


def _check_corruption_named(name: str) -> None:
    """Refuses a set of corrupted images without a config.

    TFDS would take the first one: of ``cifar10_corrupted`` the mildest change of brightness, of
    ``mnist_corrupted`` images that are not corrupted at all.
    """
    if "/" in name or not name.endswith("_corrupted"):
        return
    tfds = _import_tfds()
    try:
        configs = list(tfds.builder_cls(name).builder_configs)
    except tfds.core.registered.DatasetNotFoundError:
        return  # somebody's own
    if configs:
        raise ValueError(
            f"Expected tfds:{name}/<config>: every corruption of the TFDS data set {name!r} is a "
            f"config of its own. Configs: {', '.join(configs)}."
        )


def _builder(name: str, options: Options) -> Any:
    tfds = _import_tfds()
    default = os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    data_dir = tfds.core.Path(options.data_dir or default).expanduser()  # may be in a bucket
    prepared = _prepared_folder(data_dir / name)
    if prepared is not None:
        try:
            return tfds.builder_from_directory(str(prepared))
        except Exception as error:  # of many kinds, by what is missing
            raise Unreadable(
                f"The data set in {str(prepared)!r} is incomplete or damaged ({error}). Remove "
                "this folder and prepare the data set again."
            ) from error
    if not options.download:
        raise FileNotFoundError(
            f"The data set {name!r} is not in {str(data_dir / name)!r}, and downloading is "
            "switched off. Allow it (--download), or prepare the data set with: "
            f"tfds build {name} --data_dir={data_dir}"
        )
    try:
        builder = tfds.builder(name, data_dir=str(data_dir), try_gcs=False)
    except tfds.core.registered.DatasetNotFoundError as error:
        catalog = "All of them: https://www.tensorflow.org/datasets/catalog/overview."
        raise unknown("TFDS data set", name, tfds.list_builders(), catalog) from error
    _keys(name, builder.info)  # refused before it is downloaded
    _check_reachable(builder, name, str(data_dir))
    try:
        builder.download_and_prepare()
    except Exception as error:
        raise FileNotFoundError(
            f"TFDS could not download or prepare {name!r} in {str(data_dir)!r}: {error}"
        ) from error
    return builder


def _check_reachable(builder: Any, name: str, data_dir: str) -> None:
    """Fails soon where TFDS would try again for minutes.

    Raises:
        FileNotFoundError: If the server of the data set does not answer.
    """
    url = next(iter(getattr(builder, "url_infos", None) or ()), None)
    if url is None or not str(url).startswith("http"):
        return
    failed: list[Exception] = []

    def ask() -> None:
        try:
            requests.get(url, stream=True, timeout=ANSWER_SECONDS).close()
        except requests.RequestException as error:
            failed.append(error)

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name has no time limit
    asking.start()
    asking.join(1.5 * ANSWER_SECONDS)
    if asking.is_alive() or failed:
        reason = type(failed[0]).__name__ if failed else "no answer"
        raise FileNotFoundError(
            f"The data set {name!r} is not in {data_dir!r}, and its server cannot be reached "
            f"({url}: {reason}). On a machine that can reach it, prepare the data set with: "
            f"tfds build {name} --data_dir=<folder>. Then copy that folder here and name it with "
            "--data_dir or TFDS_DATA_DIR."
        )


def _prepared_folder(folder: Any) -> Any:
    """Returns the newest version in a data set's folder, or in its only config's, or None."""
    found = _newest(folder)
    if found is not None or not folder.is_dir():
        return found
    configs = [found for sub in sorted(folder.iterdir()) if (found := _newest(sub)) is not None]
    if len(configs) > 1:
        names = ", ".join(path.parent.name for path in configs)
        raise ValueError(
            f"{str(folder)!r} holds several configs of this data set: {names}. "
            f"Name one: tfds:{folder.name}/{configs[0].parent.name}"
        )
    return configs[0] if configs else None


def _newest(folder: Any) -> Any:
    versions = dict(_versions(folder))
    return versions[max(versions)] if versions else None


def _versions(folder: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    for info in folder.glob("*/dataset_info.json"):
        numbers = info.parent.name.split(".")
        if all(number.isdigit() for number in numbers):
            yield tuple(int(number) for number in numbers), info.parent


def _keys(name: str, info: Any) -> tuple[str, str]:
    """Returns the names of the image and the label feature."""
    tfds = _import_tfds()
    is_dict = isinstance(info.features, tfds.features.FeaturesDict)
    features = dict(info.features.items()) if is_dict else {}
    for keys in (info.supervised_keys, ("image", "label")):
        if keys is None or len(keys) != 2 or not all(isinstance(key, str) for key in keys):
            continue
        image, label = (features.get(key) for key in keys)
        if (
            isinstance(image, tfds.features.Image)
            and isinstance(label, tfds.features.ClassLabel)
            and image.np_dtype == np.uint8
        ):
            return keys[0], keys[1]
    raise ValueError(
        f"The TFDS data set {name!r} is not one for image classification: expected a feature "
        f"with 8-bit images and one with class labels; it has {info.features}."
    )


def _image_shape(name: str, feature: Any, size: int | None) -> tuple[int, int, int]:
    height, width, channels = feature.shape
    if size is not None:
        height = width = size
    if None in (height, width, channels):
        raise ValueError(
            f"The images of the TFDS data set {name!r} differ in size (shape {feature.shape}). "
            "Say what size to bring them to: --image_size=64, for instance."
        )
    return height, width, channels


def _splits(name: str, builder: Any, label: str, test_only: bool) -> dict[str, str]:
    """Returns the split of each part that is read."""
    names = list(builder.info.splits) or ["train", "test"]  # TFDS's mock data name no splits
    if {"test", "validation"} <= {*names} and not _is_labelled(builder, "test", label):
        names.remove("test")
    test = next((split for split in ("test", "validation") if split in names), None)
    if "train" not in names and (test is None or not test_only):
        raise ValueError(
            f"The TFDS data set {name!r} has no split 'train', only {names}."
            + (
                " A model can be evaluated on it (eval.py; in Python load it with test_only=True), "
                "but not trained."
                if test
                else ""
            )
        )
    parts = {"train": "train" if test else "train[:80%]", "test": test or "train[80%:]"}
    if test == "test" and "validation" in names:
        parts["validation"] = "validation"
    return {part: split for part, split in parts.items() if part == "test" or not test_only}


def _is_labelled(builder: Any, split_name: str, label: str) -> bool:
    """Tells whether the first example of a split has a label: TFDS writes -1 for a secret one."""
    tfds = _import_tfds()
    first = builder.as_dataset(
        split=f"{split_name}[:1]",
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding({label: True}),
    )
    try:
        return all(row[label] >= 0 for row in first.as_numpy_iterator())
    except tf.errors.OpError:  # told where the split is read
        return True


def _pairs(
    builder: Any,
    split_name: str,
    keys: tuple[str, str],
    finish: Callable[[Tensor], Tensor],
) -> tuple[tf.data.Dataset, int]:
    """Returns a split's (image, label) pairs in the order of the files, and how many there are."""
    tfds = _import_tfds()
    image, label = keys
    files = _record_files(builder, split_name)
    if not files:
        examples = builder.as_dataset(
            split=split_name,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding({image: True, label: True}),
            # One file after the other: the first N examples are those of the first files.
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        pairs = examples.map(lambda row: (finish(row[image]), row[label]), tf.data.AUTOTUNE)
        return pairs, int(examples.cardinality())
    # Parsed in batches: as_dataset parses one by one, which takes twice as long for CIFAR-10.
    spec = {image: tf.io.FixedLenFeature([], tf.string), label: tf.io.FixedLenFeature([], tf.int64)}
    columns = ([file.filename for file in files], [f.skip for f in files], [f.take for f in files])
    records = tf.data.Dataset.from_tensor_slices(tuple(tf.constant(column) for column in columns))
    records = records.flat_map(lambda name, *part: _slice(tf.data.TFRecordDataset(name), *part))
    rows = records.batch(READ_BATCH).map(lambda some: tf.io.parse_example(some, spec)).unbatch()
    decode = builder.info.features[image].decode_example
    pairs = rows.map(lambda row: (finish(decode(row[image])), row[label]), tf.data.AUTOTUNE)
    return pairs, builder.info.splits[split_name].num_examples


def _slice(records: tf.data.Dataset, skip: Tensor, take: Tensor) -> tf.data.Dataset:
    return records.skip(tf.cast(skip, tf.int64)).take(tf.cast(take, tf.int64))


def _records(
    builder: Any,
    split_name: str,
    keys: tuple[str, str],
    shape: tuple[int, int, int],
    options: Options,
) -> Records:
    """Returns a split whose records are read when they are needed."""
    image, label = keys
    files = _record_files(builder, split_name)
    parts = [Part(str(file.filename), int(file.skip), int(file.take)) for file in files]
    if not parts or any("://" in part.path for part in parts):
        raise ValueError(
            f"{builder.info.full_name} does not lie in TFRecord files on a disk, and cannot be "
            "read from where it is. Read it into memory (--memory=always), or prepare it again "
            "on a disk: tfds build --file_format=tfrecord."
        )
    labels = {label: tf.io.FixedLenFeature([], tf.int64)}
    images = {image: tf.io.FixedLenFeature([], tf.string)}
    decode = builder.info.features[image].decode_example
    index = make_index(
        parts, lambda some: tf.io.parse_example(some, labels)[label], options.cache_dir
    )
    return Records(
        [part.path for part in parts],
        index,
        shape,
        lambda one: decode(tf.io.parse_single_example(one, images)[image]),
        options.look,
    )


def _record_files(builder: Any, split_name: str) -> list[Any]:
    """Returns what to read of which TFRecord files; nothing if this is another kind of data."""
    if not builder.info.splits or builder.info.file_format.value != "tfrecord":
        return []
    files = list(builder.info.splits[split_name].file_instructions)
    return files if all(tf.io.gfile.exists(file.filename) for file in files) else []
