"""Arrays on disk: class names beside them, what identifies them, and files that are wrong."""

import os
import pickle

import h5py
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


ASKED_FOR = r"numpy.savez\('d.npz', x_train=..., y_train=..., x_test=..., y_test=...\)"


@pytest.mark.parametrize("fault", ["another name", "pickle", "objects", "columns", "empty", "cut"])
def test_advice_names_the_arrays_that_are_read(tmp_path, fault):
    """Not those of --extra_data, which this reader would refuse next."""
    arrays, file = stored(tmp_path), tmp_path / "d.npz"
    if fault in ("pickle", "empty", "cut"):
        content = {"pickle": pickle.dumps([1]), "empty": b"", "cut": file.read_bytes()[:-30]}
        file.write_bytes(content[fault])
    else:
        changes = {
            "another name": {"image": arrays.pop("x_train"), "label": arrays.pop("y_train")},
            "objects": {"x_train": np.array([{}])},
            "columns": {"x_train": np.asfortranarray(np.zeros((9, 4, 4, 3), np.uint8))},
        }
        np.savez(file, **{**arrays, **changes[fault]})
    with pytest.raises(ValueError, match=ASKED_FOR) as refusal:
        data.load(f"arrays:{file}")
    assert "image=images" not in str(refusal.value)
    assert ("pickle" in str(refusal.value)) == (fault in ("pickle", "objects"))


def test_advice_for_a_folder_of_arrays_is_to_write_that_array(tmp_path):
    stored(tmp_path)
    (tmp_path / "x_test.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x_test.npy' is empty.*numpy.save\('x_test.npy', array"):
        data.load(f"arrays:{tmp_path}")


def test_channels_in_the_first_place_are_told_with_the_shape_that_was_given(tmp_path):
    arrays = stored(tmp_path)
    images = np.zeros((64, 3, 8, 8), np.uint8)
    changed = {"x_train": images, "x_test": images[:6], "y_train": np.arange(64) % 3}
    np.savez(tmp_path / "d.npz", **{**arrays, **changed})
    with pytest.raises(
        ValueError, match=r"received \(64, 3, 8, 8\), which looks like \[batch, cha"
    ):
        data.load(f"arrays:{tmp_path}/d.npz")


def test_arrays_that_cannot_be_mapped(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(5)
    np.savez_compressed(tmp_path / "small.npz", image=images, label=labels)
    np.savez(tmp_path / "other.npz", images=images)
    np.savez(tmp_path / "objects.npz", image=np.array([{}]), label=labels)
    (tmp_path / "ti.pickle").write_bytes(pickle.dumps({"data": images}))
    np.save(tmp_path / "columns.npy", np.asfortranarray(images))
    np.save(tmp_path / "whole.npy", images)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-1])
    # More bytes than 63 bits can count.
    vast = {"descr": "|u1", "fortran_order": False, "shape": (2**61, 8, 8, 3)}
    with open(tmp_path / "vast.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, vast)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:-9])
    for name in ("empty.npz", "empty.npy"):
        (tmp_path / name).write_bytes(b"")
    np.savez(tmp_path / "none.npz")
    (tmp_path / "head.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:20])
    np.savez(tmp_path / "good.npz", image=images, label=labels)
    good = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "header.npz").write_bytes(good.replace(b"\x93NUMPY", b"\x93NUMBY", 1))
    central = good.rindex(b"PK\x01\x02", 0, good.rindex(b"PK\x01\x02"))  # of the first array
    newer = good[: central + 6] + bytes([99]) + good[central + 7 :]  # the version it asks for
    (tmp_path / "version.npz").write_bytes(newer)
    for name, message in {
        "small.npz": "compressed, so .* numpy.savez",
        "other.npz": r"Expected the array 'image' in .*; it has images\. .*numpy.savez",
        "objects.npz": "holds pickled objects. This library never opens a pickle.*numpy.savez",
        "ti.pickle": "is no array of NumPy .*never opens a pickle.*'ti.npz'",
        "columns.npy": "stored column by column.*ascontiguousarray",
        "cut.npy": r"cut off: it has 1087 bytes, and an array \[5, 8, 8, 3\] of uint8 .* 1088",
        "cut.npz": "is damaged or .* no .npz file .File is not a zip.*Fetch it again, or write it",
        "empty.npz": "empty.npz' is empty. Fetch it again, or write it anew: numpy.savez",
        "empty.npy": "empty.npy' is empty. Fetch",
        "none.npz": "Expected the array 'image' in .*; it has none. Write it anew: numpy.savez",
        "head.npy": "is damaged or .* no array of NumPy .*Fetch it again",
        "header.npz": "is damaged or .* no array of NumPy .*Fetch it again",
        "version.npz": "is damaged or .* no .npz file .*version.*Fetch it again",
        "vast.npy": r"cut off: it has 128 bytes, .* would end at byte 442721857769029238912",
        "nothing.npy": "there is no",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            data.open_rows(tmp_path / name)
        if not name.startswith(("ti", "objects")):
            with pytest.raises((ValueError, FileNotFoundError)) as refusal:
                data.open_rows(tmp_path / name)
            assert "pickle" not in str(refusal.value)
    for wrong in (images / 255, images[..., 0]):
        with pytest.raises(ValueError, match=r"uint8 \[N, H, W, C\]; received"):
            data.Rows(wrong, labels)
    with pytest.raises(ValueError, match="an integer label for each of the 5 images"):
        data.Rows(images, labels[:4])


def test_rows_of_hdf5_which_are_taken_in_order_and_once(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 2, 3, 1), np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        rows = Rows(file.create_dataset("x", data=images), np.arange(50, dtype=np.uint64))
        places = np.array([7, 3, 3, 49, 0])
        np.testing.assert_array_equal(rows.images[places], images[places])
        np.testing.assert_array_equal(rows.take(places).images[1:4], images[places[1:4]])
        assert rows.describe() == Rows(images, np.arange(50)).describe()
    assert np.bincount(rows.labels).tolist() == [1] * 50  # NumPy 1 counts no uint64
    assert data.Arrays(images, np.arange(50, dtype=np.uint64)).labels.dtype == np.int64


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
