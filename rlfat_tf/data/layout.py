"""Which folders are the parts of a data set and which are its classes.

Understood are ``<root>/train/<class>/*`` with ``test`` or ``val`` beside ``train``, and
``<root>/<class>/*``; each may lie in a folder that wraps it.
"""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Iterable

from rlfat_tf.data.decode import SUFFIXES
from rlfat_tf.data.listing import File, Listing, make_file, split
from rlfat_tf.data.names import check_told_apart
from rlfat_tf.data.tree import Tree, scan

# Names of parts, in lower case: as the whole name, or else as a word of it (Final_Training,
# TrainImages).
PART_NAMES = {
    "train": ("train", "training", "trainset", "trainingset"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing", "testset", "testingset"),
}


def list_folder(path: str) -> Listing:
    """Makes the index of a folder; no file is opened.

    Raises:
        FileNotFoundError: If the folder or a part of it does not exist.
        NotADirectoryError: If it is a file.
        ValueError: If there are no images, a class has none, the test or the validation part has
            classes that the training part lacks, names of classes have control characters or
            differ in blanks alone, or it cannot be told which folder is which.
    """
    tree = _unwrap(_scanned(path))
    found = _find_parts(tree)
    if not found:
        return _flat(tree)
    folders = {part: _unwrap(folder, into_parts=True) for part, folder in found.items()}
    parts = {part: _files(_classes(folder, part)) for part, folder in folders.items()}
    class_names = _class_names(parts["train"])
    check_told_apart((f.class_name for files in parts.values() for f in files), tree.path)
    for part, files in parts.items():
        foreign = sorted({file.class_name for file in files} - set(class_names))
        if foreign:
            advice = ""
            if len(foreign) == len(_class_names(files)):
                advice = (
                    " It has none of those of train: sort the images into folders of these names; "
                    f"or give folder:{folders['train'].path}, a fifth of which then is for "
                    "the test."
                )
            raise ValueError(
                f"The {part} part {folders[part].path!r} has classes that train lacks: {foreign}. "
                f"Classes are matched by the names of their folders; capitals count.{advice}"
            )
    used = [_classes(folder, part) for part, folder in folders.items()]
    classes = [of_part for part in used for of_part in part]
    unused = [folder for folder in tree.folders if folder not in found.values()]
    unused += [sub for part in folders.values() for sub in part.folders if sub not in classes]
    left_out = _left_out((tree, *folders.values()), classes, unused)
    if "test" not in parts:
        parts["test"] = parts.pop("validation")
    ordered = {part: tuple(sorted(files, key=lambda f: f.key)) for part, files in parts.items()}
    return Listing(tree.path, class_names, ordered, False, left_out)


def list_test_folder(path: str) -> Listing:
    """Makes the index of a folder of class folders all of whose images are for the test.

    Raises:
        FileNotFoundError: If the folder does not exist.
        NotADirectoryError: If it is a file.
        ValueError: If there are no images in class folders.
    """
    tree = _scanned(path)
    classes = _classes(tree, "test")
    files = tuple(sorted(_files(classes), key=lambda file: file.key))
    check_told_apart(_class_names(files), tree.path)
    unused = [folder for folder in tree.folders if folder not in classes]
    left_out = _left_out((tree,), classes, unused)
    return Listing(tree.path, _class_names(files), {"test": files}, False, left_out)


def _scanned(path: str) -> Tree:
    root = os.path.expanduser(path)
    if os.path.isfile(root):
        raise NotADirectoryError(
            f"{root!r} is a file. Give the folder in which the class folders are; unpack an "
            "archive first."
        )
    if not os.path.isdir(root):
        raise FileNotFoundError(f"There is no folder {root!r} to read images from.")
    return scan(root)


def _flat(tree: Tree) -> Listing:
    classes = _classes(tree, "train")
    unused = [folder for folder in tree.folders if folder not in classes]
    of_class: dict[str, list[File]] = collections.defaultdict(list)
    for file in _files(classes):  # once: there may be thousands of classes
        of_class[file.class_name].append(file)
    class_names = tuple(sorted(of_class))
    check_told_apart(class_names, tree.path)
    parts: dict[str, list[File]] = {"train": [], "test": []}
    for class_name in class_names:
        train, test = split(of_class[class_name])
        parts["train"] += train
        parts["test"] += test
    if not parts["test"]:
        raise ValueError(
            f"Every class of {tree.path!r} has one image, which leaves none for the test part. Add "
            "images; or make the parts yourself: train/<class>/<name> and test/<class>/<name>."
        )
    ordered = {part: tuple(sorted(files, key=lambda f: f.key)) for part, files in parts.items()}
    left_out = _left_out((tree,), classes, unused)
    return Listing(tree.path, class_names, ordered, True, left_out)


def part_of(name: str) -> str | None:
    """Returns the part that a folder of this whole name holds; None if it names no part."""
    return next((part for part, names in PART_NAMES.items() if name.lower() in names), None)


def _words_of(name: str) -> str | None:
    """As :func:`part_of`, by a word of the name."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    parts = {part_of(word) for word in words} - {None}
    return parts.pop() if len(parts) == 1 else None


def _holds_classes(folder: Tree) -> bool:
    return any(sub.images for sub in _unwrap(folder, into_parts=True).folders)


def _unwrap(tree: Tree, into_parts: bool = False) -> Tree:
    """Returns the folder in which classes or parts are: this, or one that it merely wraps.

    Args:
        tree: The folder.
        into_parts: Whether the one folder in it is opened even if it looks like a part.
    """
    inside = [folder for folder in tree.folders if folder.total]
    if len(inside) != 1 or inside[0].images or tree.images:
        return tree
    if not into_parts and _words_of(inside[0].name) and _holds_classes(inside[0]):
        return tree
    return _unwrap(inside[0], into_parts)


def _find_parts(tree: Tree) -> dict[str, Tree]:
    """Returns the folders of the parts; nothing where the folders are classes."""
    classes = [f for f in tree.folders if f.images and not _words_of(f.name)]
    # A folder called train is a class if most of its images lie in it as those of its siblings do.
    holding = [
        f
        for f in tree.folders
        if _holds_classes(f) and not (classes and len(f.images) > f.images_below)
    ]
    found: dict[str, Tree] = {}
    for part in PART_NAMES:
        named = [f for f in holding if part_of(f.name) == part]
        named = named or [f for f in holding if _words_of(f.name) == part]
        if len(named) > 1:
            raise ValueError(
                f"{tree.path!r} has several folders that may be the {part} part: "
                f"{', '.join(repr(f.name) for f in named)}. Rename or remove all but one."
            )
        if named:
            found[part] = named[0]
    if classes and "train" not in found:
        return {}
    if not found:
        loose = [f.name for f in tree.folders if f.images]
        words = {_words_of(name) for name in loose}
        # Several names with the same word, such as test_tube and test_strip, are those of classes.
        if loose and not classes and (any(map(part_of, loose)) or len(words) == len(loose)):
            raise ValueError(
                f"Expected class folders; {tree.path!r} has images directly in "
                f"{', '.join(map(repr, loose))}, which are names of parts. Sort the images: "
                "train/<class>/<name> and test/<class>/<name>."
            )
        return {}
    if "train" not in found or len(found) == 1:
        here, missing = ("train", "test") if "train" in found else (min(found), "train")
        name = found[here].name
        unsorted = [f for f in tree.folders if f.images and _words_of(f.name) == missing]
        raise FileNotFoundError(
            f"{tree.path!r} has a folder {name!r} but no {missing!r}"
            + (" (or 'val')" if missing == "test" else "")
            + " with class folders beside it"
            + "".join(f"; {f.name!r} has {len(f.images)} in no class folder" for f in unsorted)
            + ". Add it; or give "
            f"folder:{found[here].path}, a fifth of which then is the test part."
        )
    return found


def _classes(folder: Tree, part: str) -> list[Tree]:
    """Returns the class folders of a part."""
    classes = [sub for sub in folder.folders if sub.images]
    if not classes:
        others = sum((sub.others for sub in (folder, *folder.below())), collections.Counter())
        counts = {
            "in no class folder": len(folder.images),
            "in deeper folders": folder.images_below,
            f"files with other endings ({_quoted(others)})": sum(others.values()),
        }
        said = "".join(f"; there are {count} {what}" for what, count in counts.items() if count)
        raise ValueError(
            f"Expected images {folder.path!r}/<class>/<name> with one of the endings "
            f"{', '.join(SUFFIXES)}; found none{said}. Images lie directly in their class folder; "
            "folders of parts are called train, test and val."
        )
    empty = [
        sub.name
        + (f" ({sub.total} in folders below it)" if sub.total else "")
        + (f" (files with other endings: {_quoted(sub.others)})" if sub.others else "")
        for sub in folder.folders
        if not sub.images and sub.name[0] != "_" and not (_words_of(sub.name) and sub.total)
    ]
    if empty and part == "train":
        raise ValueError(
            f"Expected images of every class, directly in its folder; {folder.path!r} has none in "
            f"{', '.join(empty)}. Put them there, or remove these folders."
        )
    return classes


def _files(classes: Iterable[Tree]) -> list[File]:
    return [
        make_file(folder.path, folder.name, name, size)
        for folder in classes
        for name, size in folder.images
    ]


def _class_names(files: Iterable[File]) -> tuple[str, ...]:
    return tuple(sorted({file.class_name for file in files}))


def _left_out(parts: Iterable[Tree], classes: list[Tree], unused: list[Tree]) -> tuple[str, ...]:
    """Says what of the folder is not used."""
    around = {id(folder): folder for folder in parts}.values()
    used = [*around, *classes]
    others = sum((folder.others for folder in used), collections.Counter())
    counts = {
        f"files with other endings ({_quoted(others)})": sum(others.values()),
        "broken links": sum(folder.broken for folder in used),
        "images in folders below the class folders": sum(c.images_below for c in classes),
        "images in no class folder": sum(len(folder.images) for folder in around),
    }
    said = [f"{count} {what}" for what, count in counts.items() if count]
    for folder in unused:
        if folder.total:
            said.append(f"the folder {folder.name!r} ({folder.total} images)")
    return tuple(said)


def _quoted(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(map(repr, suffixes)))
