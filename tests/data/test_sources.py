"""Streams from disk give the very batches that memory gives, and read no more than they need."""

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from rlfat_tf import data
from rlfat_tf.data import files, pipeline, prepared, records, rows, source
from rlfat_tf.data.reading import Unreadable

N, TEST, SIDE = 22, 6, 8


def pictures(n, seed, shape=(SIDE, SIDE, 3)):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """The same kinds of images as a folder, as arrays in both forms and as TFRecords."""
    home = tmp_path_factory.mktemp("data")
    parts = {"train": pictures(N, 0), "test": pictures(TEST, 1)}
    labels = {part: np.arange(len(images)) % 2 for part, images in parts.items()}
    for part, images in parts.items():
        for i, image in enumerate(images):
            # Of different sizes, so that a view is needed.
            file = home / "folder" / part / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.pad(image, ((0, i % 3), (0, 2), (0, 0)), "edge")).save(file)
    (home / "arrays").mkdir()
    for part in parts:
        np.save(home / "arrays" / f"x_{part}.npy", parts[part])
        np.save(home / "arrays" / f"y_{part}.npy", labels[part])
    named = {f"x_{part}": images for part, images in parts.items()}
    named.update({f"y_{part}": of_part for part, of_part in labels.items()})
    np.savez(home / "arrays.npz", **named)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["x", "y"]),
        }
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="mine",
        version="1.0.0",
        data_dir=str(home / "tfds"),
        features=features,
        split_datasets={
            part: [(i, {"image": image, "label": i % 2}) for i, image in enumerate(images)]
            for part, images in parts.items()
        },
        disable_shuffling=True,
    )
    return home


KINDS = {
    "folder": (files.Files, {"image_size": SIDE}),
    "centre": (files.Files, {"image_size": SIDE, "view": "centre"}),
    "arrays": (data.Rows, {}),
    "npz": (data.Rows, {"image_size": 6}),
    "tfds": (records.Records, {"image_size": SIDE, "download": False}),
}


def load(homes, kind, **how):
    names = {
        "folder": f"folder:{homes / 'folder'}",
        "centre": f"folder:{homes / 'folder'}",
        "arrays": f"arrays:{homes / 'arrays'}",
        "npz": f"arrays:{homes / 'arrays.npz'}",
        "tfds": "tfds:mine",
    }
    return data.load(names[kind], data_dir=str(homes / "tfds"), **{**KINDS[kind][1], **how})


def take(batches, count):
    return list(itertools.islice(batches.as_numpy_iterator(), count))


def assert_equal(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others):
        for part, its_part in zip(one, other):
            np.testing.assert_array_equal(part, its_part)


def both(homes, kind):
    """The data in memory and on disk."""
    held, stored = (load(homes, kind, memory=how, train_examples=21) for how in ("always", "never"))
    assert type(stored.train) is KINDS[kind][0] and type(held.train) is data.Arrays
    assert stored.content == held.content and stored.image_shape == held.image_shape
    assert len(stored.train) == 21
    return held, stored


@pytest.mark.parametrize("kind", KINDS)
def test_images_on_disk_are_those_in_memory(homes, kind):
    held, stored = both(homes, kind)
    np.testing.assert_array_equal(stored.train.images[:], held.train.images)
    np.testing.assert_array_equal(stored.train.labels, held.train.labels)
    mask = np.arange(TEST) % 2 == 1
    for index in (2, -1, slice(1, 4), np.array([3, 0, 3]), mask, slice(0, 0)):
        np.testing.assert_array_equal(stored.test.images[index], held.test.images[index])
    scaled = data.Pixels(stored.test, scaled=True)[:]
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, held.test.images / np.float32(255))


@pytest.mark.parametrize("kind", ["folder", "arrays"])  # one by one, and in batches
def test_a_stream_is_that_of_memory_bit_for_bit(homes, kind):
    held, stored = (data.split(data_set.train, 0.1, seed=3) for data_set in both(homes, kind))
    policy = {"batch_size": 4, "seed": 5, "augment": "crop_flip+cutout+cutmix", "num_classes": 2}
    steps = data.steps_per_epoch(held[0], 4)
    assert len(held[0]) % 4 and steps == 4
    whole = take(data.training_batches(held[0], **policy), 2 * steps)
    assert_equal(whole, take(data.training_batches(stored[0], **policy), 2 * steps))
    # Starting at a step is skipping.
    later = data.training_batches(stored[0], start_step=steps + 1, **policy)
    assert_equal(whole[steps + 1 :], take(later, steps - 1))
    passes = (data.evaluation_batches(part, batch_size=4) for part in (held[1], stored[1]))
    assert_equal(*(list(batches.as_numpy_iterator()) for batches in passes))


def test_windows_are_cut_out_of_images_as_they_are_stored(homes):
    """Alike in every kind, though the images of each are resized where they are not cut."""
    small = {"image_size": 4, "view": "centre", "memory": "never"}
    parts = [load(homes, kind, **small).train for kind in ("npz", "tfds")]
    np.testing.assert_array_equal(*(part.images[:] for part in parts))
    policy = {"batch_size": 5, "seed": 1, "augment": "resized_crop+flip"}
    cut, whole = (
        [take(data.training_batches(part, **{**policy, **how}), 3) for part in parts]
        for how in ({}, {"augment": "flip"})
    )
    assert_equal(*cut)
    assert_equal(*whole)
    assert parts[1].reader()(0).shape == (SIDE, SIDE, 3) and cut[0][0][0].shape == (5, 4, 4, 3)


def test_classes_are_those_of_all_labels_not_of_the_first(tmp_path):
    labels = {"train": np.arange(N) // 2, "test": np.arange(TEST) // 3}
    for part, seed in (("train", 0), ("test", 1)):
        np.save(tmp_path / f"x_{part}.npy", pictures(len(labels[part]), seed))
        np.save(tmp_path / f"y_{part}.npy", labels[part])
    found = data.load(f"arrays:{tmp_path}", train_examples=4, test_examples=4)
    assert found.num_classes == N // 2 and found.class_names[-1] == str(N // 2 - 1)
    np.save(tmp_path / "x_test.npy", pictures(0, 0))
    np.save(tmp_path / "y_test.npy", labels["test"][:0])
    with pytest.raises(ValueError, match="test"):
        data.load(f"arrays:{tmp_path}")


def test_labels_may_be_renamed_and_views_of_views_taken(homes):
    train = load(homes, "arrays", memory="never").train
    chosen = train.take(np.array([9, 4, 7, 2])).take(slice(1, 3)).relabelled(np.array([8, 9]))
    np.testing.assert_array_equal(chosen.images[:], pictures(N, 0)[[4, 7]])
    assert chosen.labels.tolist() == [8, 9] and len(train) == N


def test_a_resumed_stream_reads_what_it_gives_and_what_is_on_its_way(homes, monkeypatch):
    train = load(homes, "tfds", memory="never").train
    read = []
    original = records.Records._record
    monkeypatch.setattr(
        records.Records,
        "_record",
        lambda self, place: read.append(int(place)) or original(self, place),
    )
    stream = data.training_batches(train, batch_size=2, seed=0, start_step=10**6)
    take(stream, 1)
    on_its_way = pipeline.PREFETCHED + pipeline.PARALLEL_CALLS + 2
    assert 2 <= len(read) <= 2 * on_its_way + source.PARALLEL_READS


@pytest.mark.parametrize("parallel", [1, 16])
def test_parallel_reads_change_nothing(homes, parallel, monkeypatch):
    train = load(homes, "folder", memory="never").train
    before = take(data.training_batches(train, batch_size=4, seed=0), 3)
    monkeypatch.setattr(pipeline, "PARALLEL_READS", parallel)
    assert_equal(before, take(data.training_batches(train, batch_size=4, seed=0), 3))


# What is damaged


def copied(homes, tmp_path, kind):
    for file in (homes / kind).rglob("*"):
        if file.is_file():
            copy = tmp_path / kind / file.relative_to(homes / kind)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    return tmp_path


def test_a_file_that_is_damaged_after_the_start_is_named(homes, tmp_path):
    train = load(copied(homes, tmp_path, "folder"), "folder", memory="never").train
    file = tmp_path / "folder" / "train" / "a" / "4.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    with pytest.raises(Unreadable, match=f"^'{file}' cannot be read as an image"):
        train.images[:]
    with pytest.raises(Exception, match=f"Unreadable: '{file}' cannot be read as an image"):
        take(data.training_batches(train, batch_size=4, seed=0), 5)
    file.write_bytes(whole)
    assert train.images[:].shape == (N, SIDE, SIDE, 3)


def test_a_stand_in_for_a_damaged_file_moves_nothing(homes, tmp_path):
    copied(homes, tmp_path, "folder")
    policy = {"batch_size": 4, "seed": 5, "augment": "none"}

    def batches(source, start_step=0):
        found = take(
            data.training_batches(source, start_step=start_step, **policy), 10 - start_step
        )
        return tuple(np.concatenate(part) for part in zip(*found))

    whole = load(tmp_path, "folder", memory="never", skip_unreadable=True).train
    assert len(whole) // 4 == 5  # two epochs
    images, labels = batches(whole)
    # The first and the last of a class: what stands in for the latter is the first that is good.
    of_class = np.flatnonzero(whole.labels == 1)
    damaged, stand_in = of_class[[0, -1]], of_class[1]
    before = [whole.images[place] / np.float32(255) for place in (*damaged, stand_in)]
    for place in damaged:
        with open(whole._paths[place], "wb") as file:
            file.write(b"<html>")
    with pytest.raises(ValueError, match="2 files cannot be read as images: .*--skip_unreadable"):
        load(tmp_path, "folder", memory="never")
    with pytest.warns(
        UserWarning, match="2 files cannot .* the next image of the class takes the place"
    ):
        held = load(tmp_path, "folder", memory="always", skip_unreadable=True).train
    changed = [(images == image).all((1, 2, 3)) for image in before[:2]]
    expected = np.where(sum(changed)[:, None, None, None], before[2], images)
    assert sum(changed).sum() >= 2
    with pytest.warns(UserWarning, match="cannot be read as an image .* takes its place") as warned:
        found = batches(whole)  # damaged in the middle of a run
    assert sorted(str(one.message).split("'")[1] for one in warned) == sorted(
        whole._paths[place] for place in damaged
    )
    later = tuple(part[4 * 7 :] for part in found)
    assert_equal([(expected, labels)] * 2, [found, batches(held)])
    assert_equal([later], [batches(whole.take(slice(None)), start_step=7)])
    for place in of_class:
        with open(whole._paths[place], "wb"):
            pass
    with pytest.raises(Unreadable, match=f"'{whole._paths[damaged[0]]}' cannot be read"):
        whole.images[damaged[:1]]
    with pytest.raises(ValueError, match="None of the training images of the class 'b' can be"):
        load(tmp_path, "folder", memory="always", skip_unreadable=True)


def test_damaged_test_files_are_left_out(homes, tmp_path):
    copied(homes, tmp_path, "folder")
    (tmp_path / "folder" / "test" / "b" / "3.png").write_bytes(b"<html>")
    with pytest.warns(UserWarning, match="'.*3.png'.* left out"):
        held, stored = (
            load(tmp_path, "folder", memory=how, skip_unreadable=True)
            for how in ("always", "never")
        )
    assert len(stored.test) == TEST - 1 and len(stored.train) == N
    np.testing.assert_array_equal(stored.test.images[:], held.test.images)
    np.testing.assert_array_equal(stored.test.labels, held.test.labels)


def test_files_that_the_first_ones_did_not_announce(tmp_path, monkeypatch):
    monkeypatch.setattr(data.folder, "PROBED", 2)
    grey = np.repeat(pictures(12, 0, (4, 4, 1)), 3, -1)
    for i, part in enumerate(["train"] * 6 + ["test"] * 6):
        file = tmp_path / part / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey[i]).save(file)
    train = data.load(f"folder:{tmp_path}", memory="never", channels=None).train
    assert train.image_shape == (4, 4, 1)
    last = train._paths[-1]
    Image.fromarray(pictures(1, 1, (4, 4, 3))[0]).save(last)
    with pytest.raises(Unreadable, match=f"'{last}' has colours, .*--memory=always"):
        train.images[:]
    Image.fromarray(grey[0][:3]).save(last)
    with pytest.raises(Unreadable, match=f"'{last}' has 3 x 4 pixels, .*--image_size=4"):
        train.images[:]


def test_records_that_are_damaged(homes, tmp_path):
    copied(homes, tmp_path, "tfds")
    (file,) = (tmp_path / "tfds").rglob("*train*")
    train = load(tmp_path, "tfds", memory="never").train
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    with pytest.raises(Unreadable, match="train.* has become shorter. Prepare the data set again"):
        train.images[:]
    with pytest.raises(Unreadable, match="train.* is incomplete or damaged"):
        load(tmp_path, "tfds", memory="never")
    file.unlink()
    with pytest.raises(Unreadable, match="train.* cannot be read .No such file"):
        train.images[:]


def test_the_index_of_records_is_kept_until_they_change(homes, tmp_path, monkeypatch):
    copied(homes, tmp_path, "tfds")
    how = {"memory": "never", "cache_dir": str(tmp_path / "cache")}
    before = load(tmp_path, "tfds", **how).train.images[:]
    assert len(list((tmp_path / "cache").iterdir())) == 2  # of the training and of the test part
    scans, scan = [], records._scan
    monkeypatch.setattr(records, "_scan", lambda *all: scans.append(all) or scan(*all))
    np.testing.assert_array_equal(load(tmp_path, "tfds", **how).train.images[:], before)
    assert not scans
    (file,) = (tmp_path / "tfds").rglob("*train*")
    os.utime(file, (1, 1))
    for kept, size in zip((tmp_path / "cache").iterdir(), (0, 50)):
        kept.write_bytes(kept.read_bytes()[:size])
    np.testing.assert_array_equal(load(tmp_path, "tfds", **how).train.images[:], before)
    assert len(scans) == 2


def test_an_index_that_two_write_at_once(homes, tmp_path, monkeypatch):
    """Two containers that share the folder may have the same number of process."""
    copied(homes, tmp_path, "tfds")
    (file,) = (tmp_path / "tfds").rglob("*test*tfrecord*")
    both = threading.Barrier(2, timeout=60)
    monkeypatch.setattr(os, "fsync", lambda _: both.wait())

    def index(_):
        parts = [records.Part(str(file), 0, -1)]
        labels = lambda some: tf.zeros(tf.shape(some), tf.int64)  # noqa: E731
        return records.make_index(parts, labels, str(tmp_path / "cache"))

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(index, range(2)))
    np.testing.assert_array_equal(made[0].offset, made[1].offset)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_arrays_on_disk(tmp_path):
    images, labels = pictures(5, 0), np.arange(5)
    np.savez(tmp_path / "generated.npz", label=labels, image=images)
    np.save(tmp_path / "alone.npy", images)
    np.save(tmp_path / "alone_labels.npy", labels)
    for name in ("generated.npz", "alone.npy"):
        found = data.open_rows(tmp_path / name)
        np.testing.assert_array_equal(found.images[:], images)
        assert found.labels.tolist() == labels.tolist()
        assert isinstance(found.store, np.memmap) and not found.store.flags.writeable


def test_classes_of_arrays_may_have_names(homes, tmp_path):
    copied(homes, tmp_path, "arrays")
    assert load(tmp_path, "arrays").class_names == ("0", "1")
    (tmp_path / "arrays" / prepared.CLASS_NAMES).write_text("cat\ndog\n", encoding="utf-8")
    before = load(tmp_path, "arrays", memory="never")
    assert before.class_names == ("cat", "dog")
    changed = pictures(N, 0)
    changed[7] ^= 1
    np.save(tmp_path / "arrays" / "x_train.npy", changed)
    after = load(tmp_path, "arrays", memory="never").content
    assert after["train"] != before.content["train"] and after["test"] == before.content["test"]
    assert rows.mapped(tmp_path / "arrays" / "y_test.npy").tolist() == [0, 1] * 3
