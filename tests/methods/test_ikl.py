"""IKL against NumPy: the double sum over classes, and the class means that it weighs by."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import IKL, attacks
from rlfat_tf.core import compat, random
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.class_means import ClassMeans
from rlfat_tf.storage import checkpoint
from tests import reference

BATCH = reference.images_and_labels(6, seed=2)
IMAGES, ADVERSARIAL, LABELS = BATCH
ATTACK = attacks.LinfPGD(epsilon=0.1, steps=1)
MEANS = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.25, 0.25, 0.5]], np.float32)


def softmax(logits):
    return np.exp(reference.log_softmax(logits))


def double_sum(z, z_adv, w):
    """1/4 sum_jk w_j w_k ((z_j - z_k) - (z'_j - z'_k))^2, as the paper writes it."""
    total = np.zeros(len(z))
    for j in range(z.shape[1]):
        for k in range(z.shape[1]):
            apart = (z[:, j] - z[:, k]) - (z_adv[:, j] - z_adv[:, k])
            total += w[:, j] * w[:, k] * apart**2
    return total / 4


@pytest.mark.parametrize("dtype, rtol, smoothing", [("float64", 2e-6, 0.3), ("float32", 2e-3, 0.0)])
def test_loss_and_gradient(dtype, rtol, smoothing):
    model = reference.keras_net(dtype=dtype, seed=1)
    robust = IKL(model, alpha=2.0, beta=5.0, label_smoothing=smoothing)
    robust.class_means.means.assign(MEANS)
    rows = (1 - smoothing) * np.eye(3)[LABELS] + smoothing / 3
    target = softmax(reference.Net(model).forward(IMAGES)[0])  # a constant

    def terms(net):
        clean, there = (net.forward(x)[0] for x in (IMAGES, ADVERSARIAL))
        return {
            "clean_loss": reference.cross_entropy(rows, clean)[0],
            "soft_loss": reference.cross_entropy(target, there)[0],
            "wmse_loss": double_sum(clean, there, MEANS[LABELS].astype(float)),
        }

    def loss(t):
        return t["clean_loss"] + 2 * t["soft_loss"] + 5 * t["wmse_loss"]

    reference.check_objective(robust, terms, loss, BATCH, rtol=rtol)
    attack = robust.attack
    assert (attack.loss, attack.random_start) == ("kl", "gaussian")


def test_a_soft_row_weighs_by_a_mixture():
    robust = IKL(reference.keras_net(seed=1))
    robust.class_means.means.assign(MEANS)
    rows = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], np.float32)
    np.testing.assert_allclose(
        robust.class_means.of(tf.constant(rows)), [[0.5, 0.4, 0.1], MEANS[2]], rtol=1e-6
    )


def compiled(**arguments):
    robust = IKL(reference.keras_net(seed=4), attack=ATTACK, **arguments)
    robust.compile(optimizer=keras.optimizers.SGD(0.5), run_eagerly=True)
    compat.build_optimizer(robust.optimizer, robust.trainable_variables)
    return robust


DATA = reference.images_and_labels(32, seed=5)  # four batches of 8


def steps(robust, first, last):
    for step in range(first, last):
        part = slice(8 * step, 8 * step + 8)
        robust.train_step((tf.constant(DATA[0][part]), tf.constant(DATA[2][part])))


def test_the_means_are_those_of_the_steps_before_and_a_backup_keeps_them(tmp_path):
    """Renewed after every second step; a run that goes on after the third ends with all bits."""
    whole = compiled(epoch_steps=2, temperature=3.0)
    expected = np.zeros([3, 3])
    for step in range(2):
        part = slice(8 * step, 8 * step + 8)
        predicted = softmax(reference.Net(whole.model).forward(DATA[0][part])[0] / 3)
        np.add.at(expected, DATA[2][part], predicted)
        np.testing.assert_allclose(whole.class_means.means, np.full([3, 3], 1 / 3), rtol=1e-6)
        steps(whole, step, step + 1)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(whole.class_means.means, expected, rtol=1e-5)
    steps(whole, 2, 3)
    np.testing.assert_allclose(whole.class_means.means, expected, rtol=1e-5)
    assert np.any(whole.class_means.sums != 0)
    checkpoint.save_state(tmp_path / "state.npz", whole, {})
    steps(whole, 3, 4)
    assert np.abs(whole.class_means.means - expected).max() > 1e-4
    resumed = compiled(epoch_steps=2, temperature=3.0)
    checkpoint.restore_state(tmp_path / "state.npz", resumed)
    steps(resumed, 3, 4)
    for ours, theirs in zip(resumed.state, whole.state):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_replicas_add_to_the_same_means(strategy2):
    """And a class without an example keeps its row."""
    rng = np.random.default_rng(1)
    rows, predictions = np.eye(3, dtype=np.float32)[[0, 0, 1, 0]], rng.random((4, 3), np.float32)
    alone = ClassMeans(3)
    alone.add(tf.constant(rows), tf.constant(predictions), last=tf.constant(True))
    expected = np.full([3, 3], 1 / 3)
    expected[0] = predictions[[0, 1, 3]].sum(0) / predictions[[0, 1, 3]].sum()
    expected[1] = predictions[2] / predictions[2].sum()
    np.testing.assert_allclose(alone.means, expected, rtol=1e-6)
    with strategy2.scope():
        both = ClassMeans(3)

    def add():
        part = tf.distribute.get_replica_context().replica_id_in_sync_group * 2
        mine = (tf.constant(x)[part:][:2] for x in (rows, predictions))
        both.add(*mine, last=tf.constant(True))

    tf.function(lambda: strategy2.run(add))()
    for copy in strategy2.experimental_local_results(both.means):
        np.testing.assert_allclose(copy, expected, rtol=1e-6)


def test_a_keras_file_holds_the_settings_and_the_classifier(tmp_path):
    robust = IKL(reference.keras_net(seed=1), alpha=1.5, beta=2.5, temperature=3.5, epoch_steps=7)
    robust.save(tmp_path / "ikl.keras")
    again = keras.models.load_model(tmp_path / "ikl.keras")
    for name in ("alpha", "beta", "temperature", "epoch_steps"):
        assert getattr(again, name) == getattr(robust, name)
    assert len(again.get_weights()) == len(robust.model.get_weights())
    seed = random.as_seed(0)
    one, other = (m.batch_objective(*BATCH, seed, training=False).loss for m in (robust, again))
    np.testing.assert_allclose(one, other, rtol=1e-6)
