import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import data


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = tf.io.encode_jpeg if path.suffix == ".jpg" else tf.io.encode_png
    path.write_bytes(encode(image).numpy())


def picture(value, shape=(6, 5, 3)):
    return (np.arange(np.prod(shape)).reshape(shape) + value).astype(np.uint8)


@pytest.fixture
def tree(tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for index, name in enumerate(("cat", "dog")):
            for i in range(count):
                write(tmp_path / part / name / f"{i}.png", picture(100 * index + i))
    return tmp_path


def test_two_levels(tree):
    for name in ("notes.txt", "a.WEBP", "README", ".hidden"):
        (tree / "train" / "cat" / name).write_text("no image")
    left_out = r"Left out 3 files in '.*train' whose endings are not .png.* but '', '.txt', '.webp'"
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


@pytest.mark.parametrize("name", ["val", "validation"])
def test_validation_stands_in_for_test(tree, name):
    (tree / "test").rename(tree / name)
    assert len(data.load(f"folder:{tree}").test) == 4


def test_one_level_gives_a_fifth_to_the_test_part(tmp_path):
    for index, name in enumerate(("a", "b")):
        for i in range(10):
            write(tmp_path / name / f"{i}.png", picture(100 * index + i))
    dataset = data.load(f"folder:{tmp_path}")
    assert (len(dataset.train), len(dataset.test)) == (16, 4)
    assert sorted(dataset.test.images[:, 0, 0, 0]) == [4, 9, 104, 109]
    assert set(dataset.train.labels[:4]) == {0, 1}  # the files are not in the order of classes
    again = data.load(f"folder:{tmp_path}")
    np.testing.assert_array_equal(dataset.train.images, again.train.images)


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
    result = data.load(f"folder:{tmp_path}", image_size=4).train.images[0]
    np.testing.assert_array_equal(result, expected.astype(np.uint8))


@pytest.mark.parametrize("size", [None, 4])
def test_a_broken_file_is_named(tree, size):
    (tree / "train" / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="broken.png' cannot be read as an image"):
        data.load(f"folder:{tree}", image_size=size)


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
    with pytest.raises(ValueError, match=r"GiB.*--train_examples, .*--image_size"):
        data.load(f"folder:{tree}", image_size=100_000)
