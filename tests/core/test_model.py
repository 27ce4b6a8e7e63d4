"""Setting an attribute of a model has an effect after its steps were compiled, and only then."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core.compat import keras
from rlfat_tf.core.model import Model

IMAGES = np.array([[1.0], [2.0]], np.float32)
LABELS = np.zeros(2, np.float32)


class Multiply(Model):
    """It logs factor * mean(x), its output factor * x; it counts how often it is traced."""

    factor = 1.0

    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(name="weight", shape=(), initializer="zeros")
        self._traces = []
        self.built = True

    def call(self, inputs):
        return inputs * self.factor

    def train_step(self, data):
        self.noted = data[0]  # while the step is traced, which must not trace it again
        self._traces.append("train")
        return {"value": self.factor * tf.reduce_mean(data[0])}

    def test_step(self, data):
        self._traces.append("test")
        return self.train_step(data)


@pytest.fixture
def model():
    model = Multiply()
    model.compile(optimizer="sgd")
    return model


def test_the_next_call_sees_what_was_set(model):
    for factor in (1.0, 2.0, -1.0):
        model.factor = factor
        assert model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["value"] == 1.5 * factor
        assert model.fit(IMAGES, LABELS, verbose=0).history["value"] == [1.5 * factor]
        np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), factor * IMAGES)


def test_the_next_batch_sees_what_a_callback_sets(model):
    class Change(keras.callbacks.Callback):
        losses = []

        def on_train_batch_begin(self, batch, logs=None):
            self.model.factor = float(batch)

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(logs["value"])

    model.fit(np.ones((3, 1)), np.zeros(3), batch_size=1, callbacks=[Change()], verbose=0)
    assert Change.losses == [0, 1, 2]


def test_nothing_is_traced_again_for_what_keras_sets(model, tmp_path):
    watchers = [
        keras.callbacks.EarlyStopping(monitor="value", mode="min", patience=9),
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
        keras.callbacks.ModelCheckpoint(
            str(tmp_path / "weights.weights.h5"),
            save_weights_only=True,
            monitor="value",
            mode="min",
        ),
        keras.callbacks.TerminateOnNaN(),
    ]

    def use(**arguments):
        model.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), verbose=0, **arguments)
        model.evaluate(IMAGES, LABELS, verbose=0)
        model.predict(IMAGES, verbose=0)

    use()
    model._traces.clear()
    functions = model.train_function, model.test_function, model.predict_function
    use(epochs=3, callbacks=watchers)
    model._private = 1
    assert not model._traces
    assert functions == (model.train_function, model.test_function, model.predict_function)
    model.anything = 1
    use()
    assert set(model._traces) == {"train", "test"}
