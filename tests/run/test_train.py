"""Runs from beginning to end, on real images: scikit-learn's handwritten digits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import data
from rlfat_tf.methods.finite import finite_gradients
from rlfat_tf.run import train
from tests.runs import TRAINED, check_weights, config, metrics, weights


def test_a_run_leaves_what_it_promises(trained):
    folder, summary = trained.folder, trained.summary
    names = {path.name for path in folder.iterdir()}
    assert names == {"checkpoints", "config.json", "data.json", "export", "flags.cfg",
                     "metrics.csv", "summary.json", "tensorboard"}  # fmt: skip
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["steps"] == 4 and summary["test_examples"] == 20
    rows = metrics(folder)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    best = max(float(row["val_adv_accuracy"]) for row in rows)
    assert summary["val_adv_accuracy"] == pytest.approx(best)
    assert not list(folder.rglob(".writing-*"))


def test_the_summary_says_what_the_checkpoint_does(trained):
    model = rlfat_tf.load(trained.folder)
    assert isinstance(model, rlfat_tf.RLFATP)
    test = data.load("digits", test_examples=20).test
    images = np.asarray(test.images, np.float32)
    if test.images.dtype == np.uint8:
        images /= 255
    predicted = model.predict(images, verbose=0).argmax(-1)
    summary = trained.summary
    assert summary["test_accuracy"] == pytest.approx(np.mean(predicted == test.labels))
    assert summary["test_adv_accuracy"] <= summary["test_accuracy"]


@pytest.mark.parametrize("part", ["train", "validation"])
def test_tensorboard_gets_the_metrics_of_epochs_only(trained, part):
    """What it gets of every step would stay in memory for good."""
    (file,) = (trained.folder / "tensorboard" / part).glob("events.*")
    written = [
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert written.count("epoch_adv_accuracy") == 2, written
    assert not [name for name in written if name.startswith("batch_")]


@pytest.mark.current
def test_another_seed_gives_other_weights(trained, tmp_path):
    """The same seed gives the same ones: runs that were stopped or killed on the way show it."""
    train.run(config(tmp_path, **{**TRAINED, "export": False}, seed=1))
    pairs = zip(weights(trained.folder), weights(tmp_path))
    assert any(not np.array_equal(a, b) for a, b in pairs)


@pytest.mark.current
def test_without_validation_the_best_is_the_last(tmp_path):
    summary = train.run(config(tmp_path, validation_fraction=0.0, train_steps=3, batch_size=56))
    assert summary["checkpoint"] == "last (no epoch was validated)"
    assert summary["steps"] == 3
    for one, other in zip(rlfat_tf.load(tmp_path).get_weights(), weights(tmp_path)):
        np.testing.assert_array_equal(one, other)


def test_averaged_weights_are_evaluated(trained):
    with np.load(trained.folder / "checkpoints" / "state.npz") as state:
        raw = state["0"]
    averaged = weights(trained.folder)[0]
    assert raw.shape == averaged.shape and not np.array_equal(raw, averaged)


@pytest.mark.current
def test_bfloat16_schedules_and_validation_of_every_second_epoch(tmp_path):
    summary = train.run(
        config(tmp_path, method="rlfat_p", mixed_precision="bfloat16", lr_schedule="cosine",
               optimizer="sgd", learning_rate=0.05, weight_decay=5e-4, train_examples=64,
               validation_examples=30, validation_every=2)
    )  # fmt: skip
    assert summary["steps"] == 2 * 64 // 32 and summary["checkpoint"] == "best, epoch 2"
    assert [bool(row.get("val_adv_accuracy")) for row in metrics(tmp_path)] == [False, True]
    assert 0 <= summary["test_adv_accuracy"] <= 1
    assert rlfat_tf.load(tmp_path).model.layers[1].compute_dtype == "bfloat16"


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(trained, trained_copy):
    backup = trained_copy / "checkpoints" / "state.npz"
    with np.load(backup) as state:
        arrays = dict(state)
    (bias,) = [name for name, a in arrays.items() if a.shape == (10,)][:1]  # of the logits
    arrays[bias] = np.full_like(arrays[bias], np.nan)
    np.savez(backup, **arrays)
    longer = config(trained_copy, **TRAINED, epochs=3)
    with pytest.raises(ValueError, match="^The loss is not finite: nan") as error:
        train.run(longer)
    assert "Lower --learning_rate" in train.explain(error.value, longer)
    check_weights(trained.folder, trained_copy)


def test_too_little_memory_is_told(tmp_path):
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    assert isinstance(error, train.USER_ERRORS)
    told = train.explain(error, config(tmp_path))
    assert told.startswith("There is not enough memory.") and "--batch_size" in told
    assert told.endswith("TensorFlow says: OOM when allocating")


@pytest.mark.parametrize("of", ["the loss", "the discriminator"])
def test_what_to_do_about_gradients_that_are_not_finite_is_told(tmp_path, of):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        finite_gradients([tf.constant(np.nan)], 12, of=of)
    told = train.explain(ValueError(error.value.message), config(tmp_path))
    assert told.startswith(f"The gradients of {of} are not finite at step 12 and no weight")
    assert "a square root, a logarithm or a quotient" in told and "the learning rate" in told
    assert f"The backup and the checkpoints in {tmp_path} are from before." in told


def test_what_to_do_about_a_damaged_file_is_told(tmp_path):
    told = train.explain(
        ValueError("Unreadable: 'a.jpg' cannot be read as an image (no)."), config(tmp_path)
    )
    assert told.startswith("'a.jpg' cannot be read as an image (no). Bring back what was there")
    assert told.endswith("If it was damaged then already, do without it: --skip_unreadable.")
    told = train.explain(ValueError("Unreadable: 'a.npy' has become shorter."), config(tmp_path))
    assert "--skip" not in told and f"from the last backup in {tmp_path}" in told


def test_mixed_labels_are_refused_for_a_method_of_whole_classes(tmp_path):
    with pytest.raises(ValueError, match="--method=mart needs one class.*methods: standard, "):
        train.run(config(tmp_path, method="mart", augment="flip+cutmix"))
    assert not any(tmp_path.iterdir())


def test_unknown_names_are_refused_before_anything_is_written(tmp_path):
    for changes, message in [
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"model": "wrn-10"}, "wrn-<depth>-<width>"),
        ({"dataset": "digit"}, "Did you mean 'digits'"),
        ({"augment": "flp"}, "Did you mean 'flip'"),
        ({"augment": "cutmix+flip"}, r"Write flip\+cutmix"),
        ({"batch_size": 4000}, "4000"),
    ]:
        with pytest.raises(ValueError, match=message):
            train.run(config(tmp_path, **changes))
        assert not any(tmp_path.iterdir())
