"""``arrays:<path>``: NumPy arrays on disk, which are mapped into memory where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.arrays import Arrays, DataSet, held
from rlfat_tf.data.memory import holds
from rlfat_tf.data.reading import Options
from rlfat_tf.data.rows import Rows, mapped
from rlfat_tf.data.source import Source

CLASS_NAMES = "class_names.txt"
WRITTEN = "x_train=..., y_train=..., x_test=..., y_test=..."


def load(path: str, options: Options) -> DataSet:
    """Loads ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

    Args:
        path: A folder with ``x_train.npy`` and the others, and ``class_names.txt`` if the classes
            have names, one a line; or an ``.npz`` file, as ``numpy.savez`` writes it, with arrays
            of these names and ``class_names.txt`` in its folder. ``~`` is expanded.
        options: ``image_size``, ``view``, the numbers of examples and ``memory`` are used.

    Returns:
        Images uint8, labels integers; classes without names are called ``"0"``, ``"1"``, ...

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If images are not uint8 [N, H, W, C], labels not integers [N], or the names not
            one for each class.
    """
    root = Path(path).expanduser()
    rows, content, classes = {}, {}, 0
    for part in ("test",) if options.test_only else ("train", "test"):
        images, labels = (_array(root, f"{name}_{part}") for name in "xy")
        labels = np.array(labels)
        of_all = Rows(images, labels[:, 0] if labels.shape[1:] == (1,) else labels, options.look)
        rows[part] = of_all.take(slice(options.number(part, len(of_all))))
        content[part] = of_all.describe()
        classes = max(classes, 1 + int(of_all.labels.max()))  # of those not taken too
    shape = rows["test"].image_shape
    total = sum(map(len, rows.values()))
    in_memory = holds(options.memory, total, shape)
    parts: dict[str, Source] = {"train": Arrays.none(shape)}
    for part, stored in rows.items():
        parts[part] = held(stored) if in_memory else stored
    names = _class_names(root if root.is_dir() else root.parent, classes)
    return DataSet(parts["train"], parts["test"], len(names), tuple(names), content=content)


def _array(root: Path, name: str) -> Array:
    if root.is_dir():
        return mapped(root / f"{name}.npy", written=f"numpy.save('{name}.npy', array)")
    return mapped(root, name, f"numpy.savez({root.stem + '.npz'!r}, {WRITTEN})")


def _class_names(folder: Path, classes: int) -> list[str]:
    """Returns the names in ``class_names.txt``, or the numbers of the classes if there is none."""
    file = folder / CLASS_NAMES
    if not file.is_file():
        return [*map(str, range(classes))]
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected {str(file)!r} to be a text file in UTF-8: {error}.") from None
    names = [line.strip() for line in text.rstrip().splitlines()]
    if "" in names or len(names) < classes:
        raise ValueError(
            f"Expected in {str(file)!r} a name for each of at least {classes} classes, one a line; "
            f"received {len(names)} lines, {names.count('')} of them empty."
        )
    # A list of common names may have one twice, as that of ImageNet has "crane".
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names)]
