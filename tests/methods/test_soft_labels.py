"""Label rows that share an example among classes, as CutMix makes them."""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import attacks, data
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.epoch_means import EpochMeans
from rlfat_tf.methods.metrics import ClassAccuracy
from rlfat_tf.methods.objective import Objective
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(24, seed=3)
ROWS = np.random.default_rng(0).dirichlet(np.ones(reference.CLASSES), 24).astype(np.float32)


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def soft_cross_entropy(rows, logits):
    return -(rows * np.log(softmax(logits))).sum(-1)


def linear_net():
    model = keras.Sequential(
        [keras.Input(reference.SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    kernel = np.random.default_rng(1).normal(0, 0.3, (60, 3)).astype(np.float32)
    model.set_weights([kernel, np.float32([0.1, 0, -0.1])])
    return model, kernel


def logits_of(model, images):
    kernel, bias = (np.float64(w) for w in model.get_weights())
    return np.reshape(images, [len(images), -1]) @ kernel + bias


def compiled(robust):
    robust.compile(optimizer=keras.optimizers.SGD(0.0), metrics=["accuracy"])
    return robust


def test_the_attack_ascends_the_soft_cross_entropy_and_the_loss_is_it():
    model, kernel = linear_net()
    attack = attacks.LinfPGD(epsilon=0.05, steps=1, step_size=0.05, random_start="none")
    robust = compiled(rlfat_tf.PGDAT(model, attack=attack))
    slope = (softmax(logits_of(model, IMAGES)) - ROWS) @ kernel.T
    adversarial = np.clip(IMAGES + 0.05 * np.sign(slope).reshape(IMAGES.shape), 0, 1)
    logits = logits_of(model, adversarial)
    weights = np.linspace(0, 2, 24).astype(np.float32)
    logs = robust.train_on_batch(IMAGES, ROWS, sample_weight=weights, return_dict=True)
    assert logs["loss"] == pytest.approx(
        np.mean(weights * soft_cross_entropy(ROWS, logits)), rel=1e-5
    )
    hits = logits.argmax(-1) == ROWS.argmax(-1)
    assert logs["adv_accuracy"] == pytest.approx(hits.mean(), abs=1e-6)


def test_training_on_mixed_images_and_validation_on_integers():
    model, _ = linear_net()
    robust = compiled(rlfat_tf.Standard(model, eval_attack=None))
    batches = data.training_batches(
        data.Arrays(IMAGES, LABELS),
        batch_size=8,
        seed=5,
        augment="flip+cutmix",
        num_classes=reference.CLASSES,
    )
    logs = robust.fit(
        batches, steps_per_epoch=3, validation_data=(IMAGES, LABELS), verbose=0
    ).history
    images, rows = (np.concatenate(x) for x in zip(*batches.take(3).as_numpy_iterator()))
    assert (rows.max(-1) < 1).any()
    mixed, clean = logits_of(model, images), logits_of(model, IMAGES)
    assert logs["loss"] == pytest.approx([soft_cross_entropy(rows, mixed).mean()], rel=1e-5)
    whole = np.eye(reference.CLASSES)[LABELS]
    assert logs["val_loss"] == pytest.approx([soft_cross_entropy(whole, clean).mean()], rel=1e-5)
    expected = np.mean(mixed.argmax(-1) == rows.argmax(-1)), np.mean(clean.argmax(-1) == LABELS)
    assert logs["accuracy"] + logs["val_accuracy"] == pytest.approx(expected, abs=1e-6)


def test_accuracy_of_any_labels_with_weights():
    logits = np.float32([[2, 1, 0], [0, 3, 1], [1, 0, 2], [4, 0, 0]])
    rows = np.float32([[0.4, 0.35, 0.25], [0.6, 0.4, 0], [0, 0, 1], [0, 1, 0]])
    for labels in (rows, rows.argmax(-1), rows.argmax(-1)[:, None]):
        metric = ClassAccuracy(name="accuracy")
        metric.update_state(labels, logits)
        assert float(metric.result()) == 0.5
        metric.update_state(labels, logits, sample_weight=[1, 1, 3, 1])
        assert float(metric.result()) == pytest.approx(0.6)


def test_logits_that_are_nan_are_of_no_class():
    """Not of class 0, which argmax would take them for."""
    logits = np.float32([[np.nan] * 3, [2, np.nan, 0], [3, 1, 0], [3, 1, 0]])
    for labels in (np.int32([0, 0, 0, 1]), np.eye(3, dtype=np.float32)[[0, 0, 0, 1]]):
        metric = ClassAccuracy(name="accuracy")
        metric.update_state(labels, logits)
        assert float(metric.result()) == 0.25
        means = EpochMeans()
        means.track(("loss", "adv_accuracy"))
        objective = Objective(tf.zeros(4), {}, adversarial_logits=tf.constant(logits))
        means.update(objective, tf.zeros(4), tf.constant(labels), None)
        assert float(means.trackers["adv_accuracy"].result()) == 0.25


class Seen(attacks.Attack):
    """Keeps the labels that it is given, and changes no image."""

    def run(self, logits_fn, images, labels, seed, unroll):
        SEEN.append(labels.numpy())
        return images


SEEN: list[np.ndarray] = []


def test_no_attack_ascends_a_smoothed_label():
    """As the rows of smoothed extra data are; those of mixtures stay."""
    model, _ = linear_net()
    robust = rlfat_tf.PGDAT(model, attack=Seen(), eval_attack=Seen())
    robust.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    hard = np.eye(3, dtype=np.float32)[LABELS]
    rows = np.where(np.arange(24)[:, None] % 2, 0.9 * hard + np.float32(0.1 / 3), ROWS)
    SEEN.clear()
    logs = robust.train_on_batch(IMAGES, rows, return_dict=True)
    robust.test_on_batch(IMAGES, rows)
    for labels in SEEN:
        np.testing.assert_array_equal(labels, np.where(np.arange(24)[:, None] % 2, hard, ROWS))
    assert len(SEEN) == 2
    expected = soft_cross_entropy(rows, logits_of(model, IMAGES)).mean()
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_saved_method_measures_the_same_accuracy(tmp_path):
    model, _ = linear_net()
    robust = compiled(rlfat_tf.Standard(model, eval_attack=None))
    before = robust.evaluate(IMAGES, ROWS, verbose=0, return_dict=True)
    robust.save(tmp_path / "net.keras")
    again = rlfat_tf.load(tmp_path / "net.keras")
    after = again.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    hits = logits_of(model, IMAGES).argmax(-1)
    assert before["accuracy"] == pytest.approx(np.mean(hits == ROWS.argmax(-1)), abs=1e-6)
    assert after["accuracy"] == pytest.approx(np.mean(hits == LABELS), abs=1e-6)


class OfOneClass(rlfat_tf.PGDAT):
    """A method whose objective needs the class of every example."""

    takes_soft_labels = False


def test_a_method_that_needs_classes_refuses_mixtures_before_training():
    attack = attacks.LinfPGD(epsilon=0.05, steps=1)
    robust = compiled(OfOneClass(linear_net()[0], attack=attack))
    with pytest.raises(ValueError, match="^Expected one class for every example"):
        robust.fit(IMAGES, ROWS, batch_size=8, verbose=0)
    later = tf.data.Dataset.from_tensor_slices((IMAGES, np.eye(3, dtype=np.float32)[LABELS]))
    mixed = tf.data.Dataset.from_tensor_slices((IMAGES, ROWS))
    with pytest.raises(ValueError, match="^Expected one class for every example"):
        robust.fit(later.concatenate(mixed).batch(8), verbose=0)
    assert int(robust.optimizer.iterations) >= 3  # the one-hot rows were trained on


@pytest.mark.parametrize(
    "change, received",
    [
        (lambda rows: rows * 0.5, "sums from 0.5 to 0.5"),
        (lambda rows: rows - 0.5, "entries from -0.5"),
        (lambda rows: np.ones_like(rows), "sums from 3 to 3"),
        (lambda rows: np.full_like(rows, np.nan), "nan"),
    ],
)
def test_rows_that_are_no_shares(change, received):
    robust = compiled(rlfat_tf.Standard(linear_net()[0], eval_attack=None))
    rows = change(np.eye(3, dtype=np.float32)[LABELS])
    with pytest.raises(ValueError, match=rf"Expected label rows.*{received}"):
        robust.fit(IMAGES, rows, verbose=0)
