"""Data that are damaged, incomplete or too few, and folders that cannot be written."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from rlfat_tf import data
from rlfat_tf.run import data_checks, train
from tests.runs import config, damages


def write_images(root, classes=("cat", "dog"), count=5, shape=(6, 5, 3)):
    for part in ("train", "test"):
        for index, name in enumerate(classes):
            for i in range(count):
                path = root / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = np.full(shape, 100 * index + i + 50 * (part == "test"), np.uint8)
                Image.fromarray(image).save(path)
    return root


def listing(root):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in [root, *root.rglob("*")]}


def test_a_read_only_data_dir(tmp_path):
    """Nothing is written there (root, whom no permissions stop, included)."""
    from tests.data.test_tfds import examples, store

    store(tmp_path / "tfds", train=examples(6), test=examples(2))
    write_images(tmp_path / "images")
    before = listing(tmp_path)
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        loaded = data.load("tfds:mine", data_dir=str(tmp_path / "tfds"), download=False)
        assert len(loaded.train) == 6
        assert len(data.load(f"folder:{tmp_path / 'images'}").train) == 10
        assert listing(tmp_path) == before
    finally:
        for path in before:
            path.chmod(0o755)


@pytest.mark.parametrize("damage", ["missing", "truncated", "one bit", "no info", "no features"])
def test_a_partly_downloaded_data_set(tmp_path, damage):
    from tests.data.test_tfds import examples, store

    store(tmp_path, train=examples(6), test=examples(2))
    folder = tmp_path / "mine" / "1.0.0"
    (record,) = folder.glob("*train*")
    if damage == "missing":
        record.unlink()
    elif damage == "no info":
        (folder / "dataset_info.json").write_text('{"name": "mi')
    elif damage == "no features":
        (folder / "features.json").unlink()
    else:
        record.write_bytes(damages(record)[damage](record.read_bytes()))
    with pytest.raises(ValueError, match="incomplete.*repare the data set again"):
        data.load("tfds:mine", data_dir=str(tmp_path), download=False)


def test_a_data_set_that_is_being_prepared_is_not_there_yet(tmp_path):
    from tests.data.test_tfds import examples, store

    store(tmp_path, train=examples(6), test=examples(2))
    (tmp_path / "mine" / "1.0.0").rename(tmp_path / "mine" / "1.0.0.incompleteABC123")
    with pytest.raises(FileNotFoundError, match="'mine' is not in .*tfds build mine"):
        data.load("tfds:mine", data_dir=str(tmp_path), download=False)


@pytest.mark.parametrize("size", [None, 4])
def test_corrupt_images_are_refused_or_left_out(tmp_path, capfd, size):
    root = write_images(tmp_path)
    whole = data.load(f"folder:{root}", image_size=size)
    (root / "train" / "cat" / "empty.png").write_bytes(b"")
    half = root / "train" / "dog" / "half.png"
    half.write_bytes((root / "train" / "dog" / "0.png").read_bytes()[:-30])
    (root / "test" / "cat" / "page.png").write_bytes(b"<html>not found</html>")
    faults = [r"dog/half.png' \(image file is truncated", r"cat/empty.png' \(the file is empty\)",
              r"test/cat/page.png' \(it is no image in one of the formats"]  # fmt: skip
    for fault in faults:  # all of them at once, those of the test part too
        message = f"^3 files cannot be read as images: .*{fault}"
        with pytest.raises(ValueError, match=f"{message}.*--skip_unreadable"):
            data.load(f"folder:{root}", image_size=size)
        with pytest.warns(UserWarning, match=f"{message}.* left out"):
            loaded = data.load(f"folder:{root}", image_size=size, skip_unreadable=True)

    def rows(part):
        return sorted((int(y), x.tobytes()) for x, y in zip(part.images, part.labels))

    # In training others of the class stand in for them, so that there are as many as files.
    assert len(loaded.train) == 12 and set(rows(loaded.train)) == set(rows(whole.train))
    np.testing.assert_array_equal(loaded.test.images, whole.test.images)
    with pytest.warns(UserWarning, match="left out"):
        first = data.load(
            f"folder:{root}", image_size=size, skip_unreadable=True, train_examples=11
        )
    assert len(first.train) == 11
    assert capfd.readouterr().err == ""


def test_of_many_corrupt_images_some_are_named(tmp_path):
    root = write_images(tmp_path, count=20)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # empty files are no twins of one another
        with pytest.raises(ValueError, match="^80 files cannot .*, and 70 more. Rep") as refusal:
            data.load(f"folder:{root}")
    assert str(refusal.value).count("the file is empty") == 10
    with pytest.raises(ValueError, match="None of the files of the train part"), pytest.warns():
        data.load(f"folder:{root}", skip_unreadable=True)


def test_a_class_without_an_example(tmp_path):
    root = write_images(tmp_path)
    (root / "train" / "emu").mkdir()
    with pytest.raises(ValueError, match="images of every class, .*train' has none in emu"):
        data.load(f"folder:{root}")
    labels = np.array([0, 2, 2])
    arrays = data.Arrays(np.zeros([3, 2, 2, 1], np.float32), labels)
    with pytest.warns(UserWarning, match="no training example of 1 of the 3 classes: b"):
        data_checks.check_classes(arrays, ("a", "b", "c"))


def test_one_class_only(tmp_path):
    with pytest.raises(ValueError, match="at least 2 classes; received 1"):
        data.load(f"folder:{write_images(tmp_path, classes=('cat',))}")
    arrays = data.Arrays(np.zeros([3, 2, 2, 1], np.float32), np.array([2, 2, 2]))
    with pytest.raises(ValueError, match="at least 2 classes; all 3 are of one"):
        data_checks.check_classes(arrays, ("a", "b", "c"))


def test_nan_pixels():
    images = np.zeros([4, 2, 2, 1], np.float32)
    images[3, 1, 1, 0] = np.nan
    with pytest.raises(ValueError, match="finite pixel values; received NaN"):
        data.from_arrays(images, [0, 1, 0, 1], images[:2], [0, 1])


def test_a_batch_larger_than_the_data_set(tmp_path):
    with pytest.raises(ValueError, match="batch_size is 500, but there are 67 .*at most 67"):
        train.run(config(tmp_path / "run", batch_size=500))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("length", [{"epochs": 0}, {"epochs": None, "train_steps": 0}])
def test_zero_steps(tmp_path, length):
    with pytest.raises(ValueError, match="an integer of at least 1; received 0"):
        config(tmp_path, **length)
