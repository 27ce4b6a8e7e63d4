"""Which folders are parts and classes, and which files are in which part; no file is opened."""

from __future__ import annotations

import hashlib
import os
import random
import unicodedata

import pytest

from rlfat_tf.data import layout
from rlfat_tf.data.layout import list_folder, list_test_folder
from rlfat_tf.data.listing import make_file, split, straddling_tracks


def make(root, *paths):
    """Makes files, each of them by its path, or by a path that ends in the number of files."""
    for path in paths:
        name, _, count = path.partition(" x")
        stem, suffix = os.path.splitext(name)
        for i in range(int(count or 1)):
            file = root / (f"{stem}{i}{suffix}" if count else name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"some")
    return str(root)


def counts(listing):
    """The files of every part, by class."""
    return {
        part: {name: sum(f.class_name == name for f in files) for name in listing.class_names}
        for part, files in listing.parts.items()
    }


TWO = {"cat": 2, "dog": 2}
ONE = {"cat": 1, "dog": 1}


@pytest.mark.parametrize(
    "train, test",
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAINING", "TESTING"),
        ("training", "Test"),
        ("Final_Training", "Final_Test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("archive/train", "archive/test"),
        ("archive/photos v2/training_set/training_set", "archive/photos v2/test_set"),
        ("Final_Training/Images", "Final_Test/Images"),
        ("TrainImages", "GTSRBTest"),
        ("trainingset", "testingset"),
        ("train", "val"),
        ("train", "valid"),
        ("train", "Validation"),
    ],
)
def test_names_of_parts(tmp_path, train, test):
    path = make(tmp_path, *(f"{train}/{c}/a.JPG x2" for c in ("cat", "dog")),
                *(f"{test}/{c}/b.Png x1" for c in ("cat", "dog")))  # fmt: skip
    listing = list_folder(path)
    assert listing.class_names == ("cat", "dog") and not listing.flat and not listing.left_out
    assert counts(listing) == {"train": TWO, "test": ONE}


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_validation_beside_test(tmp_path, name):
    parts = ("train", "test", name)
    listing = list_folder(make(tmp_path, *(f"{p}/{c}/a.png" for p in parts for c in "ab")))
    assert sorted(listing.parts) == ["test", "train", "validation"]
    assert {os.path.dirname(os.path.dirname(f.path)) for f in listing.parts["validation"]} == {
        str(tmp_path / name)
    }


@pytest.mark.parametrize(
    "paths, class_names",
    [
        (["car/a.png x9", "plane/a.png x9", "train/a.png x9"], ("car", "plane", "train")),
        (["car/a.png x9", "train/a.png x9", "test/a.png x9"], ("car", "test", "train")),
        (["car/a.png x9", "train/a.png x9", "train/steam/b.png x3"], ("car", "train")),
        (["bus/a.png x9", "train station/a.png x9"], ("bus", "train station")),
        (["all/car/a.png x9", "all/train/a.png x9"], ("car", "train")),
        (["cat/a.png x9", "dog.png/a.png x9"], ("cat", "dog.png")),
    ],
)
def test_a_class_may_be_called_train(tmp_path, paths, class_names):
    listing = list_folder(make(tmp_path, *paths))
    assert listing.class_names == class_names and listing.flat


def test_parts_with_a_class_called_train(tmp_path):
    paths = [f"{part}/{c}/a.png" for part in ("train", "test") for c in ("train", "test", "car")]
    listing = list_folder(make(tmp_path, *paths))
    assert listing.class_names == ("car", "test", "train") and not listing.flat
    assert len(listing.parts["train"]) == len(listing.parts["test"]) == 3


def test_junk_is_no_class_and_what_is_left_out_is_told(tmp_path):
    both = [f"{part}/{c}/a.png" for part in ("train", "test") for c in ("cat", "dog")]
    junk = [".ipynb_checkpoints/a.png", "__MACOSX/train/cat/._a.png", "train/.hidden/a.png",
            "train/__MACOSX/a.png", "train/cat/._a.png", "train/cat/Thumbs.db", "Thumbs.db",
            "train/cat/.DS_Store", "train/cat/desktop.ini", "train/@eaDir/a.png",
            "train/cat/.ipynb_checkpoints/a.png"]  # fmt: skip
    path = make(tmp_path, *both, *junk)
    listing = list_folder(path)
    assert listing.class_names == ("cat", "dog") and listing.left_out == ()
    assert counts(listing) == {"train": ONE, "test": ONE}
    make(tmp_path, "train/cat/notes.txt", "train/dog/a.HEIC", "train/cat/more/deep/a.png x3",
         "train/b.png", "c.png", "extra/a.png x5", "spare/cat/a.png x2")  # fmt: skip
    (tmp_path / "train" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "test" / "dog" / "itself.png").symlink_to(tmp_path / "test" / "dog" / "itself.png")
    (tmp_path / "train" / "cat" / "empty.png").mkdir()
    listing = list_folder(path)
    assert counts(listing) == {"train": ONE, "test": ONE}
    assert listing.left_out == (
        "2 files with other endings ('.heic', '.txt')",
        "2 broken links",
        "3 images in folders below the class folders",
        "2 images in no class folder",
        "the folder 'extra' (5 images)",
        "the folder 'spare' (2 images)",
    )


@pytest.mark.parametrize("names", [("test_strip", "test_tube"), ("TrainDelayed", "TrainOnTime")])
def test_classes_may_have_a_word_in_common_that_names_a_part(tmp_path, names):
    listing = list_folder(make(tmp_path, *(f"{name}/x.png x4" for name in names)))
    assert listing.class_names == names and listing.flat


def test_images_too_deep_in_a_class_of_the_test_part_are_told(tmp_path):
    paths = [
        f"{part}/{name}/x.png" for part, name in (("train", "a"), ("train", "b"), ("test", "a"))
    ]
    listing = list_folder(make(tmp_path, *paths, "test/b/deep/x.png x3"))
    assert counts(listing)["test"] == {"a": 1, "b": 0}
    assert listing.left_out == ("the folder 'b' (3 images)",)


def test_a_file_is_no_folder(tmp_path):
    make(tmp_path, "photos.zip")
    with pytest.raises(NotADirectoryError, match="is a file.*unpack an archive first"):
        list_folder(str(tmp_path / "photos.zip"))


def test_a_part_beside_classes_is_told(tmp_path):
    path = make(tmp_path, "cat/a.png x9", "dog/a.png x9", "val/cat/a.png", "val/dog/a.png")
    listing = list_folder(path)
    assert listing.class_names == ("cat", "dog")
    assert listing.left_out == ("the folder 'val' (2 images)",)


def test_links_to_class_folders_are_followed_but_not_in_circles(tmp_path):
    make(tmp_path / "elsewhere", "a.png x9")
    path = make(tmp_path / "root", "dog/a.png x9")
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "dog" / "circle").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "dog" / "linked.png").symlink_to(tmp_path / "elsewhere" / "a0.png")
    listing = list_folder(path)
    assert listing.class_names == ("cat", "dog")
    assert sum(map(len, listing.parts.values())) == 19


@pytest.mark.parametrize(
    "paths, error, message",
    [
        (["train/a/x.png", "train/b/x.png"], FileNotFoundError, "'train' but no 'test' .or 'val'. "
         ".*or give folder:.*train, a fifth of which"),
        (["train/a/x.png", "train/b/x.png", "test/x.png"], FileNotFoundError, "no 'test'"),
        (["test/a/x.png", "val/a/x.png"], FileNotFoundError, "has a folder 'test' but no 'train'"),
        (["train/x.png x3", "test/x.png"], ValueError, "directly in 'test', 'train'"),
        (["x.png x3"], ValueError, "found none; there are 3 in no class folder"),
        (["a/b/c/x.png", "d/e/f/x.png"], ValueError,
         "there are 2 in deeper folders.*called train, test"),
        (["a/x x3", "b/x.heic x2"], ValueError,
         r"found none; there are 5 files with other endings \('', '.heic'\)"),
        (["a/x.png x3", "b/x.heic"], ValueError,
         r"none in b \(files with other endings: '.heic'\)"),
        (["a/x.png", "b/x.png"], ValueError, "has one image, which leaves none for the test part"),
        (["Final_Training/Images/00000/x.ppm", "Final_Test/Images/x.ppm"], ValueError,
         r"lacks: \['Images'\].*sort the images.*or give folder:.*Final_Training"),
        (["Train/0/x.png", "Train/1/x.png", "Test/x.png x4"], FileNotFoundError,
         "'Test' has 4 in no class folder. Add it; or give"),
        (["val/a/x.png", "valid/a/x.png", "train/a/x.png"], ValueError,
         "several folders that may be the validation part: 'val', 'valid'"),
        (["train/a/x.png", "train/b/deep/x.png", "test/a/x.png"], ValueError,
         r"none in b \(1 in folders below it\)"),
        (["train/a/x.png", "test/A/x.png"], ValueError, r"lacks: \['A'\].*capitals count"),
        (["train/a/x.png", "test/a/x.png", "val/b/x.png"], ValueError, r"validation .*\['b'\]"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, paths, error, message):
    with pytest.raises(error, match=message):
        list_folder(make(tmp_path, *paths))


def test_unicode_names_are_the_same_however_they_are_composed(tmp_path):
    one, other = (unicodedata.normalize(form, "Müll-é") for form in ("NFC", "NFD"))
    assert one != other
    make(tmp_path, f"train/{one}/ü.png", "train/紙/a.png", f"test/{other}/ü.png", "test/紙/a.png")
    listing = list_folder(str(tmp_path))
    assert listing.class_names == (one, "紙")
    assert counts(listing)["test"] == {one: 1, "紙": 1}
    keys = [make_file("x", name, unicodedata.normalize(f, "ü.png"), 1).key
            for name, f in ((one, "NFC"), (other, "NFD"))]  # fmt: skip
    assert keys[0] == keys[1]


def test_names_that_are_no_text(tmp_path):
    make(tmp_path, "a/0.png x5", "b/0.png x5")
    try:
        (tmp_path / os.fsdecode(b"a") / os.fsdecode(b"\xff.png")).write_bytes(b"some")
    except OSError:
        pytest.skip("this file system takes text only")
    assert sum(map(len, list_folder(str(tmp_path)).parts.values())) == 11


# The split of classes that are not split on disk


def files(names):
    return [make_file("folder", "a", name, 1) for name in names]


def test_a_file_is_a_test_file_by_its_name():
    names = [f"{i}.png" for i in range(1000)]
    train, test = split(files(names))
    first = {f.name for f in test}
    assert {f.name for f in train} | first == set(names) and len(train) + len(test) == 1000
    assert first == {n for n in names if hashlib.sha256(n.encode()).digest()[0] < 51} | {
        n for n in first if hashlib.sha256(n.encode()).digest()[0] == 51
    }
    assert 160 < len(first) < 240  # 200, give or take three standard deviations
    for added, removed in ((["0a.png"], []), ([], names[:1]), (["x.png", "y.png"], names[3:500:7])):
        some = [name for name in [*added, *names] if name not in removed]
        random.Random(0).shuffle(some)
        again = {f.name for f in split(files(some))[1]}
        assert again - set(added) == first - set(removed)
    other_class = [make_file("folder", "renamed", name, 1) for name in names]
    assert {f.name for f in split(other_class)[1]} == first


def test_every_class_of_two_has_both():
    for start in range(300):
        for count in (2, 3, 5):
            train, test = split(files(f"{start + i}.png" for i in range(count)))
            assert train and test and len(train) + len(test) == count
    assert [len(part) for start in range(9) for part in split(files([f"{start}.png"]))] == [
        1,
        0,
    ] * 9


def test_an_added_image_makes_no_training_image_a_test_image():
    """But for a class of test images alone, of which one had to be for training."""
    for start in range(200):
        names = [f"{start + i}.png" for i in range(4)]
        train, test = split(files(names[:3]))
        would_be = [int.from_bytes(hashlib.sha256(n.encode()).digest()[:8], "big") for n in names]
        if all(value < 0.2 * 2**64 for value in would_be[:3]):
            continue
        assert not {f.name for f in split(files(names))[1]} & {f.name for f in train}


def test_every_class_is_split_by_itself(tmp_path):
    before = list_folder(make(tmp_path, "b/x.png x40", "c/x.png x40"))
    after = list_folder(make(tmp_path, "a/x.png x7", "b/0.png x1"))
    for part in ("train", "test"):
        there = {f.path for f in before.parts[part]}
        assert there <= {f.path for f in after.parts[part]}
    first = [f.class_name for f in before.parts["train"][:12]]
    assert set(first) == {"b", "c"}  # mixed


def test_many_classes_are_listed_once(tmp_path, monkeypatch):
    """Not once more for every class, which takes hours for thousands of them."""
    made = []
    monkeypatch.setattr(layout, "make_file", lambda *all: made.append(all) or make_file(*all))
    names = [f"class {i}" for i in range(30)]
    listing = list_folder(make(tmp_path, *(f"{name}/x.png x4" for name in names)))
    assert len(made) == 30 * 4
    assert listing.class_names == tuple(sorted(names)) and listing.flat
    split_alone = [split(files_of(tmp_path, name)) for name in names]
    for part, number in (("train", 0), ("test", 1)):
        expected = sorted((f for one in split_alone for f in one[number]), key=lambda f: f.key)
        assert listing.parts[part] == tuple(expected)


def files_of(root, name):
    return [make_file(str(root / name), name, f"x{i}.png", 4) for i in range(4)]


@pytest.mark.parametrize("name", ["two\nlines", "bell\x07", "tab\t", "next\x85", "par\u2029"])
@pytest.mark.parametrize("parts", [("",), ("train/", "test/")])
def test_a_class_whose_name_is_not_one_line_is_refused(tmp_path, name, parts):
    """Lists of class names have one a line."""
    try:
        make(tmp_path, *(f"{part}{c}/a.png x3" for part in parts for c in (name, "dog")))
    except OSError:
        pytest.skip("this file system holds no such name")
    with pytest.raises(
        ValueError, match="one line of text; received .* control char.* Rename"
    ) as e:
        list_folder(str(tmp_path))
    assert repr(name) in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("twin", ["cat ", " cat", "cat\u00a0"])
def test_classes_that_differ_in_blanks_alone_are_refused(tmp_path, twin):
    message = (
        r"differ in more than blanks; received '.*cat.*' and '.*cat.*' in .*one class one name"
    )
    if os.name == "nt":
        pytest.skip("such names do not exist there")
    flat = make(tmp_path / "flat", f"{twin}/a.png x3", "cat/b.png x3", "dog/a.png x3")
    parts = make(tmp_path / "parts", "train/cat/a.png", "train/dog/a.png", "test/dog/a.png",
                 f"test/{twin}/a.png")  # fmt: skip
    for listed in (list_folder, list_test_folder):
        with pytest.raises(ValueError, match=message):
            listed(flat)
    with pytest.raises(ValueError, match=message):
        list_folder(parts)


def test_tracks_that_straddle_the_split(tmp_path):
    signs = [f"{c}/0000{track}_0000.ppm x30" for c in "ab" for track in range(3)]
    count, name = straddling_tracks(list_folder(make(tmp_path / "signs", *signs)))
    assert count == 6 and name == "00000"
    for kind, paths in {
        "numbered": ["a/img_1.png x30", "b/x (1).png x30"],
        "random": [f"{c}/{os.urandom(0).hex()}{i * 7919}.png" for c in "ab" for i in range(30)],
    }.items():
        assert straddling_tracks(list_folder(make(tmp_path / kind, *paths))) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="names of files are text there")
def test_a_class_folder_whose_name_is_no_text_is_refused(tmp_path):
    """Its name is written into reports and exported models, when the training is over."""
    make(tmp_path, "dog/a.jpg x3")
    folder = os.path.join(os.fsencode(tmp_path), b"K\xe4fer")
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system holds no such name")
    for name in (b"1.jpg", b"2.jpg"):
        with open(os.path.join(folder, name), "wb"):
            pass
    with pytest.raises(ValueError, match=r"names are UTF-8; received b'K\\xe4fer' in .*Rename"):
        list_folder(str(tmp_path))
    os.rename(folder, os.fsencode(tmp_path / "K\u00e4fer"))
    os.rename(tmp_path / "dog" / "a0.jpg", os.path.join(os.fsencode(tmp_path), b"dog", b"\xe4.jpg"))
    assert list_folder(str(tmp_path)).class_names == ("K\u00e4fer", "dog")
