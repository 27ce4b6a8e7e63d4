"""What goes wrong around a run, and what comes of it; docs/reliability.md lists it all."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import archive, callbacks, checkpoint, data, files, locks, training, workdir
from rlfat_tf.compat import keras
from tests.runs import check_same, config, metrics

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import pathlib, runpy, sys, time
holding = runpy.run_path(sys.argv[1])["holding"](pathlib.Path(sys.argv[2]))
holding.__enter__()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def judged_at_once(monkeypatch):
    """The test set has its own tests."""
    monkeypatch.setattr(training, "judge", lambda *_: (0.5, 0.25))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to; with averaged weights, which are the harder case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "judge", lambda *_: (0.5, 0.25))
        folder = tmp_path_factory.mktemp("whole")
        training.run(config(folder, ema=0.5))
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


# The folder of a run.


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(ROOT / "rlfat_tf" / "locks.py"), str(folder)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"in use by process {holder.pid} on .*--workdir"):
            training.run(config(folder))
        assert not (folder / "config.json").exists()
    finally:
        holder.kill()
        holder.communicate()
    assert (folder / ".lock").is_file()  # but nobody holds it
    with locks.holding(folder):
        assert str(os.getpid()) in (folder / ".lock").read_text()
        with pytest.raises(ValueError, match="in use"), locks.holding(folder):
            pass
    assert not (folder / ".lock").exists()


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="has no locks"), locks.holding(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_a_lock_that_its_holder_just_removed_is_none(tmp_path, monkeypatch):
    """Opened before the holder removed it, locked after: another file is there by now, or none."""
    real, replaced = locks.fcntl.flock, []

    def slow(file, flags):
        if not replaced:
            (tmp_path / ".lock").unlink()
            replaced.append(True)
        real(file, flags)

    monkeypatch.setattr(locks.fcntl, "flock", slow)
    with locks.holding(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    for place in (".", "checkpoints", "evaluation"):  # an evaluation may be running
        left = tmp_path / place / ".writing-abc"
        left.mkdir(parents=True)
        (left / "half").write_text("ha")
    with workdir.claimed(tmp_path, config(tmp_path)):
        assert [path.parent.name for path in tmp_path.rglob(".writing-*")] == ["evaluation"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", ""),
        ("config.json", "[1]"),
        ("config.json", '{"epochs": "two"}'),
        ("summary.json", "{"),
        ("metrics.csv", "a,b\n1,2\n"),
    ],
)
def test_damaged_text_files_are_named(copy, name, content):
    (copy / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name} is not what"):
        training.run(config(copy, ema=0.5, epochs=3))


# Backups and checkpoints.


def damages(path):
    """The ways in which a file can be damaged, as functions of its content."""
    size = path.stat().st_size
    return {
        "empty": lambda content: b"",
        "no archive": lambda content: b"not what was written" * 10,
        "truncated": lambda content: content[: size // 2],
        "end lost": lambda content: content[:-1],
        "one bit": lambda content: _flipped(content, size // 2),
        "first bit": lambda content: _flipped(content, 0),
    }


def _flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_every_damage_to_a_backup_is_noticed(copy):
    path = copy / "checkpoints" / "state.npz"
    good = path.read_bytes()
    older = checkpoint.previous(path).read_bytes()
    for name, damage in damages(path).items():
        path.write_bytes(damage(good))
        with pytest.warns(UserWarning, match="state.npz is damaged .*the backup before it"):
            checkpoint.repair_state(path)
        assert path.read_bytes() == older, name
        checkpoint.previous(path).write_bytes(older)
    path.unlink()  # killed between the two moves
    with pytest.warns(UserWarning, match="state.npz is missing"):
        checkpoint.repair_state(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="state.npz is damaged .*So is the one before.*missing"):
        checkpoint.repair_state(path)


def test_a_damaged_backup_is_replaced_by_the_one_before(whole, copy):
    """The epoch between the two is trained anew, whatever has come of its checkpoints."""
    folder = copy / "checkpoints"
    state = folder / "state.npz"
    state.write_bytes(state.read_bytes()[:-100])
    for name in ("best.keras", "last.keras"):
        (folder / name).write_bytes(b"damaged too")
    with pytest.warns(UserWarning, match="goes on from the backup before it"):
        training.run(config(copy, ema=0.5))
    check_same(whole, copy)
    assert checkpoint.read_state(state)[1]["step"] == 4


def test_a_best_checkpoint_that_the_backup_does_not_know_is_forgotten(copy):
    class Model:
        state: list[object] = []

    state = copy / "checkpoints" / "state.npz"
    arrays, progress = checkpoint.read_state(state)
    assert progress["best_digest"] == checkpoint.digest(copy / "checkpoints" / "best.keras")
    checkpoint.save_state(state, Model, progress)
    assert workdir.restore_progress(copy, Model)["best_epoch"] == progress["best_epoch"]
    (copy / "checkpoints" / "best.keras").write_bytes(b"of a later epoch")
    assert workdir.restore_progress(copy, Model)["best"] is None


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_damaged_checkpoint_is_told_with_the_other_one(copy, name):
    path = copy / "checkpoints" / f"{name}.keras"
    good, other = path.read_bytes(), {"best": "last", "last": "best"}[name]
    for damage in damages(path).values():
        path.write_bytes(damage(good))
        with pytest.raises(ValueError, match=f"damaged.*Load checkpoint='{other}'"):
            rlfat_tf.load(copy, name)
        with pytest.raises(ValueError, match="damaged"):
            rlfat_tf.load(path)
    assert rlfat_tf.load(copy, other)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    """Whatever fails: the write, the flush, or the end of an archive because a write has failed."""

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failing_archive(written):
        with zipfile.ZipFile(written, "w") as file, file.open("part", "w"):
            try:
                full()
            except OSError:
                file.close()  # complains of the open part instead

    path = tmp_path / "file"
    for keep in (None, tmp_path / "previous"):
        path.write_text("before")
        for write in (lambda written: full(), failing_archive):
            with pytest.raises(OSError, match="The disk is full: .*file could not be written"):
                with files.replacing(path, keep=keep) as written:
                    written.write_text("half")
                    write(written)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: full())
            with pytest.raises(OSError, match="The disk is full"):
                with files.replacing(path, keep=keep) as written:
                    written.write_text("whole")
        assert path.read_text() == "before"
        assert [file.name for file in tmp_path.iterdir()] == ["file"]
    with pytest.raises(KeyError), files.replacing(path) as written:
        raise KeyError("another error is not touched")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 20 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("left", [0, 1_000_000])
def test_a_run_on_a_full_disk_stops_and_goes_on_when_there_is_space(whole, small_disk, left):
    """Before it trains, or at its next backup, which is larger than what is left."""
    folder = Path(shutil.copytree(whole, small_disk / "run"))
    before = {p: p.read_bytes() for p in (folder / "checkpoints").iterdir()}
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(1000))
    os.truncate(ballast, max(0, ballast.stat().st_size - left))
    with pytest.raises(OSError, match="The disk is full: .* Free some space"):
        training.run(config(folder, ema=0.5, epochs=3))
    assert {p: p.read_bytes() for p in (folder / "checkpoints").iterdir()} == before
    assert not list(folder.rglob(".writing-*")) and not (folder / ".lock").exists()
    if left:
        ballast.unlink()
        assert training.run(config(folder, ema=0.5, epochs=3))["steps"] == 6
        assert [row["epoch"] for row in metrics(folder)] == ["0", "1", "2"]


# Signals.


def test_sigterm_during_validation(whole, tmp_path, monkeypatch):
    """During it, and again when the restarted run begins with it."""
    original = callbacks.Checkpoints._stop_validation_if_asked
    for calls in (2, 1):
        left = [calls]

        def stop(self, left=left):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGTERM)
            original(self)

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.Checkpoints, "_stop_validation_if_asked", stop)
            with pytest.raises(callbacks.Interrupted):
                training.run(config(tmp_path, ema=0.5))
        progress = checkpoint.read_state(tmp_path / "checkpoints" / "state.npz")[1]
        assert progress["step"] == 2 and "loss" in progress["unvalidated"]
        assert not (tmp_path / "metrics.csv").exists()
    training.run(config(tmp_path, ema=0.5))
    check_same(whole, tmp_path)
    assert metrics(whole)[0] == metrics(tmp_path)[0]  # the metrics of training are kept as well


# Data.


def write_images(root, classes=("cat", "dog"), count=5, shape=(6, 5, 3)):
    for part in ("train", "test"):
        for index, name in enumerate(classes):
            for i in range(count):
                path = root / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = np.full(shape, 100 * index + i, np.uint8)
                path.write_bytes(tf.io.encode_png(image).numpy())
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
def test_corrupt_images_are_refused_or_left_out(tmp_path, size):
    root = write_images(tmp_path)
    whole = data.load(f"folder:{root}", image_size=size)
    (root / "train" / "cat" / "empty.png").write_bytes(b"")
    half = root / "train" / "dog" / "half.png"
    half.write_bytes((root / "train" / "dog" / "0.png").read_bytes()[:-30])
    message = r"(empty|half).png' cannot be read as an image \(and 1 other files\): \w"
    with pytest.raises(ValueError, match=f"{message}.*--skip_unreadable"):
        data.load(f"folder:{root}", image_size=size)
    with pytest.warns(UserWarning, match=f"{message}.* Left out"):
        loaded = data.load(f"folder:{root}", image_size=size, skip_unreadable=True)
    np.testing.assert_array_equal(loaded.train.images, whole.train.images)
    with pytest.warns(UserWarning, match="Left out"):
        first = data.load(
            f"folder:{root}", image_size=size, skip_unreadable=True, train_examples=10
        )
    np.testing.assert_array_equal(first.train.images, whole.train.images)


def test_a_class_without_an_example(tmp_path):
    root = write_images(tmp_path)
    (root / "train" / "emu").mkdir()
    with pytest.raises(ValueError, match="images of every class; .*train' has none in emu"):
        data.load(f"folder:{root}")
    labels = np.array([0, 2, 2])
    arrays = data.Arrays(np.zeros([3, 2, 2, 1], np.float32), labels)
    with pytest.warns(UserWarning, match="no training example of 1 of the 3 classes: b"):
        training.check_classes(arrays, ("a", "b", "c"))


def test_one_class_only(tmp_path):
    with pytest.raises(ValueError, match="at least 2 classes; received 1"):
        data.load(f"folder:{write_images(tmp_path, classes=('cat',))}")
    arrays = data.Arrays(np.zeros([3, 2, 2, 1], np.float32), np.array([2, 2, 2]))
    with pytest.raises(ValueError, match="at least 2 classes; all 3 are of one"):
        training.check_classes(arrays, ("a", "b", "c"))


def test_nan_pixels():
    images = np.zeros([4, 2, 2, 1], np.float32)
    images[3, 1, 1, 0] = np.nan
    with pytest.raises(ValueError, match="finite pixel values; received NaN"):
        data.from_arrays(images, [0, 1, 0, 1], images[:2], [0, 1])


def test_a_batch_larger_than_the_data_set(tmp_path):
    with pytest.raises(ValueError, match="batch_size is 500, but there are 67 .*at most 67"):
        training.run(config(tmp_path / "run", batch_size=500))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("length", [{"epochs": 0}, {"epochs": None, "train_steps": 0}])
def test_zero_steps(tmp_path, length):
    with pytest.raises(ValueError, match="an integer of at least 1; received 0"):
        config(tmp_path, **length)


# Loading runs no code.


@keras.saving.register_keras_serializable("tests_of_survival")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def small_model(layer):
    inputs = keras.Input([2])
    return keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))


def rewritten(path, change):
    """Changes the configuration inside of a .keras file."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["config.json"] = json.dumps(change(json.loads(parts["config.json"]))).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


def test_a_lambda_layer_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    small_model(keras.layers.Lambda(lambda x: 2 * x)).save(path)
    with pytest.raises(ValueError, match="Lambda.*arbitrary code execution"):
        rlfat_tf.load(path)
    small_model(Doubled()).save(path)
    assert rlfat_tf.load(path).count_params() == 6


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("subprocess", "call"),
        ("builtins", "exec"),
        ("keras.utils", "get_file"),
        ("keras.src.utils", "get_file"),
        ("rlfat_tf.export", "export_saved_model"),
    ],
)
@pytest.mark.parametrize("kind", ["class", "function"])
def test_a_function_that_a_file_names_is_not_called(tmp_path, module, name, kind):
    """Nor is its module imported, unless it is of Keras or of this library."""
    victim, path = tmp_path / "victim", tmp_path / "model.keras"
    small_model(Doubled()).save(path)

    def attack(model):
        (layer,) = (x for x in model["config"]["layers"] if x["class_name"] == "Doubled")
        call = ["_CONSTANT_VALUE", -1, f"touch {victim}", {"shell": True}]
        named = {"class_name": name} if kind == "class" else {"class_name": "function"}
        if kind == "function":
            named["config"] = name
        layer.update(module=module, registered_name=name, inbound_nodes=[[call]], **named)
        return model

    rewritten(path, attack)
    if module in ("os", "subprocess"):
        with pytest.raises(
            ValueError, match=f"is refused: it names .* module '{module}'.*register"
        ):
            rlfat_tf.load(path)
    else:
        with pytest.raises((TypeError, ValueError)):
            rlfat_tf.load(path)
    assert not victim.exists()


def test_a_backup_with_pickled_objects_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "victim"),)

    path = tmp_path / "state.npz"
    np.savez(path, **{"0": np.array([Evil()], object), "progress": np.array("{}")})
    with pytest.raises(ValueError, match="damaged .*allow_pickle=False"):
        checkpoint.read_state(path)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "assets/../../outside", "a\\..\\b"])
def test_an_archive_that_names_files_outside_is_refused(tmp_path, name):
    path = tmp_path / "folder" / "model.keras"
    path.parent.mkdir()
    small_model(Doubled()).save(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, "malice")
    with pytest.raises(ValueError, match="is refused: it names the file .*outside"):
        rlfat_tf.load(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "model.keras"]


def test_another_format_under_the_same_name_is_refused(tmp_path):
    """Keras 2 would read an HDF5 file, whose Lambda layers it runs."""
    h5 = tmp_path / "model.h5"
    small_model(Doubled()).save(h5)
    path = h5.rename(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="is no .keras file"):
        rlfat_tf.load(path)


def test_random_damage_to_an_archive_never_ends_in_another_error(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("config.json", json.dumps({"class_name": "Dense", "module": "keras.layers"}))
        file.writestr("weights", bytes(range(256)))
    good, path, random = buffer.getvalue(), tmp_path / "model.keras", np.random.RandomState(0)
    for _ in range(300):
        content = bytearray(good[: random.randint(1, len(good) + 1)])
        for place in random.randint(0, len(content), 3):
            content[place] = random.randint(256)
        path.write_bytes(bytes(content))
        try:
            archive.check(path)
        except ValueError:
            pass


# The page.


def test_every_row_of_the_page_names_a_test():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 25
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, f"this row names no test: {row}"
        for file, test in named:
            assert f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8"), (file, test)
