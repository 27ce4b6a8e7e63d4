"""Saving and loading: weights, configuration, attacks, optimizer."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import METHODS, attacks
from rlfat_tf.core.compat import keras, optimizer_variables
from rlfat_tf.methods.checks import check_checkpoints
from rlfat_tf.storage.saved_model import MODEL_CARD, write_card
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels()
ATTACK = attacks.LinfPGD(epsilon=0.07, steps=2, step_size=0.03, random_start="none", loss="margin")
EVAL_ATTACK = attacks.L2PGD(epsilon=0.5, steps=1)
OWN = {
    "trades": {"trades_lambda": 2.5},
    "rbsat_p": {"num_blocks": 3, "block_shuffle": "image"},
    "rbsat_t": {"num_blocks": 3, "trades_lambda": 2.5},
    "rlfat_p": {"num_blocks": 3, "block_shuffle": "equal", "eta": 0.125},
    "rlfat_t": {"num_blocks": 4, "trades_lambda": 2.5, "eta": 0.125},
}


def make(method, **kwargs):
    common = {"eval_attack": EVAL_ATTACK, "attack_bn": "batch", "seed": 9, "weight_decay": 0.01}
    if method != "standard":
        common["attack"] = ATTACK
    model = reference.keras_net(batch_norm=True, seed=3)
    return METHODS[method](model, **{**common, **OWN.get(method, {}), **kwargs})


def same_weights(a, b):
    assert len(a.get_weights()) == len(b.get_weights()) == 8
    for ours, theirs in zip(a.get_weights(), b.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten, self.last = keras.layers.Flatten(), keras.layers.Dense(3)

    def call(self, x):
        return self.last(self.flatten(x))


@pytest.mark.parametrize("name", reference.METHODS)
def test_config_round_trip(name):
    robust = make(name, name="wrapped")
    config = robust.get_config()
    again = type(robust).from_config(config)
    assert again.get_config() == config
    assert again.attack == robust.attack and again.eval_attack == EVAL_ATTACK
    assert again.name == "wrapped" and again.seed == 9 and again.attack_bn == "batch"
    for key, value in OWN.get(name, {}).items():
        assert getattr(again, key) == value
    assert again.terms == robust.terms


@pytest.mark.parametrize("name", reference.METHODS)
def test_keras_file_round_trip(name, tmp_path):
    robust = make(name)
    robust.save(tmp_path / "robust.keras")
    loaded = keras.models.load_model(tmp_path / "robust.keras")
    assert type(loaded) is METHODS[name]
    config, expected = loaded.get_config(), robust.get_config()
    for key in set(expected) - {"model"}:  # Keras itself writes some layers in two ways
        assert config[key] == expected[key]
    same_weights(loaded, robust)
    np.testing.assert_allclose(
        loaded.predict(IMAGES, verbose=0), robust.model(IMAGES), rtol=1e-5, atol=1e-6
    )


def test_a_trained_model_goes_on_as_if_never_saved(tmp_path):
    robust = make("rlfat_p")
    robust.compile(optimizer=keras.optimizers.Adam(0.01), metrics=["accuracy"])
    robust.fit(IMAGES, LABELS, batch_size=4, shuffle=False, verbose=0)
    robust.save(tmp_path / "robust.keras")
    loaded = keras.models.load_model(tmp_path / "robust.keras")
    same_weights(loaded, robust)
    assert int(loaded.optimizer.iterations) == 2
    for ours, theirs in zip(
        optimizer_variables(loaded.optimizer), optimizer_variables(robust.optimizer)
    ):
        np.testing.assert_allclose(np.array(ours), np.array(theirs))
    for one in (robust, loaded):
        one.fit(IMAGES, LABELS, batch_size=4, shuffle=False, verbose=0)
    for ours, theirs in zip(loaded.get_weights(), robust.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    evaluated = loaded.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
    assert {"loss", "accuracy", "adv_accuracy"} <= set(evaluated)


def test_weights_files(tmp_path):
    robust, other = make("rlfat_p"), make("rlfat_p")
    other.set_weights([w + 1 for w in other.get_weights()])
    robust.save_weights(tmp_path / "robust.weights.h5")
    other.load_weights(tmp_path / "robust.weights.h5")
    same_weights(other, robust)
    # The weights are the classifier's and nothing else, so that methods can exchange them.
    third = make("trades")
    third.set_weights([w + 1 for w in third.get_weights()])
    third.load_weights(tmp_path / "robust.weights.h5")
    same_weights(third, robust.model)


def test_the_classifier_is_reachable_and_predict_gives_its_logits():
    model = reference.keras_net(batch_norm=True, seed=3)
    robust = METHODS["rlfat_t"](model)
    assert robust.model is model
    logits = reference.Net(model).forward(IMAGES, training=False)[0]
    np.testing.assert_allclose(robust.predict(IMAGES, verbose=0), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(robust(IMAGES), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(robust(IMAGES), robust(IMAGES, training=False))
    batch = reference.Net(model).forward(IMAGES, training=True)[0]
    np.testing.assert_allclose(robust(IMAGES, training=True), batch, rtol=1e-4, atol=1e-4)
    assert len(robust.trainable_variables) == len(model.trainable_variables) == 6


def test_a_classifier_that_is_not_built_yet(tmp_path):
    layers = keras.layers
    model = keras.Sequential([layers.Flatten(), layers.Dense(3)])
    robust = METHODS["rlfat_p"](model, attack=attacks.FGSM(epsilon=0.1))
    robust.compile(optimizer="adam", metrics=["accuracy"])
    robust.fit(IMAGES, LABELS, verbose=0)
    robust.save(tmp_path / "robust.keras")
    loaded = keras.models.load_model(tmp_path / "robust.keras")
    np.testing.assert_allclose(
        loaded.predict(IMAGES, verbose=0), model(IMAGES), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("called", [False, True])
def test_a_subclassed_classifier(called, tmp_path):
    net = Subclassed()
    if called:
        net(IMAGES)
    robust = METHODS["rlfat_p"](net, attack=ATTACK)
    robust.compile(optimizer="sgd")
    robust.fit(IMAGES, LABELS, batch_size=4, verbose=0)
    assert robust.built
    robust.save_weights(tmp_path / "a.weights.h5")
    robust.save(tmp_path / "robust.keras")
    expected = np.asarray(net(IMAGES))
    loaded = keras.models.load_model(tmp_path / "robust.keras")
    np.testing.assert_allclose(loaded(IMAGES), expected, atol=1e-6)
    robust.export(tmp_path / "export")
    serve = tf.saved_model.load(str(tmp_path / "export")).signatures["serving_default"]
    served = serve(images=tf.constant(IMAGES[:3]))["logits"]  # another batch than the trained
    np.testing.assert_allclose(served, expected[:3], atol=1e-6)


def test_a_subclassed_classifier_of_atld():
    with pytest.raises(ValueError, match="Subclassed is not built. Call it on a batch of images"):
        METHODS["atld"](Subclassed())
    net = Subclassed()
    net(IMAGES)
    assert METHODS["atld"](net).discriminator.input_shape == (None, 3)


@pytest.mark.parametrize("name", ["pgdat", "trades"])
def test_no_attack_of_evaluation_stays_none(name, tmp_path):
    robust = make(name)
    robust.eval_attack = None
    assert type(robust).from_config(robust.get_config()).eval_attack is None
    robust.save(tmp_path / "robust.keras")
    assert keras.models.load_model(tmp_path / "robust.keras").eval_attack is None


@pytest.mark.parametrize("name", ["model.h5", "folder"])
def test_save_refuses_what_nothing_loads_again(name, tmp_path):
    robust = METHODS["pgdat"](reference.keras_net())
    with pytest.raises(
        ValueError, match="Expected a path that ends in .keras, which rlfat_tf.load"
    ):
        robust.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_nothing_loads_again_is_refused_before_training(tmp_path):
    robust = METHODS["pgdat"](reference.keras_net())
    robust.compile(optimizer="sgd")
    kind = keras.callbacks.ModelCheckpoint
    before = robust.get_weights()
    with pytest.raises(ValueError, match=r"ends in .keras, .* received '.*m-\{epoch\}.h5'"):
        robust.fit(IMAGES, LABELS, callbacks=[kind(f"{tmp_path}/m-{{epoch}}.h5")], verbose=0)
    for old, new in zip(before, robust.get_weights()):
        np.testing.assert_array_equal(old, new)
    check_checkpoints([kind("{epoch}.keras")])
    check_checkpoints(kind("{epoch}.weights.h5", save_weights_only=True))
    check_checkpoints(None)


def test_paths_below_the_home_folder(tmp_path, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    robust, other = (METHODS["pgdat"](reference.keras_net(seed=seed)) for seed in (1, 2))
    robust.save("~/robust.keras")
    robust.save_weights("~/robust.weights.h5")
    assert (tmp_path / "robust.keras").is_file() and (tmp_path / "robust.weights.h5").is_file()
    other.load_weights("~/robust.weights.h5")
    for ours, theirs in zip(robust.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    write_card("~/export", {"name": "robust"})
    assert (tmp_path / "export" / "assets.extra" / MODEL_CARD).is_file()
