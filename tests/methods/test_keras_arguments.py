"""Every argument of Keras's optimizers, of `compile` and of `fit`: what it does, or why not.

`Standard` minimises the cross entropy, as a plain Keras model with that loss does. So each argument
must lead both to the same weights and to the same logs, or be refused with a sentence.
"""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import METHODS, attacks
from rlfat_tf.core import compat
from rlfat_tf.core.compat import KERAS_3, keras
from rlfat_tf.storage import checkpoint
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(12, seed=3)
VALID, _, VALID_LABELS = reference.images_and_labels(7, seed=4)
WEIGHTS = np.linspace(0.5, 2, 12).astype(np.float32)
VALID_WEIGHTS = np.linspace(0, 2, 7).astype(np.float32)
VALIDATION = (VALID, VALID_LABELS, VALID_WEIGHTS)

EMA = {"use_ema": True, "ema_momentum": 0.7}
# Of every argument some settings of its group; what a call needs besides stands with it.
OPTIMIZER: dict[str, list[dict]] = {
    "learning_rate": [
        {"learning_rate": lambda: keras.optimizers.schedules.ExponentialDecay(0.2, 1, 0.5)},
    ],
    "weight_decay": [{"weight_decay": 0.1}],
    "clipnorm": [{"clipnorm": 0.05}],
    "clipvalue": [{"clipvalue": 1e-3}],
    "global_clipnorm": [{"global_clipnorm": 0.05}],
    "use_ema": [{"use_ema": True}],
    "ema_momentum": [EMA],
    "ema_overwrite_frequency": [{**EMA, "ema_overwrite_frequency": 2}],
    "name": [{"name": "mine"}],
}
OPTIMIZER_OF_KERAS_3: dict[str, list[dict]] = {
    "loss_scale_factor": [{"loss_scale_factor": 1024.0}],
    "gradient_accumulation_steps": [
        {"gradient_accumulation_steps": 3},
        {"gradient_accumulation_steps": 2, "loss_scale_factor": 0.25, "clipnorm": 0.05, **EMA},
    ],
}
OPTIMIZER_OF_KERAS_2: dict[str, list[dict]] = {"jit_compile": [{"jit_compile": True}]}

REFUSED = {
    "loss": ({"loss": "mse"}, "defines its own objective. Leave the loss out"),
    "loss_weights": (
        {"loss_weights": [2.0]},
        "loss_weights=.*own objective. Leave the loss weights",
    ),
}
COMPILE: dict[str, list[dict]] = {
    "optimizer": [{"optimizer": "sgd"}, {"optimizer": lambda: keras.optimizers.Adam(0.01)}],
    "metrics": [{"metrics": lambda: [keras.metrics.SparseTopKCategoricalAccuracy(2)]}],
    "weighted_metrics": [{"metrics": None, "weighted_metrics": ["accuracy"]}],
    "run_eagerly": [{"run_eagerly": True}],
    "steps_per_execution": [{"steps_per_execution": 2}],
    "jit_compile": [{"jit_compile": True}, {"jit_compile": "auto" if KERAS_3 else None}],
}
COMPILE_OF_KERAS_3 = {"auto_scale_loss": [{"auto_scale_loss": True}, {"auto_scale_loss": False}]}
COMPILE_OF_KERAS_2: dict[str, list[dict]] = {
    "pss_evaluation_shards": [{"pss_evaluation_shards": 0}]
}


class Anneal(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate.assign(0.1 / (epoch + 1))


FIT: dict[str, list[dict]] = {
    "x": [{"x": lambda: batches(IMAGES, LABELS), "y": None, "batch_size": None}],
    "y": [{"y": LABELS[:, None]}],
    "batch_size": [{"batch_size": 5}],
    "epochs": [{"epochs": 3}],
    "verbose": [{"verbose": 2}],
    "callbacks": [{"callbacks": lambda: [Anneal()]}],
    "validation_split": [{"validation_split": 0.25}],
    "validation_data": [{"validation_data": VALIDATION}],
    "shuffle": [{"shuffle": True}],
    "class_weight": [{"class_weight": {0: 2.0, 1: 0.5, 2: 1.0}}],
    "sample_weight": [{"sample_weight": WEIGHTS}],
    "initial_epoch": [{"initial_epoch": 1}],
    "steps_per_epoch": [
        {"x": lambda: batches(IMAGES, LABELS), "y": None, "batch_size": None, "steps_per_epoch": 1}
    ],
    "validation_steps": [
        {"validation_data": lambda: batches(*VALIDATION), "validation_steps": 1},
    ],
    "validation_batch_size": [{"validation_data": VALIDATION, "validation_batch_size": 3}],
    "validation_freq": [{"validation_data": VALIDATION, "validation_freq": 2}],
}
FIT_OF_KERAS_2: dict[str, list[dict]] = {
    name: [{name: value}]
    for name, value in (("max_queue_size", 2), ("workers", 2), ("use_multiprocessing", False))
}


def batches(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(4)


def table(both, keras_3, keras_2):
    return {**both, **(keras_3 if KERAS_3 else keras_2)}


OPTIMIZER = table(OPTIMIZER, OPTIMIZER_OF_KERAS_3, OPTIMIZER_OF_KERAS_2)
COMPILE = table(COMPILE, COMPILE_OF_KERAS_3, COMPILE_OF_KERAS_2)
FIT = table(FIT, {}, FIT_OF_KERAS_2)


def rows(group):
    return [
        pytest.param(settings, id=f"{name}-{i}")
        for name, settings_of in group.items()
        for i, settings in enumerate(settings_of)
    ]


def made(settings):
    """The settings, with what must be new for every model made."""
    return {key: of() if callable(of) else of for key, of in settings.items()}


def a_model(ours, settings):
    """`Standard` or a plain Keras model with the same weights, compiled."""
    settings = {"metrics": ["accuracy"], "jit_compile": False, **settings}
    settings = {"optimizer": keras.optimizers.SGD(0.1, momentum=0.5), **settings}
    keras.utils.set_random_seed(5)
    model = reference.keras_net(seed=8)
    if ours:
        model = METHODS["standard"](model)
    else:
        settings["loss"] = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(**settings)
    return model


@functools.lru_cache
def compiled_once(ours):
    """A model that may be trained again and again, and the values of its variables at the start."""
    model = a_model(ours, {})
    compat.build_optimizer(model.optimizer, model.trainable_variables)
    variables = [*model.weights, *model.optimizer.variables]
    return model, [(variable, np.array(variable)) for variable in variables]


def as_new(ours):
    """The model of `compiled_once` with the values of its start: its steps are traced already."""
    model, start = compiled_once(ours)
    for variable, value in start:
        variable.assign(value)
    keras.utils.set_random_seed(5)
    return model


def fitted(ours, compiling, fitting=None):
    model = a_model(ours, made(compiling)) if compiling else as_new(ours)
    arguments = {
        "x": IMAGES,
        "y": LABELS,
        "batch_size": 4,
        "epochs": 2,
        "shuffle": False,
        "verbose": 0,
        **made(fitting or {}),
    }
    logs = model.fit(**arguments).history
    return model, logs


def assert_alike(ours, plain):
    for one, other in zip(ours[0].get_weights(), plain[0].get_weights()):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
    assert set(plain[1]) <= set(ours[1])
    for name, values in plain[1].items():
        np.testing.assert_allclose(ours[1][name], values, rtol=2e-5, atol=2e-6, err_msg=name)


def test_the_tables_are_complete():
    """What a new Keras brings is put into a table, with what it does here."""

    def arguments(*functions):
        parameters = [p for f in functions for p in inspect.signature(f).parameters.values()]
        named = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        return named - {"self"}

    bases = keras.optimizers.Optimizer.__mro__[:-1]
    optimizer = arguments(*(base.__init__ for base in bases if "__init__" in vars(base)))
    assert optimizer | {"learning_rate"} == set(OPTIMIZER)  # in Keras 2 of every subclass
    assert arguments(keras.Model.compile) == {*COMPILE, *REFUSED}
    assert arguments(keras.Model.fit) == set(FIT)


@pytest.mark.parametrize("settings", rows(OPTIMIZER))
def test_arguments_of_optimizers(settings):
    def optimizer():
        return keras.optimizers.SGD(**{"learning_rate": 0.1, "momentum": 0.5, **made(settings)})

    compiling = {"optimizer": optimizer}
    assert_alike(fitted(True, compiling), fitted(False, compiling))


@pytest.mark.skipif(KERAS_3, reason="Keras 3 has no legacy optimizers")
@pytest.mark.parametrize(
    "settings", [{"clipnorm": 0.05}, {"clipvalue": 1e-3}, {"global_clipnorm": 0.05}, {"decay": 0.1}]
)
def test_arguments_of_legacy_optimizers(settings):
    compiling = {"optimizer": lambda: keras.optimizers.legacy.SGD(0.1, 0.5, **settings)}
    assert_alike(fitted(True, compiling), fitted(False, compiling))


@pytest.mark.parametrize("settings", rows(COMPILE))
def test_arguments_of_compile(settings):
    fitting = {"validation_data": VALIDATION, "sample_weight": WEIGHTS}
    assert_alike(fitted(True, settings, fitting), fitted(False, settings, fitting))


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_compile_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        METHODS["standard"](reference.keras_net()).compile(optimizer="sgd", **settings)


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize("metric", ["loss", keras.metrics.Mean(name="adv_accuracy")])
def test_a_metric_with_the_name_of_what_the_method_logs(argument, metric):
    with pytest.raises(ValueError, match="a metric called '.*'.*another name"):
        METHODS["standard"](reference.keras_net()).compile(**{argument: [metric]})


@pytest.mark.parametrize("settings", rows(FIT))
def test_arguments_of_fit(settings):
    # Labels of another layout need models of their own.
    compiling = {"metrics": ["accuracy"]} if settings.get("y") is not None else {}
    assert_alike(fitted(True, compiling, settings), fitted(False, compiling, settings))


def test_one_batch_at_a_time():
    found = []
    for ours in (True, False):
        model = a_model(ours, {})
        weights = {"sample_weight": WEIGHTS, "return_dict": True}
        logs = [model.train_on_batch(IMAGES, LABELS, **weights)]
        logs += [model.test_on_batch(VALID, VALID_LABELS, VALID_WEIGHTS, return_dict=True)]
        arguments = {"batch_size": 3, "steps": 2, "return_dict": True, "verbose": 0}
        logs += [model.evaluate(VALID, VALID_LABELS, sample_weight=VALID_WEIGHTS, **arguments)]
        names = ("loss", "accuracy")
        found.append((model, {f"{i}{n}": [each[n]] for i, each in enumerate(logs) for n in names}))
    assert_alike(*found)


@pytest.mark.parametrize("when", ["before fit", "after fit", "compiled again"])
def test_freezing_a_layer_after_compile(when):
    found = []
    for ours in (True, False):
        model = a_model(ours, {})
        first = (model.model if ours else model).layers[1]
        if when != "before fit":
            model.fit(IMAGES, LABELS, batch_size=4, shuffle=False, verbose=0)
        before = np.array(first.kernel)
        first.trainable = False
        if when == "compiled again":
            arguments = {} if ours else {"loss": model.loss}
            optimizer = keras.optimizers.SGD(0.1)
            model.compile(optimizer, metrics=["accuracy"], jit_compile=False, **arguments)
        logs = model.fit(IMAGES, LABELS, batch_size=4, shuffle=False, verbose=0).history
        if when == "compiled again":
            np.testing.assert_array_equal(first.kernel, before)
        found.append((model, logs))
    assert_alike(*found)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 has no loss_scale_factor")
def test_a_factor_of_the_loss_changes_no_step():
    compiling = {"optimizer": lambda: keras.optimizers.SGD(0.1, loss_scale_factor=1024.0)}
    assert_alike(fitted(True, compiling), fitted(True, {"optimizer": keras.optimizers.SGD(0.1)}))


@pytest.mark.skipif(not KERAS_3, reason="of Keras 3")
@pytest.mark.parametrize(
    "settings", [{"gradient_accumulation_steps": 2}, {**EMA, "ema_overwrite_frequency": 2}]
)
def test_what_keras_cannot_do_on_replicas(strategy2, settings):
    def compiled(ours):
        with strategy2.scope():
            return a_model(ours, {"optimizer": keras.optimizers.SGD(0.1, **settings)})

    with pytest.raises(ValueError, match=f"{list(settings)[-1]}=2, which Keras 3 cannot"):
        compiled(True)
    with pytest.raises(RuntimeError):  # once this fails, the check can go
        compiled(False).fit(IMAGES, LABELS, batch_size=4, verbose=0)


@pytest.mark.skipif(not KERAS_3, reason="of Keras 3")
@pytest.mark.parametrize("name", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_clipping_on_replicas(strategy2, name):
    with strategy2.scope():
        optimizer = keras.optimizers.SGD(1.0, **{name: 0.05})
        with pytest.raises(ValueError, match=f"{name}=0.05, which Keras 3 .* clip each replica's"):
            a_model(True, {"optimizer": optimizer})
        weight = keras.Variable(1.0)
        optimizer.build([weight])
    strategy2.run(lambda: optimizer.apply([tf.constant(1.0)]))
    # Twice the length that is allowed: once this fails, the check can go.
    assert float(weight.numpy()) == pytest.approx(0.9)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        a_model(True, {"optimizer": keras.optimizers.SGD(1.0, **{name: 0.05})})


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 can do all of it, and load nothing in a scope")
def test_what_keras_cannot_do_on_replicas_is_loaded_there_and_not_trained(strategy2, tmp_path):
    settings = {"clipnorm": 0.05, "gradient_accumulation_steps": 2}
    model = a_model(True, {"optimizer": keras.optimizers.SGD(0.1, **settings, **EMA)})
    compat.build_optimizer(model.optimizer, model.trainable_variables)
    model.optimizer._iterations.assign(2)
    model.save(tmp_path / "model.keras")
    with strategy2.scope():
        loaded = checkpoint.load(tmp_path / "model.keras")
    assert loaded.optimizer._iterations.numpy() == 2
    np.testing.assert_allclose(loaded(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)
    for train in (loaded.fit, loaded.train_on_batch):
        with pytest.raises(ValueError, match="clipnorm=0.05, which Keras 3 cannot .* one device"):
            train(IMAGES, LABELS)
    with pytest.raises(ValueError, match="clipnorm=0.05, which Keras 3"):
        loaded.compile(optimizer=loaded.optimizer)


@pytest.mark.parametrize("steps", [None, 4])
def test_every_batch_draws_anew(steps):
    if steps and not KERAS_3:
        pytest.skip("Keras 2 has no gradient_accumulation_steps")
    draws = []

    class Recorder(METHODS["rlfat_p"]):
        def objective(self, logits, batch):
            draws.append((batch.adversarial.numpy(), batch.seed.value.numpy()))
            return super().objective(logits, batch)

    arguments = {"gradient_accumulation_steps": steps} if steps else {}
    attack = attacks.LinfPGD(epsilon=0.1, steps=1, step_size=1e-3)
    robust = Recorder(reference.keras_net(), attack=attack, seed=1)
    robust.compile(optimizer=keras.optimizers.SGD(0.0, **arguments), run_eagerly=True)
    same = np.repeat(IMAGES[:1], 20, axis=0)
    robust.fit(same, np.zeros(20, int), batch_size=4, verbose=0)
    assert int(compat.batches_seen(robust.optimizer)) == 5
    assert len({image.tobytes() for images, _ in draws for image in images}) == 20
    assert len({seed.tobytes() for _, seed in draws}) == 5


def test_averages_are_of_the_classifier_alone():
    """ATLD has weights of a discriminator beside, with an optimizer of their own."""
    latent = keras.Input((reference.CLASSES,))
    heads = [keras.layers.Dense(1)(latent), keras.layers.Dense(reference.CLASSES)(latent)]
    discriminator = keras.Model(latent, heads)
    robust = METHODS["atld"](reference.keras_net(seed=8), discriminator=discriminator)
    robust.compile(optimizer=keras.optimizers.SGD(0.1, **EMA))
    kept = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            averages = [*robust.optimizer._model_variables_moving_average, *discriminator.weights]
            kept.extend(np.array(each) for each in averages)

    robust.fit(IMAGES, LABELS, batch_size=6, callbacks=[Keep()], verbose=0)
    robust.discriminator_learning_rate = 0.5
    assert float(robust.discriminator_optimizer.learning_rate) == 0.5
    found = robust.model.get_weights() + discriminator.get_weights()
    assert len(kept) == len(found) == 8
    for weights, expected in zip(found, kept):
        np.testing.assert_array_equal(weights, expected)
