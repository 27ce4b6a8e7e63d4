"""``arrays:``: class names beside them, what identifies them, and files that change."""

import os

import numpy as np
import pytest

from rlfat_tf import data
from rlfat_tf.data.reading import Unreadable
from rlfat_tf.data.rows import Joined, Rows, mapped


def stored(folder, names=None, encoding="utf-8"):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 9), ("test", 6)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 3
    np.savez(folder / "d.npz", **arrays)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    if names is not None:
        (folder / "class_names.txt").write_text(names, encoding=encoding)
    return arrays


@pytest.mark.parametrize("path", ["", "/d.npz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_class_names(tmp_path, path, encoding):
    stored(tmp_path, "cat \ndog\nfox\n\n", encoding)
    assert data.load(f"arrays:{tmp_path}{path}").class_names == ("cat", "dog", "fox")


def test_numbers_where_there_are_no_names(tmp_path):
    stored(tmp_path)
    assert data.load(f"arrays:{tmp_path}").class_names == ("0", "1", "2")


@pytest.mark.parametrize("names", ["cat\n\ndog\nfox", "cat\ndog"])
def test_names_that_are_not_one_for_each_class(tmp_path, names):
    stored(tmp_path, names)
    with pytest.raises(ValueError, match="a name for each of at least 3 classes"):
        data.load(f"arrays:{tmp_path}")


def test_two_classes_of_one_name(tmp_path):
    stored(tmp_path, "crane\nfox\ncrane")
    names = data.load(f"arrays:{tmp_path}/d.npz").class_names
    assert names == ("crane (0)", "fox", "crane (2)")


def test_names_in_another_encoding(tmp_path):
    stored(tmp_path, "B\u00e4r\nfox\ndog", "latin-1")
    with pytest.raises(ValueError, match="class_names.txt' to be a text file in UTF-8"):
        data.load(f"arrays:{tmp_path}")


def test_every_image_counts():
    """A description is of all images, as far as its budget goes."""
    images, labels = np.zeros((2000, 2, 2, 1), np.uint8), np.zeros(2000, int)
    known = Rows(images, labels).describe()
    for place in (1, 777, 1999):
        changed = images.copy()
        changed[place] = 1
        assert Rows(changed, labels).describe() != known
    joined = Joined([images[:700], images[700:]])
    assert Rows(joined, labels).describe() == known


def test_a_mapped_file_that_becomes_shorter(tmp_path):
    """Reading it would end the process."""
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 16, 16, 3), np.uint8))
    rows = Rows(mapped(path), np.zeros(100, int))
    joined = Rows(Joined([mapped(path), np.zeros((2, 16, 16, 3), np.uint8)]), np.zeros(102, int))
    part = Rows(np.load(path, mmap_mode="r")[90:], np.zeros(10, int))  # the offset is the whole's
    readers = (rows, 99), (joined, 101), (part, 9)
    for reader, place in readers:
        assert reader._gather(np.array([place])).shape == (1, 16, 16, 3)
    os.truncate(path, 5000)
    for reader, place in readers:
        with pytest.raises(Unreadable, match="x.npy' has become shorter"):
            reader._gather(np.array([place]))


def test_rounding_is_told_from_another_range():
    images = np.full((1, 2, 2, 1), 1.0000001, np.float32)
    with pytest.raises(ValueError, match=r"to 1\.00000012. Rounding alone is mended by numpy.clip"):
        data.Arrays(images, [0])
    with pytest.raises(ValueError, match="to 255. Did you mean to divide by 255"):
        data.Arrays(images.round() * 255, [0])
    assert data.Arrays(images * 0, [0]).labels.tolist() == [0]
