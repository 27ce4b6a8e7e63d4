"""The data of a run: what is said of them, and that no run goes on or is evaluated on others."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from rlfat_tf import data
from rlfat_tf.data import names
from rlfat_tf.run import data_checks, dataset, evaluate, train, workdir
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.eval_config import EvalConfig
from tests import runs

COLOURS = {"blue": 40, "green": 120, "red": 200}


def write(root, parts=(("train", 8), ("test", 4)), names=COLOURS):
    """Images of three shades of grey, which a network tells apart after a few steps."""
    for part, count in parts:
        for name in names:
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                values = np.random.RandomState(
                    i + {"test": 100, "valid": 200}.get(part, 0)
                ).randint(-9, 9, (8, 8))
                image = (COLOURS.get(name, 200) + values).astype(np.uint8)
                Image.fromarray(image).save(root / part / name / f"{i}.png")
    return root


def config(workdir, root, **changes):
    settings = {
        "dataset": f"folder:{root}", "train_examples": None, "test_examples": None,
        "batch_size": 8, "validation_fraction": 0.0, "epochs": 16, "epsilon": 0.01,
        "learning_rate": 0.003, "checkpoint_every": 0,
    }  # fmt: skip
    return runs.config(workdir, **{**settings, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on a folder, which was named by a path relative to another folder."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        summary = train.run(config("run", "photos"))
    assert summary["test_accuracy"] > 0.9
    return folder


@pytest.fixture
def run(made, tmp_path):
    """A copy of it, whose files can be changed."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def evaluation(run, **changes):
    settings = {
        "attacks": "clean", "pictures": False, "checks": False, "workdir": str(run / "run"),
        "report_dir": str(run / "report"), "dataset": f"folder:{run / 'photos'}",
    }  # fmt: skip
    return EvalConfig(**{**settings, **changes})


def test_a_relative_path_is_kept_as_one_that_works_from_anywhere(made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    kept = TrainConfig.from_json((made / "run" / "config.json").read_text())
    assert kept.dataset == f"folder:{made / 'photos'}" and kept.workdir == str(made / "run")
    assert kept.identity == config(made / "run", "photos").identity
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        report = evaluate.run(evaluation(made, dataset=None, report_dir=str(tmp_path / "report")))
    assert report["clean_accuracy"] == 1.0 and report["examples"] == 12
    assert report["data"]["test"].startswith("12 files, ")


def test_a_run_is_found_again_by_its_flags_and_from_a_moved_folder(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    shutil.move(run / "photos", run / "moved")
    summary = json.loads((run / "run" / "summary.json").read_text())
    assert train.run(config("run", "moved")) == summary
    assert "Resuming" not in capsys.readouterr().out


def test_a_run_does_not_go_on_with_other_data(run):
    before = (run / "run" / "config.json").read_bytes()
    photos, longer = run / "photos", config(run / "run", run / "photos", epochs=17)
    (photos / "train" / "red" / "0.png").rename(photos / "train" / "red" / "x.png")
    with pytest.raises(ValueError, match="have changed: the train part had 24 files, .*--workdir"):
        train.run(longer)
    (photos / "train" / "red" / "x.png").rename(photos / "train" / "red" / "0.png")
    for part in ("train", "test"):
        (photos / part / "red").rename(photos / part / "amber")
    message = r"there are new classes \(amber\); classes are gone \(red\); the train"
    with pytest.raises(ValueError, match=message):
        train.run(longer)
    assert (run / "run" / "config.json").read_bytes() == before
    for part in ("train", "test"):
        (photos / part / "amber").rename(photos / part / "red")
    assert train.run(longer)["steps"] == 51


def test_a_run_without_a_record_goes_on_with_a_note(run, capsys):
    (run / "run" / "data.json").unlink()
    train.run(config(run / "run", run / "photos", epochs=17))
    assert "kept no record of its data" in capsys.readouterr().out
    assert dataset.read_record(run / "run")["class_names"] == sorted(COLOURS)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"class_names": 3}'])
def test_a_damaged_record_is_told(tmp_path, text):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(ValueError, match="data.json is damaged, .*Remove it"):
        dataset.read_record(tmp_path)


def test_classes_are_matched_by_name(run):
    photos = run / "photos"
    for part in ("train", "test"):
        shutil.rmtree(photos / part / "green")
        (photos / part / "zinc").mkdir()
    write(photos, parts=(("train", 2),), names=("amber",))  # trained on later: no test image
    Image.new("L", (8, 8), 90).save(photos / "train" / "zinc" / "0.png")
    with pytest.warns(UserWarning, match="test part of folder:.* is not the one of this run"):
        report = evaluate.run(evaluation(run))
    assert report["clean_accuracy"] == 1.0 and report["examples"] == 8
    (photos / "test" / "red").rename(photos / "test" / "amber")
    with pytest.raises(ValueError, match="learned: blue, green, red; received some of amber.*name"):
        evaluate.run(evaluation(run))


def test_the_class_names_of_a_saved_model_are_found(tmp_path):
    for folder in (tmp_path / "assets", tmp_path / "export" / "assets"):
        folder.mkdir(parents=True)
        (folder / "class_names.txt").write_text("b c\na\nd\n")
        assert dataset._class_names(str(tmp_path)) == ["b c", "a", "d"]
        shutil.rmtree(folder)
    assert dataset._class_names(str(tmp_path)) is None


def test_a_checkpoint_and_the_folder_of_a_run_know_its_classes(tmp_path):
    record = {"class_names": ["bird", "cat", "dog"], "image_shape": [8, 8, 3], "content": {}}
    run = tmp_path / "checkpoints" / "run"  # its own folder may be called so, too
    (run / "checkpoints").mkdir(parents=True)
    (run / "data.json").write_text(json.dumps(record))
    (run / "checkpoints" / "best.keras").touch()
    (tmp_path / "foreign.keras").touch()
    for path in (run, run / "checkpoints" / "best.keras"):
        assert dataset._class_names(str(path)) == ["bird", "cat", "dog"]
    assert dataset._class_names(str(tmp_path / "foreign.keras")) is None


def test_eval_reads_no_training_image_and_skips_as_its_run(run, capfd):
    photos = run / "photos"
    (photos / "test" / "red" / "0.png").write_bytes(b"")
    for path in (photos / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="^1 file cannot be read .*--skip_unreadable"):
        evaluate.run(evaluation(run))
    with pytest.warns(UserWarning, match="left out"):
        report = evaluate.run(evaluation(run, skip_unreadable=True))
    assert report["examples"] == 11
    path = run / "run" / "config.json"
    of_run = {**json.loads(path.read_text()), "skip_unreadable": True}
    path.write_text(json.dumps(of_run))
    assert evaluation(run).completed().skip_unreadable is True
    assert evaluation(run, skip_unreadable=False).completed().skip_unreadable is False


def test_eval_takes_the_channels_that_the_model_takes(run):
    Image.new("RGB", (8, 8), "red").save(run / "photos" / "test" / "red" / "0.png")
    with pytest.raises(ValueError, match="Expected grey images"):
        evaluate.run(evaluation(run))


def test_the_sets_own_validation_part_is_used(tmp_path):
    root = write(tmp_path, parts=(("train", 4), ("test", 2), ("valid", 1)))
    data_set, of_train, validation = dataset.load_for_training(
        config(tmp_path, root, validation_fraction=0.1, augment="none")
    )
    assert (len(of_train), len(data_set.test), len(validation)) == (12, 6, 3)
    assert data_set.train is of_train  # so that no image is held twice
    without = dataset.load_for_training(config(tmp_path, root, augment="none"))
    assert without[2] is None and len(without[1]) == 12


def test_what_is_said_at_the_start(tmp_path):
    write(tmp_path, parts=(("train", 2), ("test", 1)), names=("blue", "red"))
    write(tmp_path, parts=(("train", 41),), names=("green",))
    said = (
        r"--augment=crop_flip mirrors .*--augment=none|no test image of 1 of the 3 classes: green"
    )
    said += r"|'green' has 41 training images and 'blue' 2, more than 20 to 1"
    with pytest.warns(UserWarning, match=said) as warned:
        dataset.load_for_training(config(tmp_path, tmp_path, augment="crop_flip"))
    assert len(warned) == 3


def test_nothing_is_said_where_there_is_nothing_to_say(tmp_path):
    write(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        dataset.load_for_training(config(tmp_path, tmp_path, augment="none"))
        data_checks.warn_of_flip("cifar10", "flip")


@pytest.mark.parametrize("greatest, said", [(0, 1), (1, 1), (2, 0)])
def test_images_of_8_bits_that_are_nearly_black_are_told(tmp_path, greatest, said):
    """As floats in [0, 1] become, where somebody has only changed their type."""
    images = np.random.default_rng(0).integers(0, greatest + 1, (40, 4, 4, 3)).astype(np.uint8)
    labels = np.arange(40) % 4
    arrays = {"x_train": images, "y_train": labels, "x_test": images + 9, "y_test": labels}
    np.savez(tmp_path / "d.npz", **arrays)
    np.savez(tmp_path / "extra.npz", image=images, label=labels)
    chosen = config(tmp_path, "", dataset=f"arrays:{tmp_path / 'd.npz'}", augment="none",
                    extra_data=str(tmp_path / "extra.npz"), extra_share=0.5)  # fmt: skip
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        dataset.load_for_training(chosen)
    texts = [str(one.message) for one in warned if "nearly black" in str(one.message)]
    assert len(texts) == 2 * said
    for part in ("training", "extra") if said else ():
        begin = f"The greatest pixel of the first 40 {part} images is {greatest}, but 8-bit images"
        assert any(text.startswith(begin) and "255 * images" in text for text in texts)
    dark = data.Arrays(np.minimum(images, 1), labels)
    with pytest.warns(UserWarning, match="first 40 test images is"):
        data_checks.warn_of_dark(dark, "test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data_checks.warn_of_dark(data.Arrays(dark.images.astype(np.float32), labels), "test")
        data_checks.warn_of_dark(data.Arrays.none((4, 4, 3)), "test")


@pytest.mark.parametrize("files", ["", "a.npz,,", ",a.npz", "a.npz, ,b.npz"])
def test_files_of_extra_data_without_a_name_are_refused(tmp_path, files):
    with pytest.raises(ValueError, match="Expected --extra_data to be .* a name is empty. Remove"):
        config(tmp_path, tmp_path, extra_data=files)


def test_extra_data_of_which_no_batch_has_any_is_refused(tmp_path):
    chosen = config(tmp_path, "nowhere", extra_data="nothing.npz", extra_share=0.0)
    with pytest.raises(ValueError, match="--extra_share above 0 beside --extra_data; received 0"):
        dataset.load_for_training(chosen)  # before anything is looked for
    config(tmp_path, tmp_path, extra_share=0.0)


def test_folders_of_runs_do_not_collide_for_want_of_latin_letters():
    photos, pictures = (TrainConfig(dataset=f"folder:d/{name}") for name in ("фото", "снимки"))
    assert photos.run_dir == "runs/folder_d_фото_rlfat_p"
    assert pictures.run_dir == "runs/folder_d_снимки_rlfat_p"


@pytest.mark.parametrize(
    "text, name",
    [
        ("folder:d/my photos_v1.2-x_pgdat", "folder_d_my_photos_v1.2-x_pgdat"),
        ("a__b_:/c//", "a_b_c_"),
        ("../d", ".._d"),
        ("写真 1", "写真_1"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),  # one folder, however it was typed
        ("\u0915\u093f \u0915\u0940", "\u0915\u093f_\u0915\u0940"),  # vowels are marks
    ],
)
def test_a_name_of_a_folder_keeps_letters_of_every_script(text, name):
    assert names.folder_name(text) == name
    if text.isascii():
        assert name == re.sub(r"[^A-Za-z0-9.-]+", "_", text)  # as it was called before


def test_own_files_are_named_by_absolute_paths_and_may_be_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = config("run", "", dataset="arrays:mine", extra_data="a.npz,sub/b.npz")
    workdir.write_config(tmp_path / "run", begun)
    here = tmp_path.resolve()
    written = workdir.read_config(tmp_path / "run")
    assert written.dataset == f"arrays:{here}/mine" and written.workdir == str(here / "run")
    assert written.extra_data == f"{here}/a.npz,{here}/sub/b.npz"
    for same in (begun, written, dataclasses.replace(begun, dataset="arrays:elsewhere")):
        workdir.check_workdir(tmp_path / "run", same)
    with pytest.raises(ValueError, match="holds another run .--dataset"):
        workdir.check_workdir(tmp_path / "run", dataclasses.replace(begun, dataset="folder:mine"))


def test_the_background_is_part_of_a_run(tmp_path):
    one = config(tmp_path, tmp_path)
    assert one.identity != dataclasses.replace(one, background="black").identity
    assert one.identity == config(tmp_path, tmp_path / "elsewhere").identity
    assert one.identity != dataclasses.replace(one, dataset="digits").identity
    with pytest.raises(ValueError, match="background"):
        config(tmp_path, tmp_path, background="green")


@pytest.mark.parametrize("seed", [0, 1])
def test_validation_examples_are_those_that_follow_whatever_the_seed(seed):
    chosen = TrainConfig(train_examples=20, validation_examples=10, seed=seed)
    _, train_part, validation = dataset.load_for_training(chosen)
    both = data.load("digits", train_examples=30).train
    np.testing.assert_array_equal(train_part.images, both.images[:20])
    np.testing.assert_array_equal(validation.images, both.images[20:])
    assert validation.labels.tolist() == both.labels[20:].tolist()


def test_validation_images_of_ones_own_are_used_whatever_a_recipe_says(tmp_path):
    """A recipe for CIFAR-10 sets 1,000 images aside, which of few photos are most or all."""
    tree = tmp_path / "photos"
    for part, count in (("train", 12), ("val", 3), ("test", 2)):
        for label in ("cat", "dog"):
            (tree / part / label).mkdir(parents=True)
            for number in range(count):
                shade = np.full((8, 8, 3), 20 * number, np.uint8)
                Image.fromarray(shade).save(tree / part / label / f"{number}.png")
    chosen = TrainConfig(dataset=f"folder:{tree}", validation_examples=20, augment="none")
    with pytest.warns(UserWarning, match="6 validation images of its own.*=20 sets no"):
        _, train_part, validation = dataset.load_for_training(chosen)
    assert (len(train_part), len(validation)) == (24, 6)
    exactly = dataclasses.replace(chosen, train_examples=20)  # and 20 more are not needed
    with pytest.warns(UserWarning, match="6 validation images of its own"):
        assert list(map(len, dataset.load_for_training(exactly)[1:])) == [20, 6]
    shutil.rmtree(tree / "val")
    with pytest.raises(ValueError, match="is 20 and validation_examples 20, but .* 24 examples"):
        dataset.load_for_training(exactly)
    with pytest.warns(UserWarning, match="20 of 24 training images aside.*larger data set"):
        _, train_part, validation = dataset.load_for_training(chosen)
    assert (len(train_part), len(validation)) == (4, 20)
    many = dataclasses.replace(chosen, validation_examples=1000)
    with pytest.raises(ValueError, match="received 1000 of 24.*--validation_fraction=0.1"):
        dataset.load_for_training(many)


@pytest.mark.parametrize(
    "name, classes, known",
    [
        ("corrupted:c/fog/1", 3, True),
        ("tfds:cifar10_corrupted/fog_1", 3, True),
        ("tfds:cifar10_1/v6", 3, True),
        ("tfds:cifar10_1/v6", 4, False),  # of another model
        ("svhn_cropped", 3, False),  # its numbers are names
    ],
)
def test_numbers_of_classes_are_those_of_the_model(name, classes, known):
    images = np.zeros((3, 2, 2, 3), np.uint8)
    arrays = data.Arrays(images, np.arange(3))
    numbered = data.DataSet(data.Arrays.none((2, 2, 3)), arrays, 3, ("0", "1", "2"))
    assert dataset._numbered(name, numbered, [f"class {i}" for i in range(classes)]) == known


@pytest.mark.parametrize("first, then", [("train val test", "train test"), ("train", "train val")])
def test_a_part_that_came_or_went_is_a_change(first, then):
    record = {"class_names": ["a"], "image_shape": [2, 2, 3]}
    there, here = (
        {**record, "content": dict.fromkeys(parts.split(), "5 files")} for parts in (first, then)
    )
    (said,) = dataset._differences(there, here)
    assert "the val part had" in said and "nothing" in said
    assert not dataset._differences({**record, "content": {}}, here)  # of version 0.1
