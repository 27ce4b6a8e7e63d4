"""The moving average of the weights against its recursion in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import Average
from rlfat_tf.core.compat import KERAS_3, keras
from rlfat_tf.storage import checkpoint
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(12, seed=4)


class Recorder(keras.callbacks.Callback):
    """The weights after every step, and what the model holds at the end of every epoch."""

    def on_train_begin(self, logs=None):
        self.trained, self.shown = [self.model.model.get_weights()], []

    def on_train_batch_end(self, batch, logs=None):
        self.trained.append(self.model.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.shown.append(self.model.model.get_weights())


def made(average, batch_norm=True, **arguments):
    net = reference.keras_net(batch_norm=batch_norm, seed=8)
    robust = rlfat_tf.PGDAT(net, attack=rlfat_tf.attacks.FGSM(epsilon=0.1), average=average)
    robust.compile(optimizer=keras.optimizers.SGD(0.5, momentum=0.5), **arguments)
    return robust


def fit(robust, epochs, first=0, **arguments):
    recorder = Recorder()
    robust.fit(IMAGES, LABELS, batch_size=4, epochs=epochs, initial_epoch=first, shuffle=False,
               callbacks=[recorder], verbose=0, **arguments)  # fmt: skip
    return recorder


def recursion(trained, decays):
    average = trained[0]
    for decay, weights in zip(decays, trained[1:]):
        average = [decay * old + (1 - decay) * new for old, new in zip(average, weights)]
    return average


def check_close(found, expected):
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "average, decays",
    [
        (Average(0.15), [1 / 10, 0.15, 0.15, 0.15, 0.15, 0.15]),
        (Average(0.99, warmup=2), [0, 0, 1 / 10, 2 / 11, 3 / 12, 4 / 13]),
        (Average(0.6, ramp=False), [0, 0.6, 0.6, 0.6, 0.6, 0.6]),
        (Average(0.6, ramp=False, warmup=2), [0, 0, 0.6, 0.6, 0.6, 0.6]),
    ],
)
def test_decays(average, decays):
    found = [float(average.decay_at(tf.constant(t, tf.int64))) for t in range(6)]
    np.testing.assert_allclose(found, decays, rtol=1e-12)


def test_fit_shows_the_averages_and_goes_on_with_the_weights():
    robust = made(Average(0.99, warmup=1))
    first = fit(robust, 1, validation_data=(IMAGES, LABELS))
    after = robust.model.get_weights()
    assert not np.array_equal(after[0], first.trained[-1][0])
    second = fit(robust, 2, first=1)
    np.testing.assert_array_equal(second.trained[0][0], first.trained[-1][0])
    trained = [*first.trained, *second.trained[1:]]
    decays = [0, 1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14]
    check_close(first.shown[0], recursion(trained[:4], decays))  # the statistics as well
    check_close(robust.model.get_weights(), recursion(trained, decays))
    with robust.weights_of_training():
        np.testing.assert_array_equal(robust.model.get_weights()[0], trained[-1][0])

    # A validation in fit is that of the averages, and changes nothing of the training.
    plain = made(None)
    np.testing.assert_allclose(fit(plain, 2).trained[-1][0], trained[-1][0], rtol=1e-6)


def test_a_resumed_average_is_bit_equal(tmp_path):
    # Step by step: five graphs would take most of the time.
    whole, begun, resumed = (made(Average(0.9), run_eagerly=True) for _ in range(3))
    fit(whole, 2)
    fit(begun, 1)
    checkpoint.save_state(tmp_path / "state.npz", begun, {})
    resumed.optimizer.build(resumed.trainable_variables)
    checkpoint.restore_state(tmp_path / "state.npz", resumed)
    fit(resumed, 2, first=1)
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights()):
        np.testing.assert_array_equal(one, other)
    whole.train_on_batch(IMAGES[:4], LABELS[:4])
    resumed.train_on_batch(IMAGES[:4], LABELS[:4])
    np.testing.assert_array_equal(whole.model.get_weights()[0], resumed.model.get_weights()[0])


def test_statistics_of_the_weights_or_measured_anew():
    raw = made(Average(0.99, statistics="raw"), run_eagerly=True)
    seen = fit(raw, 1)
    np.testing.assert_array_equal(raw.model.get_weights()[4], seen.trained[-1][4])
    anew = made(Average(0.99, statistics="refresh"))
    seen = fit(anew, 1)
    check_close(anew.model.get_weights()[:4], recursion(seen.trained, [1 / 10, 2 / 11, 3 / 12])[:4])
    kernel, bias = anew.model.get_weights()[:2]
    batches = (IMAGES.reshape(12, -1) @ kernel + bias).reshape(3, 4, -1)
    check_close(anew.model.get_weights()[4:6], [batches.mean((0, 1)), batches.var(1).mean(0)])
    with anew.weights_of_training():
        np.testing.assert_array_equal(anew.model.get_weights()[4], seen.trained[-1][4])


@pytest.mark.parametrize("given", [{}, {"validation_data": (IMAGES[:3], LABELS[:3])}])
def test_no_statistics_are_measured_on_the_images_of_a_validation_split(given):
    robust = made(Average(0.99, statistics="refresh"), run_eagerly=True)
    fit(robust, 1, validation_split=0.3, **given)
    kernel, bias = robust.model.get_weights()[:2]
    count = 12 if given else 8  # Keras does not split where it is given what to validate on
    batches = (IMAGES[:count].reshape(count, -1) @ kernel + bias).reshape(count // 4, 4, -1)
    expected = [batches.mean((0, 1)), batches.var(1).mean(0)]
    check_close(robust.model.get_weights()[4:6], expected)


@pytest.mark.parametrize("statistics, by", [("average", "fit"), ("refresh", "train_on_batch")])
def test_a_loaded_model_goes_on_from_its_weights(statistics, by, tmp_path):
    """Its average does not begin at the random weights that it was made with."""
    robust = made(Average(0.99, ramp=False, statistics=statistics), run_eagerly=True)
    fit(robust, 1)
    robust.save(tmp_path / "model.keras")
    expected = robust.model.get_weights()
    loaded = rlfat_tf.load(tmp_path / "model.keras")
    loaded.compile(optimizer=keras.optimizers.SGD(1e-9))
    loaded.optimizer.iterations.assign(100)  # as it is in a model that was saved with it
    if by == "fit":
        fit(loaded, 1)
    else:
        loaded.train_on_batch(IMAGES[:4], LABELS[:4])
    check_close(loaded.model.get_weights()[:4], expected[:4])  # statistics move, if slowly
    for found, wanted in zip(loaded.model.get_weights()[4:6], expected[4:6]):
        assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_statistics_are_averaged_until_they_are_measured():
    robust = made(Average(0.9, statistics="refresh"), run_eagerly=True)
    trained = [robust.model.get_weights()]
    for _ in range(3):
        robust.train_on_batch(IMAGES[:4], LABELS[:4])
        with robust.weights_of_training():
            trained.append(robust.model.get_weights())
    check_close(robust.model.get_weights(), recursion(trained, [1 / 10, 2 / 11, 3 / 12]))


def test_what_is_saved_within_an_epoch_are_the_averages(tmp_path):
    class Save(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.save(tmp_path / "model.keras")
                self.model.save_weights(tmp_path / "model.weights.h5")
                self.after = self.model.model.get_weights()

    robust, save, recorder = made(Average(0.9), run_eagerly=True), Save(), Recorder()
    callbacks = keras.callbacks.CallbackList([save, recorder], add_history=True, model=robust)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    robust.fit(data, callbacks=callbacks, verbose=0)
    expected = recursion(recorder.trained[:3], [1 / 10, 2 / 11])
    check_close(rlfat_tf.load(tmp_path / "model.keras").model.get_weights(), expected)
    again = made(None)
    again.load_weights(tmp_path / "model.weights.h5")
    check_close(again.model.get_weights(), expected)
    np.testing.assert_array_equal(save.after[0], recorder.trained[2][0])  # these go on


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 accumulates no gradients")
def test_updates_are_averaged_and_not_batches():
    net = reference.keras_net(seed=8)
    average = Average(0.5, ramp=False)
    robust = rlfat_tf.PGDAT(net, attack=rlfat_tf.attacks.FGSM(epsilon=0.1), average=average)
    robust.compile(optimizer=keras.optimizers.SGD(0.5, gradient_accumulation_steps=3))
    first, *trained = fit(robust, 2).trained
    changed = [w for old, w in zip([first, *trained], trained) if np.any(w[0] != old[0])]
    assert len(trained) == 6 and len(changed) == 2
    check_close(robust.model.get_weights(), recursion([first, *changed], [0, 0.5]))


def test_layers_that_are_thawed_later_are_averaged_from_then_on():
    """As in fine-tuning: first a new head alone, then the whole network."""
    robust = made(Average(0.5))
    layers = robust.model.layers
    frozen = [layer for layer in layers if layer.get_weights()][:2]  # dense and batch norm
    for layer in frozen:
        layer.trainable = False
    robust.compile(optimizer=keras.optimizers.SGD(0.5))
    first = fit(robust, 1)
    for layer in frozen:
        layer.trainable = True
    robust.compile(optimizer=keras.optimizers.SGD(0.5))
    second = fit(robust, 2, first=1)
    assert np.any(second.trained[-1][0] != second.trained[0][0])
    decays = [1 / 10, 2 / 11, 3 / 12]  # a new optimizer counts anew
    of_second = recursion(second.trained, decays)
    for one, other in zip(second.trained[0], first.trained[-1]):
        np.testing.assert_array_equal(one, other)
    both = recursion([*first.trained, *second.trained[1:]], [*decays, *decays])
    own = {id(weight) for layer in frozen for weight in layer.weights}
    shown = zip(robust.model.weights, robust.model.get_weights(), of_second, both)
    for weight, found, from_then_on, all_along in shown:
        check_close([found], [from_then_on if id(weight) in own else all_along])


def test_replicas_keep_the_average_of_one_device(strategy2):
    with strategy2.scope():
        replicas = made(Average(0.9), batch_norm=False)
    alone = made(Average(0.9), batch_norm=False)
    for robust in (replicas, alone):
        data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).repeat(2).batch(12, True)
        robust.fit(data, epochs=1, verbose=0)
    check_close(replicas.model.get_weights(), alone.model.get_weights())


def test_an_average_is_saved_with_its_method_and_begins_anew(tmp_path):
    robust = made(Average(0.9, statistics="raw"), run_eagerly=True)
    fit(robust, 1)
    robust.save(tmp_path / "model.keras")
    again = rlfat_tf.load(tmp_path / "model.keras")
    assert again.average == robust.average
    np.testing.assert_array_equal(again.model.get_weights()[0], robust.model.get_weights()[0])
    assert len(again.weights) == len(made(None).weights)  # no average is a weight of the model


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"decay": 1.0}, "decay of an average in"),
        ({"warmup": -1}, "number of updates"),
        ({"statistics": "averaged"}, "Did you mean 'average'"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Average(**arguments)
    with pytest.raises(TypeError, match="rlfat_tf.Average"):
        made(0.9)


class Exported(keras.callbacks.Callback):
    """What every way out of the model holds within an epoch."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.model.export(self.folder / "export", verbose=False)
            self.model.save(self.folder / "saved.keras")


def test_what_is_exported_within_an_epoch_are_the_averages(tmp_path):
    robust = made(Average(0.9, ramp=False))
    robust.fit(IMAGES, LABELS, batch_size=4, shuffle=False, verbose=0,
               callbacks=[Exported(tmp_path)])  # fmt: skip
    served = tf.saved_model.load(str(tmp_path / "export")).signatures["serving_default"]
    saved = keras.models.load_model(tmp_path / "saved.keras")
    found = served(images=tf.constant(IMAGES))["logits"]
    np.testing.assert_allclose(found, saved.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-5)


def test_an_optimizer_with_an_average_of_its_own_is_refused():
    robust = made(Average(0.5))
    robust.compile(keras.optimizers.SGD(0.5, use_ema=True))
    with pytest.raises(ValueError, match="one average of the weights; received average=Average"):
        robust.fit(IMAGES, LABELS)
    robust.average = None
    robust.fit(IMAGES, LABELS, batch_size=4, verbose=0)  # Keras's alone is there at the end
    kept = robust.optimizer._model_variables_moving_average
    check_close(robust.trainable_weights, [value.numpy() for value in kept])


def test_backups_of_keras_are_refused_where_they_lose_state(tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(ValueError, match="BackupAndRestore keeps .* of PGDAT, but not the rest"):
        made(Average(0.9)).fit(IMAGES, LABELS, callbacks=[backup], verbose=0)
    made(None, run_eagerly=True).fit(IMAGES, LABELS, callbacks=[backup], verbose=0)
