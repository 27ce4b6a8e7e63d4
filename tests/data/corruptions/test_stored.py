"""Corrupted test images as their authors give them."""

import numpy as np
import pytest
from PIL import Image

from rlfat_tf import data
from rlfat_tf.data.corruptions import stored


@pytest.fixture
def cifar(tmp_path):
    """Two corruptions of four images; a pixel tells corruption, severity and example."""
    rows = np.arange(20).reshape(20, 1, 1, 1) + np.zeros((1, 2, 3, 3), int)
    for number, name in enumerate(("fog", "snow")):
        np.save(tmp_path / f"{name}.npy", (rows + 100 * number).astype(np.uint8))
    np.save(tmp_path / "labels.npy", np.tile([0, 2, 1, 2], 5).astype(np.uint8))
    return tmp_path


def load(folder, **options):
    return data.load(f"corrupted:{folder}", test_only=True, **options)


def test_arrays(cifar):
    found = load(cifar / "snow" / "3")
    assert found.test.images[:, 0, 0, 0].tolist() == [108, 109, 110, 111]
    assert found.test.images.shape == (4, 2, 3, 3)
    assert found.test.labels.tolist() == [0, 2, 1, 2]
    assert found.class_names == ("0", "1", "2") and not len(found.train)
    first = load(cifar / "fog" / "5", test_examples=2)
    assert first.test.images[:, 0, 0, 0].tolist() == [16, 17]
    assert first.content["test"] != load(cifar / "fog" / "4", test_examples=2).content["test"]
    assert load(cifar / "fog" / "1", image_size=4).test.images.shape == (4, 4, 4, 3)


def test_labels_of_one_severity_alone(cifar):
    np.save(cifar / "labels.npy", np.array([2, 0, 0, 1]))
    assert load(cifar / "fog" / "5").test.labels.tolist() == [2, 0, 0, 1]


def test_class_folders_are_read_whole(tmp_path):
    for severity in (1, 2):
        for label, name in enumerate(("cat", "dog")):
            for i in range(3):
                path = tmp_path / "fog" / str(severity) / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = np.full((4, 4, 3), 100 * severity + 10 * label + i, np.uint8)
                image[0, 0, 0] = 0  # not grey
                Image.fromarray(image).save(path)
    found = load(tmp_path / "fog" / "2")
    pairs = zip(found.test.images[:, 1, 1, 0].tolist(), found.test.labels.tolist())
    assert sorted(pairs) == [(200, 0), (201, 0), (202, 0), (210, 1), (211, 1), (212, 1)]
    assert found.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    "path, error, message",
    [
        ("fog/6", ValueError, "a severity from 1 to 5; received corrupted:.*fog/6"),
        ("fgo/1", ValueError, "Unknown corruption in '.*': 'fgo'. Did you mean 'fog'?"),
        ("none/fog/1", FileNotFoundError, "Expected corrupted images in '.*none'"),
    ],
)
def test_what_is_not_there(cifar, path, error, message):
    with pytest.raises(error, match=message):
        load(cifar / path)


def test_damaged_files(cifar):
    (cifar / "fog.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(ValueError, match="fog.npy' is damaged or no array"):
        load(cifar / "fog" / "1")
    np.save(cifar / "labels.npy", np.arange(7))
    with pytest.raises(ValueError, match="n or 5 n labels; they hold uint8 .20, 2, 3, 3. and .7,"):
        load(cifar / "snow" / "1")
    (cifar / "labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match="There is no 'labels.npy'"):
        load(cifar / "snow" / "1")


def test_training_on_them_is_refused(cifar):
    with pytest.raises(ValueError, match="to evaluate models on .* none to train them"):
        data.load(f"corrupted:{cifar}/fog/1")


def test_names(cifar):
    assert stored.names(cifar) == ("fog", "snow")
