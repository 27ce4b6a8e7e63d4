import hashlib
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from rlfat_tf import data
from rlfat_tf.data import content, folder, layout


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)


def picture(value, shape=(6, 5, 3)):
    return (np.arange(np.prod(shape)).reshape(shape) + value).astype(np.uint8)


@pytest.fixture
def tree(tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for index, name in enumerate(("cat", "dog")):
            for i in range(count):
                write(
                    tmp_path / part / name / f"{i}.png",
                    picture(100 * index + i + 50 * (part == "test")),
                )
    return tmp_path


def test_two_levels(tree):
    for name in ("notes.txt", "a.HEIC", "README", ".hidden"):
        (tree / "train" / "cat" / name).write_text("no image")
    left_out = r"Left out of '.*': 3 files with other endings \('', '.heic', '.txt'\)\.$"
    with pytest.warns(UserWarning, match=left_out) as warned:
        dataset = data.load(f"folder:{tree}")
    assert len(warned) == 1
    assert dataset.class_names == ("cat", "dog") and dataset.num_classes == 2
    assert dataset.image_shape == (6, 5, 3)
    assert (len(dataset.train), len(dataset.test)) == (8, 4)
    seen = {(int(y), int(x[0, 0, 0])) for x, y in zip(dataset.train.images, dataset.train.labels)}
    assert seen == {(c, 100 * c + i) for c in (0, 1) for i in range(4)}
    for image in dataset.train.images:
        np.testing.assert_array_equal(image, picture(image[0, 0, 0]))


def test_the_first_examples(tree):
    whole = data.load(f"folder:{tree}").train
    first = data.load(f"folder:{tree}", train_examples=3, test_examples=1)
    np.testing.assert_array_equal(first.train.images, whole.images[:3])
    assert len(first.test) == 1
    with pytest.raises(ValueError, match="train_examples is 9, but the train part has 8"):
        data.load(f"folder:{tree}", train_examples=9)


def test_a_validation_part(tree):
    for name in ("cat", "dog"):
        write(tree / "val" / name / "0.png", picture(50))
    dataset = data.load(f"folder:{tree}", train_examples=3, test_examples=1)
    assert (len(dataset.train), len(dataset.test), len(dataset.validation)) == (3, 1, 2)
    assert set(dataset.validation.images[:, 0, 0, 0]) == {50}
    assert sorted(dataset.validation.labels) == [0, 1]
    for path in (tree / "test").rglob("*.png"):
        path.unlink()
    for name in ("test/cat", "test/dog", "test"):
        (tree / name).rmdir()
    dataset = data.load(f"folder:{tree}")
    assert dataset.validation is None and set(dataset.test.images[:, 0, 0, 0]) == {50}


def test_one_level_gives_a_fifth_to_the_test_part(tmp_path):
    for index, name in enumerate(("a", "b")):
        for i in range(10):
            write(tmp_path / name / f"{i}.png", picture(100 * index + i))
    dataset = data.load(f"folder:{tmp_path}")
    names = [f"{i}.png" for i in range(10)]
    expected = [i for i, n in enumerate(names) if place(n) < 0.2]
    assert len(expected) == 4
    seen = sorted(dataset.test.images[:, 0, 0, 0])
    assert seen == [*expected, *(100 + i for i in expected)]
    assert len(dataset.train) == 12
    assert set(dataset.train.labels[:4]) == {0, 1}  # the files are not in the order of classes
    again = data.load(f"folder:{tmp_path}")
    np.testing.assert_array_equal(dataset.train.images, again.train.images)


def place(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def test_the_test_part_alone(tree, monkeypatch):
    whole = data.load(f"folder:{tree}")
    opened = []
    monkeypatch.setattr(content, "open", lambda f, m: opened.append(f) or open(f, m), raising=False)
    monkeypatch.setattr(folder, "open", lambda f, m: opened.append(f) or open(f, m), raising=False)
    dataset = data.load(f"folder:{tree}", test_only=True)
    assert opened and not [path for path in opened if "train" in path[len(str(tree)) :]]
    assert len(dataset.train) == 0 and dataset.validation is None
    np.testing.assert_array_equal(dataset.test.images, whole.test.images)
    assert dataset.content == {"test": whole.content["test"]}
    digits = data.load("digits", test_only=True)
    assert len(digits.train) == 0 and len(digits.test) == 360


def test_channels_of_a_part_are_those_that_are_asked_for(tree):
    grey = {"channels": 1, "test_only": True}
    with pytest.raises(ValueError, match="Expected grey images, of one channel; those of .* col"):
        data.load(f"folder:{tree}", **grey)
    for name in ("cat", "dog"):
        for i in range(2):
            write(tree / "test" / name / f"{i}.png", picture(i, (6, 5, 1)))
    assert data.load(f"folder:{tree}", **grey).image_shape == (6, 5, 1)
    assert data.load(f"folder:{tree}", test_only=True, channels=3).image_shape == (6, 5, 3)


def test_the_content_tells_what_has_changed(tree):
    before = data.load(f"folder:{tree}").content
    assert before["test"].startswith("4 files, ") and set(before) == {"train", "test"}
    assert data.load(f"folder:{tree}", train_examples=1, image_size=3).content == before
    moved = tree.parent / f"{tree.name}-moved"
    tree.rename(moved)
    assert data.load(f"folder:{moved}").content == before
    file = moved / "train" / "cat" / "0.png"
    original = file.read_bytes()
    flipped = original[:-20] + bytes([original[-20] ^ 1]) + original[-19:]
    changes = {
        "one bit": (lambda: file.write_bytes(flipped), lambda: file.write_bytes(original)),
        "a name": (lambda: file.rename(file.with_name("x.png")),
                   lambda: file.with_name("x.png").rename(file)),
        "an image more": (lambda: write(file.with_name("new.png"), picture(9)),
                          lambda: file.with_name("new.png").unlink()),
        "a class": (lambda: (moved / "train" / "cat").rename(moved / "train" / "cow"),
                    lambda: (moved / "train" / "cow").rename(moved / "train" / "cat")),
    }  # fmt: skip
    for change, back in changes.values():
        change()
        parts = layout.list_folder(str(moved / "train" if "cow" in os.listdir(moved / "train")
                                       else moved)).parts  # fmt: skip
        lines = {p: content.describe(f, content.digests(f)) for p, f in parts.items()}
        assert lines["train"] != before["train"]
        back()
    assert data.load(f"folder:{moved}").content == before


def test_the_contents_of_the_first_files_count_where_there_are_many(tree):
    files = layout.list_folder(str(tree)).parts["train"]
    assert len(content.digests(files)) == 8
    some = content.digests(files, budget=files[0].size + files[1].size)
    assert list(some) == list(files[:2])
    line = content.describe(files, some)
    for file, counts in ((files[1], True), (files[2], False)):
        original = open(file.path, "rb").read()
        open(file.path, "wb").write(original[::-1])
        assert (content.describe(files, content.digests(files, sum(f.size for f in some)))
                != line) == counts  # fmt: skip
        open(file.path, "wb").write(original)


def test_images_that_are_in_both_parts(tree):
    cat, twin = tree / "train" / "cat" / "1.png", tree / "test" / "dog" / "again.png"
    twin.write_bytes(cat.read_bytes())
    message = r"1 of the 5 files of the test part are identical .*again.png' and '.*1.png'"
    with pytest.warns(UserWarning, match=message) as warned:
        data.load(f"folder:{tree}")
    assert len(warned) == 1


def test_frames_of_one_track_on_both_sides_of_the_split(tmp_path):
    for name in "ab":
        for track in range(2):
            for i in range(12):
                write(tmp_path / name / f"{track:05}_{i:05}.png", picture(20 * track + i))
    tracks = "^4 groups of images .*'00000', .* frames of one video or track"
    with pytest.warns(UserWarning, match=tracks) as warned:
        data.load(f"folder:{tmp_path}")
    assert len(warned) == 1


def test_grey_images_have_one_channel(tmp_path):
    for name in "ab":
        for i in range(5):
            write(tmp_path / name / f"{i}.png", picture(i, (6, 5, 1)))
    assert data.load(f"folder:{tmp_path}").image_shape == (6, 5, 1)
    write(tmp_path / "b" / "0.png", picture(0))
    assert data.load(f"folder:{tmp_path}").image_shape == (6, 5, 3)


def test_sizes_that_differ_need_image_size(tree):
    write(tree / "train" / "dog" / "odd.jpg", picture(0, (9, 7, 3)))
    with pytest.raises(ValueError, match=r"differ in size: .*--image_size"):
        data.load(f"folder:{tree}")
    dataset = data.load(f"folder:{tree}", image_size=4)
    assert dataset.image_shape == (4, 4, 3) and len(dataset.train) == 9


def test_parts_of_different_size(tree):
    for file in (tree / "test").glob("*/*.png"):
        write(file, picture(0, (7, 7, 3)))
    with pytest.raises(ValueError, match=r"one shape; received \(6, 5, 3\) and \(7, 7, 3\)"):
        data.load(f"folder:{tree}")


def test_resizing_is_antialiased_and_rounds(tmp_path):
    image = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    for name in "ab":
        for i in range(5):
            write(tmp_path / name / f"{i}.png", image)
    expected = tf.image.resize(image, (4, 4), antialias=True).numpy().round()
    with pytest.warns(UserWarning, match="identical to files of the training part"):
        result = data.load(f"folder:{tmp_path}", image_size=4).train.images[0]
    np.testing.assert_array_equal(result, expected.astype(np.uint8))


@pytest.mark.parametrize("size", [None, 4])
def test_a_broken_file_is_named(tree, size):
    (tree / "train" / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="1 file cannot be read as images: '.*broken.png' .it is"):
        data.load(f"folder:{tree}", image_size=size)


def test_a_part_of_which_nothing_can_be_read(tree):
    for path in (tree / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="the file is empty"):
        with pytest.raises(ValueError, match="None of the files of the test part can be read"):
            data.load(f"folder:{tree}", skip_unreadable=True)


def test_threads_share_one_graph_for_resizing(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(tf.get_logger(), "warning", lambda *args: said.append(args))
    folder._look_at.cache_clear()
    for name in "ab":
        for i in range(20):
            write(tmp_path / name / f"{i}.png", picture(i))
    data.load(f"folder:{tmp_path}", image_size=3)
    assert not said  # of retracing


def test_what_is_not_there(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        data.load(f"folder:{tmp_path / 'nowhere'}")
    write(tree / "test" / "bird" / "0.png", picture(0))
    with pytest.raises(ValueError, match=r"classes that train lacks: \['bird'\]"):
        data.load(f"folder:{tree}")
    (tree / "test").rename(tree / "elsewhere")
    with pytest.raises(FileNotFoundError, match="'train' but no 'test'"):
        data.load(f"folder:{tree}")
    (tree / "train").rename(tree / "a_class")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="Expected images .*found none"):
        data.load(f"folder:{empty}")


def test_a_folder_with_one_class(tmp_path):
    for i in range(5):
        write(tmp_path / "only" / f"{i}.png", picture(i))
    with pytest.raises(ValueError, match="at least 2 classes; received 1"):
        data.load(f"folder:{tmp_path}")


def test_too_large_for_memory(tree):
    with pytest.raises(ValueError, match=r"GiB.*--memory=never.*--train_examples, .*--image_size"):
        data.load(f"folder:{tree}", image_size=100_000, memory="always")
