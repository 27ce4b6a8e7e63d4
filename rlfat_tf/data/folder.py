"""``folder:<path>``: a folder of class folders with image files."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Callable

import numpy as np
import tensorflow as tf

from rlfat_tf.core.errors import warn
from rlfat_tf.core.types import Tensor
from rlfat_tf.data import content
from rlfat_tf.data.arrays import Arrays, DataSet
from rlfat_tf.data.decode import decode
from rlfat_tf.data.layout import list_folder
from rlfat_tf.data.listing import File, Listing, straddling_tracks
from rlfat_tf.data.reading import Options, Unreadable, check_budget, resize

SHOWN = 10  # unreadable files that a message names
CHUNK = 64  # images that may wait for their place in the array


def load(path: str, options: Options) -> DataSet:
    """Loads ``<path>/train/<class>/*``, ``<path>/test/<class>/*`` and, if there, ``val``.

    ``val``, ``valid`` or ``validation`` stand in for a missing ``test``. If there is only one
    level, ``<path>/<class>/*``, about a fifth of every class becomes the test part, by a digest of
    the files' names. Classes are numbered in the order of their names. The files of a part are put
    in a fixed mixed order (that of a digest of class and name), so that the first N are of all
    classes. Images are read as RGB; where all are grey they get one channel.

    Args:
        path: The folder; ``~`` is expanded.
        options: ``data_dir`` and ``download`` are not used. Images of different sizes need
            ``image_size``.

    Returns:
        Images uint8, labels int64.

    Raises:
        FileNotFoundError: If the folder or a part of it does not exist.
        ValueError: If there are no images, classes differ between the parts, a class has none,
            files cannot be read (and ``skip_unreadable`` is not given), or the images differ in
            size and ``image_size`` is not given.
    """
    return load_listing(list_folder(path), options)


def load_listing(listing: Listing, options: Options) -> DataSet:
    """Loads the files of an index, as :func:`load` does.

    Args:
        listing: The index of a folder.
        options: With ``test_only`` the index needs no training part.

    Raises:
        ValueError: As :func:`load`.
    """
    if listing.left_out:
        warn(f"Left out of {listing.root!r}: {'; '.join(listing.left_out)}.")
    files = {p: f for p, f in listing.parts.items() if p == "test" or not options.test_only}
    contents = {part: content.digests(of_part) for part, of_part in files.items()}
    if not options.test_only:
        _warn_of_twins(listing, contents)
    arrays = _read_parts(files, listing.class_names, options)
    grey = all(_grey(part.images) for part in arrays.values())
    if options.channels == 1 and not grey:
        raise ValueError(
            f"Expected grey images, of one channel; those of {listing.root!r} have colours."
        )
    if grey and options.channels != 3:
        arrays = {
            part: Arrays(of_part.images[..., :1].copy(), of_part.labels)
            for part, of_part in arrays.items()
        }
    return DataSet(
        arrays.get("train", Arrays.none(arrays["test"].images.shape[1:])),
        arrays["test"],
        len(listing.class_names),
        listing.class_names,
        arrays.get("validation"),
        {part: content.describe(of_part, contents[part]) for part, of_part in files.items()},
    )


def _warn_of_twins(listing: Listing, contents: Mapping[str, Mapping[File, bytes]]) -> None:
    """Warns of test images that are training images too, or nearly."""
    for part in ("test", "validation"):
        twins = content.shared(contents.get(part, {}), contents["train"])
        if twins:
            one, other = twins[0]
            warn(
                f"{len(twins)} of the {len(listing.parts[part])} files of the {part} part are "
                f"identical to files of the training part, for instance {one.path!r} and "
                f"{other.path!r}. Remove one of each pair: an image that was trained on tests "
                "nothing."
            )
    tracks, name = straddling_tracks(listing) if listing.flat else (0, "")
    if tracks:
        warn(
            f"{tracks} groups of images whose names differ in their last number alone, for "
            f"instance {name!r}, are in both the training and the test part of {listing.root!r}. "
            "If they are frames of one video or track, they are nearly the same images, and the "
            "test accuracy is too high. Make the parts yourself: train/<class>/<name> and "
            "test/<class>/<name>."
        )


def _read_parts(
    parts: Mapping[str, Sequence[File]], class_names: Sequence[str], options: Options
) -> dict[str, Arrays]:
    """Reads the parts; the files of all of them that cannot be read are named at once."""
    number = {name: label for label, name in enumerate(class_names)}
    faults: dict[str, str] = {}
    read = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")  # of damage that does no harm
        for part, files in parts.items():
            read[part] = _read(part, files, options, faults)
    if faults and not options.skip_unreadable:
        raise ValueError(
            f"{_listed(faults)} Repair or remove them, or leave them out with --skip_unreadable."
        )
    if faults:
        warn(f"{_listed(faults)} Left out.")
    arrays = {}
    for part, (images, files) in read.items():
        if parts[part] and not files:
            raise ValueError(
                f"None of the files of the {part} part can be read as an image. Repair them, or "
                "bring others."
            )
        options.number(part, len(files))  # fewer than wanted may be left
        labels = np.array([number[file.class_name] for file in files], np.int64)
        arrays[part] = Arrays(images, labels)
    return arrays


def _listed(faults: Mapping[str, str]) -> str:
    listed = [f"{path!r} ({fault})" for path, fault in faults.items()]
    more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    files = "1 file" if len(listed) == 1 else f"{len(listed)} files"
    return f"{files} cannot be read as images: {', '.join(listed[:SHOWN])}{more}."


def _read(
    part: str, files: Sequence[File], options: Options, faults: dict[str, str]
) -> tuple[np.ndarray, list[File]]:
    """Reads the first images of a part that can be read, and notes the faults of the others.

    Returns:
        uint8 images [N, H, W, 3], and the files they are of.
    """
    wanted, size = options.number(part, len(files)), options.image_size
    images = np.empty((0, 1, 1, 3), np.uint8)
    good: list[File] = []
    if size is not None:
        check_budget(wanted, (size, size, 3))

    resizer = None if size is None else _resizer(size)

    def read(file: File) -> np.ndarray | Unreadable:
        try:
            with open(file.path, "rb") as stored:
                image = decode(stored.read(), options.background)
            if resizer is None or image.shape[:2] == (size, size):
                return image
            return np.asarray(resizer(tf.constant(image)))
        except Unreadable as fault:
            return fault
        except OSError as error:
            return Unreadable(error.strerror or str(error))

    rest = iter(files)
    with concurrent.futures.ThreadPoolExecutor(content.THREADS) as pool:
        while len(good) < wanted:
            some = list(itertools.islice(rest, min(CHUNK, wanted - len(good))))
            if not some:
                break
            for file, image in zip(some, pool.map(read, some)):
                if isinstance(image, Unreadable):
                    faults[file.path] = str(image)
                    continue
                if not good:
                    check_budget(wanted, image.shape)
                    images = np.empty((wanted, *image.shape), np.uint8)
                if image.shape != images.shape[1:]:
                    raise ValueError(
                        f"Images differ in size: {good[0].path!r} has shape {images.shape[1:]}, "
                        f"{file.path!r} has shape {image.shape}. Say what size to bring them to: "
                        f"--image_size={images.shape[1]}, for instance."
                    )
                images[len(good)] = image
                good.append(file)
    return images[: len(good)], good


@functools.cache
def _resizer(size: int) -> Callable[[Tensor], Tensor]:
    """Returns the resizing as one graph for images of all shapes.

    It is traced here, before threads share it: TensorFlow takes their waiting for retracing.
    """

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def resizer(image: Tensor) -> Tensor:
        with tf.device("CPU"):
            return resize(image, size)

    return resizer.get_concrete_function()


def _grey(images: np.ndarray) -> bool:
    first = images[..., 0]
    return np.array_equal(first, images[..., 1]) and np.array_equal(first, images[..., 2])
