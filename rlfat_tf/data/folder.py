"""``folder:<path>``: a folder of class folders with image files."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Callable

import numpy as np
import tensorflow as tf

from rlfat_tf.core.errors import warn
from rlfat_tf.core.types import Array, Tensor
from rlfat_tf.data import content
from rlfat_tf.data.arrays import Arrays, DataSet
from rlfat_tf.data.decode import decode
from rlfat_tf.data.files import Files, is_grey, others_of_class
from rlfat_tf.data.layout import list_folder
from rlfat_tf.data.listing import File, Listing, straddling_tracks
from rlfat_tf.data.memory import holds
from rlfat_tf.data.reading import Options, Unreadable
from rlfat_tf.data.source import Source
from rlfat_tf.data.view import View

SHOWN = 10  # unreadable files that a message names
CHUNK = 64  # images that may wait for their place in the array
PROBED = 256  # files of each part that are looked at, where the images stay on disk


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
    sources, grey = _open_parts(files, listing.class_names, options)
    if options.channels == 1 and not grey:
        raise ValueError(
            f"Expected grey images, of one channel; those of {listing.root!r} have colours."
        )
    return DataSet(
        sources.get("train", Arrays.none(sources["test"].image_shape)),
        sources["test"],
        len(listing.class_names),
        listing.class_names,
        sources.get("validation"),
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
                f"{other.path!r}. Remove one of each pair: accuracy on images that were trained "
                "on is too high."
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


def _open_parts(
    parts: Mapping[str, Sequence[File]], class_names: Sequence[str], options: Options
) -> tuple[dict[str, Source], bool]:
    """Reads the parts, or looks at their first files where the images stay on disk.

    The files of all parts that cannot be read are named at once. If they need not be, the next one
    of its class stands in for a training image, so that the others stay where they are in the
    order; an image that is evaluated must not count twice, and is left out.

    Returns:
        The parts, and whether all images that were looked at are grey.
    """
    options = options.for_parts(parts)
    faults: dict[str, str] = {}
    found = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")  # of damage that does no harm
        in_memory = _fits(parts, options)
        for part, files in parts.items():
            wanted = options.number(part, len(files))
            fill = options.skip_unreadable and part == "train"
            found[part] = (_read if in_memory else _look)(files, wanted, options, faults, fill)
    if faults and not options.skip_unreadable:
        raise ValueError(
            f"{_listed(faults)} Repair or remove them, or do without them: --skip_unreadable."
        )
    if faults:
        warn(
            f"{_listed(faults)} They are left out, but in training the next image of the class "
            "takes the place of each."
        )
    for part, (_, files) in found.items():
        if parts[part] and not files:
            raise ValueError(
                f"None of the files of the {part} part can be read as an image. Repair them, or "
                "bring others."
            )
        options.number(part, len(files))  # fewer than wanted may be left
    number = {name: label for label, name in enumerate(class_names)}
    labels = {
        part: np.array([number[file.class_name] for file in files], np.int64)
        for part, (_, files) in found.items()
    }
    grey = all(is_grey(images) for images, _ in found.values())
    channels = 1 if grey and options.channels != 3 else 3
    sources: dict[str, Source] = {}
    for part, (images, files) in found.items():
        if in_memory:
            kept = images if channels == 3 else images[..., :1].copy()
            sources[part] = Arrays(kept, labels[part])
        else:
            sources[part] = Files(
                [file.path for file in files],
                labels[part],
                channels=channels,
                view=options.look,
                shape=images.shape[1:3],
                background=options.background,
                substitute=options.skip_unreadable and part == "train",
            )
    return sources, grey


def _fits(parts: Mapping[str, Sequence[File]], options: Options) -> bool:
    """Tells whether the images of all parts are to be held in memory."""
    total = sum(options.number(part, len(files)) for part, files in parts.items())
    if options.image_size is not None:
        return holds(options.memory, total, (options.image_size, options.image_size, 3))
    for files in parts.values():
        for _, image in _decoded(files, 1, options, {}):
            return holds(options.memory, total, image.shape)
    return True  # no file can be read, which is told when they are


def _read(
    files: Sequence[File], wanted: int, options: Options, faults: dict[str, str], fill: bool
) -> tuple[Array, Sequence[File]]:
    """Returns images, [N, H, W, 3], and the files they are of.

    Args:
        files: Of a part.
        wanted: How many images.
        options: How to read them.
        faults: Of the files that cannot be read; some are added.
        fill: Whether the images are those of the first files, and others of the class stand in for
            what cannot be read; else they are the first that can be read.
    """
    images = np.empty((0, 1, 1, 3), np.uint8)
    good: list[File] = []
    places: dict[str, int] = {}
    if fill:
        files = files[:wanted]
        places = {file.path: place for place, file in enumerate(files)}
    for file, image in _decoded(files, wanted, options, faults):
        if not good:
            images = np.empty((wanted, *image.shape), np.uint8)
        images[places.get(file.path, len(good))] = image
        good.append(file)
    if not fill or not good:
        return images[: len(good)], good
    _stand_in(images, files, {places[file.path] for file in good})
    return images, files


def _stand_in(images: Array, files: Sequence[File], good: Container[int]) -> None:
    """Fills the places that are not good with the next good image of their class."""
    classes = np.array([file.class_name for file in files])
    for place, name in enumerate(classes):
        if place in good:
            continue
        other = next((other for other in others_of_class(classes, place) if other in good), None)
        if other is None:
            raise ValueError(
                f"None of the training images of the class {str(name)!r} can be read. Repair them, "
                "or remove the folder of this class."
            )
        images[place] = images[other]


def _look(
    files: Sequence[File], wanted: int, options: Options, faults: dict[str, str], fill: bool
) -> tuple[Array, Sequence[File]]:
    """Returns some first images, and the files of which the part then is; arguments as in _read.

    If unreadable files are to be left out, every one is tried: what is read later must be there. If
    others stand in for them, each is named when it is read.
    """
    all_tried = options.skip_unreadable and not fill
    probed = wanted if all_tried else min(PROBED, wanted)
    some: list[Array] = []
    good: list[File] = []
    for file, image in _decoded(files, probed, options, {} if fill else faults):
        good.append(file)
        if len(some) < PROBED:
            some.append(image)
    images = np.stack(some) if some else np.empty((0, 1, 1, 3), np.uint8)
    return images, good if all_tried or not some else files[:wanted]


def _listed(faults: Mapping[str, str]) -> str:
    listed = [f"{path!r} ({fault})" for path, fault in faults.items()]
    more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    files = "1 file" if len(listed) == 1 else f"{len(listed)} files"
    return f"{files} cannot be read as images: {', '.join(listed[:SHOWN])}{more}."


def _decoded(
    files: Sequence[File], wanted: int, options: Options, faults: dict[str, str]
) -> Iterator[tuple[File, Array]]:
    """Yields the first files that can be read, and notes the faults of the others.

    Yields:
        A file and its image, uint8 [H, W, 3], of one shape for all files.
    """
    size, shape, first = options.image_size, None, ""
    look, whole = None if size is None else _look_at(options.look), options.view == "squash"

    def read(file: File) -> Array | Unreadable:
        try:
            with open(file.path, "rb") as stored:
                image = decode(stored.read(), options.background)
            if look is None or (whole and image.shape[:2] == (size, size)):
                return image
            return np.asarray(look(tf.constant(image)))
        except Unreadable as fault:
            return fault
        except OSError as error:
            return Unreadable(error.strerror or str(error))

    rest, good = iter(files), 0
    with concurrent.futures.ThreadPoolExecutor(content.THREADS) as pool:
        while good < wanted:
            some = list(itertools.islice(rest, min(CHUNK, wanted - good)))
            if not some:
                break
            for file, image in zip(some, pool.map(read, some)):
                if isinstance(image, Unreadable):
                    faults[file.path] = str(image)
                    continue
                if shape is None:
                    shape, first = image.shape, file.path
                if image.shape != shape:
                    raise ValueError(
                        f"Images differ in size: {first!r} has shape {shape}, {file.path!r} has "
                        f"shape {image.shape}. Say what size to bring them to: "
                        f"--image_size={shape[0]}, for instance."
                    )
                good += 1
                yield file, image


@functools.cache
def _look_at(view: View) -> Callable[[Tensor], Tensor]:
    """Returns the view as one graph for images of all shapes.

    It is traced here, before threads share it: TensorFlow takes their waiting for retracing.
    """

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def look(image: Tensor) -> Tensor:
        with tf.device("CPU"):
            return view(image)

    return look.get_concrete_function()
