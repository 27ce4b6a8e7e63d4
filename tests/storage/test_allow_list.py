"""What is on the list of what a saved model may name, and that nothing usual is missing."""

from __future__ import annotations

import inspect
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf.core.compat import KERAS_3, keras
from rlfat_tf.storage import allow_list, saved_config

# Each with the reason for which it is not on the list.
REFUSED = {
    "runs code of the file": {"Lambda"},
    "loads a program": {"TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"},
    "reads files": {"StringLookup", "IntegerLookup", "TextVectorization", "DenseFeatures"},
    "makes constants of any size, of sounds": {"MelSpectrogram", "STFTSpectrogram"},
    "is a base": {"Layer", "Wrapper", "AbstractRNNCell", "InputSpec"},
}


def test_every_layer_of_keras_is_listed_or_refused():
    kinds = [getattr(keras.layers, name) for name in dir(keras.layers)]
    found = {kind.__name__ for kind in kinds if inspect.isclass(kind)} - {"type"}
    assert len(found) > 100
    assert found - allow_list.LAYERS == found & set().union(*REFUSED.values())
    assert not allow_list.LAYERS & set().union(*REFUSED.values())


@pytest.mark.parametrize("part", ["losses", "metrics", "optimizers", "initializers", "activations"])
def test_everything_else_of_keras_is_listed(part):
    """But for bases, what makes constants of any size, and what holds several optimizers."""
    module = getattr(keras, part)
    kinds = [getattr(module, name) for name in dir(module) if not name.startswith("_")]
    names = {kind.__name__ for kind in kinds if inspect.isclass(kind) or inspect.isfunction(kind)}
    names -= {
        "get",
        "serialize",
        "deserialize",
        "Reduction",
        "ReductionV2",
        "STFT",
        "STFTInitializer",
    }
    names -= {"Loss", "Metric", "Optimizer", "Initializer", "OptimizerMap", "MultiOptimizer"}
    missing = {name for name in names if not allow_list.allows_name(name)}
    assert not {name for name in missing if not name.startswith("Base")}


@keras.saving.register_keras_serializable("tests_of_the_allow_list")
class Scaled(keras.layers.Layer):
    def __init__(self, factor=2.0, activation="of my own", **kwargs):
        super().__init__(**kwargs)
        self.factor, self.activation = factor, activation

    def call(self, inputs):
        return self.factor * inputs

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "activation": self.activation}


@keras.saving.register_keras_serializable("tests_of_the_allow_list")
def bent(x):
    return tf.abs(x)


def network():
    layers = keras.layers
    inputs = keras.Input([8, 8, 3])
    x = layers.Rescaling(2.0, -1.0)(inputs)
    x = layers.RandomFlip()(x)
    x = layers.Conv2D(4, 3, activation=bent, kernel_regularizer="l2", padding="same")(x)
    x = layers.BatchNormalization(beta_constraint=keras.constraints.MaxNorm(2.0))(x)
    x = Scaled(3.0)(x)
    shared = keras.Sequential(
        [keras.Input([8, 8, 4]), layers.Conv2D(4, 1), layers.Activation("tanh")]
    )
    x = shared(shared(x))
    if KERAS_3:
        a, b = keras.ops.split(x, 2, axis=-1)
        x = keras.ops.concatenate([a * keras.ops.sigmoid(b), b], axis=-1)
    else:
        a, b = tf.split(x, 2, axis=-1)
        x = tf.concat([tf.sigmoid(a) * b, b], axis=-1)
    x = layers.MultiHeadAttention(2, 3)(layers.Reshape([64, 4])(x), layers.Reshape([64, 4])(x))
    x, state = layers.GRU(3, return_state=True)(x)
    x = layers.Concatenate()([x, state])
    return keras.Model(inputs, layers.Dense(3, dtype="float32")(x))


def test_a_network_of_many_kinds_is_loaded(tmp_path):
    net = network()
    net.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", keras.metrics.TopKCategoricalAccuracy(2), "mae"],
    )
    net.save(tmp_path / "net.keras")
    images = np.random.default_rng(0).random([4, 8, 8, 3], np.float32)
    loaded = rlfat_tf.load(tmp_path / "net.keras")
    logits = (one(images, training=False) for one in (loaded, net))
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-5)
    # And if the class or the function were not registered here, it would be refused.
    with zipfile.ZipFile(tmp_path / "net.keras") as file:
        text = file.read("config.json").decode()
    for name in ("Scaled", "bent"):
        changed = text.replace(f"tests_of_the_allow_list>{name}", f"other>{name}")
        with pytest.raises(ValueError, match=f"it names .*{name}.*register_keras_serializable"):
            saved_config.check(json.loads(changed))


@pytest.mark.skipif(KERAS_3, reason="TensorFlow Addons are of Keras 2")
def test_optimizers_of_tensorflow_addons(tmp_path):
    tfa = pytest.importorskip("tensorflow_addons")
    net = keras.Sequential([keras.Input([2]), keras.layers.Dense(2)])
    net.compile(optimizer=tfa.optimizers.LAMB(0.1), loss=tfa.losses.SigmoidFocalCrossEntropy())
    net.save(tmp_path / "net.keras")
    assert type(rlfat_tf.load(tmp_path / "net.keras").optimizer) is tfa.optimizers.LAMB


@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "Dense", "module": "keras.utils", "registered_name": "get_file"},
        {"class_name": "Dense", "module": "evil"},
        {"class_name": "TFOpLambda", "module": "evil", "config": {"function": "nn.relu"}},
        {"class_name": "TFOpLambda", "config": {"function": "keras.utils.get_file"}},
        {"class_name": "Dense.call", "module": "keras.layers"},
        {"class_name": "Lambda", "registered_name": "tests_of_the_allow_list>Scaled"},
        {"class_name": "Scaled", "module": "evil", "registered_name": "Scaled"},
        {"class_name": "function", "module": "evil", "config": "relu"},
        {"class_name": "function", "module": "builtins", "config": "d"},
        {"class_name": "function", "module": "keras.ops", "config": "map"},
        {"class_name": "Map", "module": "keras.src.ops.core"},
        {"class_name": "backend", "module": "keras.src.ops.numpy"},
        {"class_name": "__lambda__"},
        {"class_name": "__typespec__", "spec_name": "exec", "module": "builtins"},
        {"class_name": ["Dense"]},
        {"class_name": "Dense", "module": 3},
    ],
)
def test_near_misses(entry):
    assert not allow_list.allows(entry)
