import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.testing.mocking import RandomFakeGenerator

from rlfat_tf import data
from rlfat_tf.data import tfds as tfds_of_ours


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"The network was touched: {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def real(name):
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"needs the real {name}, prepared by TFDS in $TFDS_DATA_DIR")


def store(folder, name="mine", features=None, config=None, version="1.0.0", **splits):
    """Prepares a small data set by TFDS's own writer; each split is a list of examples."""
    features = features or image_features((4, 4, 3))
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version,
        config=config,
        data_dir=str(folder),
        features=features,
        split_datasets={split: list(enumerate(rows)) for split, rows in splits.items()},
        disable_shuffling=True,
    )


def image_features(shape, **more):
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=shape),
            "label": tfds.features.ClassLabel(names=["x", "y", "z"]),
            **more,
        }
    )


def examples(n, shape=(4, 4, 3), first=0):
    return [
        {"image": np.full(shape, first + i, np.uint8), "label": (first + i) % 3} for i in range(n)
    ]


# Real data


def test_cifar10(no_network):
    real("cifar10")
    dataset = data.load("cifar10", download=False, train_examples=600, test_examples=20)
    assert dataset.image_shape == (32, 32, 3) and dataset.train.images.dtype == np.uint8
    assert dataset.num_classes == 10 and dataset.class_names[:2] == ("airplane", "automobile")
    assert len(dataset.train) == 600 and len(dataset.test) == 20
    builder = tfds.builder_from_directory(
        str(sorted(Path(os.environ["TFDS_DATA_DIR"], "cifar10").iterdir())[-1])
    )
    for part, arrays in (("train", dataset.train), ("test", dataset.test)):
        for i, example in enumerate(tfds.as_numpy(builder.as_dataset(split=part).take(10))):
            np.testing.assert_array_equal(arrays.images[i], example["image"])
            assert arrays.labels[i] == example["label"]
    with pytest.raises(ValueError, match="but the train part has 50000 examples"):
        data.load("cifar10", download=False, train_examples=50001)


def test_cifar100(no_network):
    real("cifar100")
    dataset = data.load("cifar100", download=False, train_examples=300, test_examples=100)
    assert dataset.num_classes == 100 and dataset.class_names[:2] == ("apple", "aquarium_fish")
    assert dataset.train.labels.max() > 20  # the 100 fine classes, not the 20 coarse ones


def test_mnist(no_network):
    real("mnist")
    dataset = data.load("tfds:mnist", download=False, train_examples=50, test_examples=50)
    assert dataset.image_shape == (28, 28, 1) and dataset.num_classes == 10
    large = data.load("mnist", download=False, train_examples=5, test_examples=5, image_size=32)
    assert large.image_shape == (32, 32, 1)


# Data in the published format, prepared by TFDS's own builders


def test_stl10_from_published_files(tmp_path, monkeypatch, no_network):
    source = tmp_path / "download" / "stl10_binary"
    source.mkdir(parents=True)
    (source / "class_names.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    pixels = np.random.RandomState(0).randint(0, 256, (24, 3, 96, 96)).astype(np.uint8)
    labels = np.arange(24) % 10 + 1  # published labels begin at 1
    for name, part in (("train", slice(0, 14)), ("test", slice(14, 21))):
        (source / f"{name}_X.bin").write_bytes(pixels[part].tobytes())
        (source / f"{name}_y.bin").write_bytes(labels[part].astype(np.uint8).tobytes())
    (source / "unlabeled_X.bin").write_bytes(pixels[21:].tobytes())
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download_and_extract", lambda *_: source.parent
    )
    home = tmp_path / "tfds"
    prepared = data.load("stl10", data_dir=str(home))
    read_again = data.load("stl10", data_dir=str(home), download=False)
    # Published images are stored column by column.
    expected = {(x.tobytes(), y - 1) for x, y in zip(pixels.transpose(0, 3, 2, 1), labels)}
    for dataset in (prepared, read_again):
        assert dataset.image_shape == (96, 96, 3) and dataset.num_classes == 10
        assert dataset.class_names[3] == "class 3"
        assert len(dataset.train) == 14 and len(dataset.test) == 7
        for arrays in (dataset.train, dataset.test):
            assert {(x.tobytes(), y) for x, y in zip(arrays.images, arrays.labels)} <= expected
    np.testing.assert_array_equal(prepared.train.images, read_again.train.images)


def test_svhn_from_published_files(tmp_path, monkeypatch, no_network):
    scipy_io = pytest.importorskip("scipy.io")
    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 3, 12)).astype(np.uint8)
    file = tmp_path / "any_32x32.mat"
    scipy_io.savemat(file, {"X": pixels, "y": (np.arange(12) % 10 + 1)[:, None]})
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download", lambda _, urls: {k: str(file) for k in urls}
    )
    dataset = data.load("svhn_cropped", data_dir=str(tmp_path / "tfds"))
    assert dataset.image_shape == (32, 32, 3) and dataset.num_classes == 10
    expected = {(pixels[..., i].tobytes(), (i % 10 + 1) % 10) for i in range(12)}  # 10 means 0
    found = {(x.tobytes(), y) for x, y in zip(dataset.train.images, dataset.train.labels)}
    assert found == expected


@pytest.mark.parametrize(
    "name, shape",
    [
        ("stl10", (96, 96, 3)),
        ("svhn_cropped", (32, 32, 3)),
        ("fashion_mnist", (28, 28, 1)),
        ("tfds:emnist/letters", (28, 28, 1)),
    ],
)
def test_mock_data(name, shape, tmp_path, no_network):
    with tfds.testing.mock_data(num_examples=7):
        dataset = data.load(name, data_dir=str(tmp_path), train_examples=5)
    assert dataset.image_shape == shape
    assert len(dataset.train) == 5 and len(dataset.test) == 7


@pytest.mark.parametrize(
    "name, classes",
    [
        ("imagenet2012", 1000),
        ("imagenette/320px-v2", 10),
        ("oxford_flowers102", 102),
        ("food101", 101),
    ],
)
def test_photos_of_tfds_as_its_fake_generator_makes_them(name, classes, tmp_path, no_network):
    builder = tfds.builder(name, data_dir=str(tmp_path / "nothing"))
    fakes = [*RandomFakeGenerator(builder.info.features, 4)]
    splits = {"train": fakes, "validation": fakes[:3]}
    if name in ("imagenet2012", "oxford_flowers102"):
        splits["test"] = fakes[1:3]
    if name == "imagenet2012":  # its labels are a secret
        splits["test"] = [{**fake, "label": -1} for fake in splits["test"]]
    store(
        tmp_path,
        name.partition("/")[0],
        features=builder.info.features,
        config=name.partition("/")[2] or None,
        **splits,
    )
    how = {"data_dir": str(tmp_path), "download": False, "image_size": 4, "view": "centre"}
    found = data.load(f"tfds:{name}", memory="never", **how)
    assert found.num_classes == classes and found.image_shape == (4, 4, 3)
    labels = [fake["label"] for fake in fakes]
    parts = {"train": labels, "test": labels[:3], "validation": None}
    if name == "oxford_flowers102":
        parts = {"train": labels, "test": labels[1:3], "validation": labels[:3]}
    for part, expected in parts.items():
        source = getattr(found, part)
        assert (None if source is None else source.labels.tolist()) == expected
    # JPEG, of other sizes: the same image in both parts.
    place = parts["train"].index(parts["test"][0])
    np.testing.assert_array_equal(found.test.images[0], found.train.images[place])


# Other sets


def test_the_newest_version_is_read(tmp_path, no_network):
    store(tmp_path, version="2.0.0", train=examples(3), test=examples(2))
    store(tmp_path, version="10.0.0", train=examples(6), test=examples(2))
    dataset = data.load("tfds:mine", data_dir=str(tmp_path), download=False)
    assert len(dataset.train) == 6
    np.testing.assert_array_equal(dataset.train.images[:, 0, 0, 0], np.arange(6))
    assert dataset.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.class_names == ("x", "y", "z")


def test_data_dir_comes_from_the_environment(tmp_path, monkeypatch, no_network):
    store(tmp_path, train=examples(3), test=examples(2))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(data.load("tfds:mine", download=False).train) == 3


def test_the_test_part(tmp_path, no_network):
    store(tmp_path, "a", train=examples(9), validation=examples(4))
    assert len(data.load("tfds:a", data_dir=str(tmp_path), download=False).test) == 4
    store(tmp_path, "b", train=examples(10))
    alone = data.load("tfds:b", data_dir=str(tmp_path), download=False)
    assert alone.train.images[:, 0, 0, 0].tolist() == list(range(8))
    assert alone.test.images[:, 0, 0, 0].tolist() == [8, 9]
    store(tmp_path, "c", test=examples(3))
    with pytest.raises(ValueError, match=r"no split 'train', only \['test'\]"):
        data.load("tfds:c", data_dir=str(tmp_path), download=False)


def test_a_set_with_a_test_split_alone_can_be_evaluated(tmp_path, no_network):
    for split in ("test", "validation"):  # ImageNet's corrupted images are called validation
        store(tmp_path, split, config="fog_3", **{split: examples(3)})
        name = f"tfds:{split}/fog_3"
        found = data.load(name, data_dir=str(tmp_path), download=False, test_only=True)
        assert found.test.images[:, 0, 0, 0].tolist() == [0, 1, 2] and not len(found.train)
        with pytest.raises(ValueError, match="can be evaluated on it .* but not trained"):
            data.load(name, data_dir=str(tmp_path), download=False)


@pytest.mark.parametrize(
    "name, configs",
    [
        ("cifar10_corrupted", "brightness_1, brightness_2, .*zoom_blur_5"),
        ("mnist_corrupted", "identity, shot_noise, .*canny_edges"),
        ("imagenet2012_corrupted", "gaussian_noise_1, .*speckle_noise_5"),
    ],
)
def test_a_corruption_must_be_named(name, configs, tmp_path, no_network):
    store(tmp_path, name, config="brightness_1", test=examples(3))  # the only one on disk
    message = rf"Expected tfds:{name}/<config>: .* Configs: {configs}\."
    with pytest.raises(ValueError, match=message):
        data.load(f"tfds:{name}", data_dir=str(tmp_path), test_only=True)
    named = f"tfds:{name}/brightness_1"
    assert len(data.load(named, data_dir=str(tmp_path), download=False, test_only=True).test) == 3


def test_cifar10_1_from_published_files(tmp_path, monkeypatch, no_network):
    images = np.random.RandomState(0).randint(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "data.npy", images)
    np.save(tmp_path / "labels.npy", np.arange(6, dtype=np.int32))
    files = [str(tmp_path / f"{name}.npy") for name in ("data", "labels")]
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda *_: files)
    found = data.load("tfds:cifar10_1/v6", data_dir=str(tmp_path / "tfds"), test_only=True)
    assert found.num_classes == 10 and len(found.test) == 6
    expected = {(x.tobytes(), y) for y, x in enumerate(images)}
    assert {(x.tobytes(), y) for x, y in zip(found.test.images, found.test.labels)} == expected


def test_configs(tmp_path, no_network):
    store(tmp_path, config="one", train=examples(3), test=examples(2))
    assert len(data.load("tfds:mine", data_dir=str(tmp_path), download=False).train) == 3
    store(tmp_path, config="two", train=examples(4), test=examples(2))
    assert len(data.load("tfds:mine/two", data_dir=str(tmp_path), download=False).train) == 4
    with pytest.raises(ValueError, match="several configs of this data set: one, two"):
        data.load("tfds:mine", data_dir=str(tmp_path), download=False)


def test_images_of_different_size(tmp_path, no_network):
    mixed = examples(3) + examples(3, (6, 8, 3), first=3)
    store(tmp_path, features=image_features((None, None, 3)), train=mixed, test=mixed)
    with pytest.raises(ValueError, match=r"differ in size .*--image_size=64"):
        data.load("tfds:mine", data_dir=str(tmp_path), download=False)
    dataset = data.load("tfds:mine", data_dir=str(tmp_path), download=False, image_size=5)
    assert dataset.image_shape == (5, 5, 3)
    assert (dataset.train.images == np.arange(6)[:, None, None, None]).all()


def test_what_is_no_image_classification(tmp_path, no_network):
    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    store(tmp_path, features=features, train=[{"text": "a"}], test=[{"text": "b"}])
    with pytest.raises(ValueError, match="'mine' is not one for image classification"):
        data.load("tfds:mine", data_dir=str(tmp_path), download=False)


@pytest.mark.parametrize("name", ["cifar10", "stl10", "tfds:nothing_like_it"])
def test_without_download_a_missing_set_is_an_error_and_no_request(name, tmp_path, no_network):
    plain = name.replace("tfds:", "")
    message = rf"'{plain}' is not in '{tmp_path}/{plain}'.*--download.*tfds build {plain}"
    with pytest.raises(FileNotFoundError, match=message):
        data.load(name, data_dir=str(tmp_path), download=False)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name(tmp_path, no_network):
    told = "^Unknown TFDS data set 'cifar11'. Did you mean 'cifar10.*'[?] All of them: https:.*$"
    with pytest.raises(ValueError, match=told):
        data.load("tfds:cifar11", data_dir=str(tmp_path))


def test_a_failed_download_is_told(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(requests, "get", lambda *_, **__: requests.Response())  # it answers
    monkeypatch.setattr(requests.Response, "close", lambda _: None)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    with pytest.raises(FileNotFoundError, match="could not download or prepare 'cifar10'.*route"):
        data.load("cifar10", data_dir=str(tmp_path))


@pytest.mark.parametrize("silent", [False, True])
def test_a_server_that_cannot_be_reached_is_told_soon(silent, tmp_path, monkeypatch):
    def get(url, **how):
        assert "cifar" in url and how["timeout"] == 0.01
        if not silent:
            raise requests.ConnectionError("no route to host")
        never.wait()

    never = threading.Event()
    monkeypatch.setattr(requests, "get", get)
    monkeypatch.setattr(tfds_of_ours, "ANSWER_SECONDS", 0.01)
    reason = "no answer" if silent else "ConnectionError"
    with pytest.raises(FileNotFoundError, match=f"cannot be reached .*{reason}.* tfds build cifar"):
        data.load("cifar10", data_dir=str(tmp_path))
    never.set()


def test_files_that_hold_less_than_they_should(tmp_path):
    store(tmp_path, train=examples(6), test=examples(2))
    info = tmp_path / "mine" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"6"', '"7"'))
    with pytest.raises(ValueError, match="Expected 7 examples, but the files hold 6"):
        data.load("tfds:mine", data_dir=str(tmp_path), download=False)
