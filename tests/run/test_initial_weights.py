"""A run that begins with the weights of another training."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import rlfat_tf
from rlfat_tf import models
from rlfat_tf.core.compat import keras
from rlfat_tf.run import builders, console, initial_weights, train, workdir
from tests import runs


@pytest.fixture(scope="module")
def digits():
    return rlfat_tf.data.load("digits")


def built(config, data):
    return builders.build_model(config, data, 1, 2, initial=initial_weights.load(config)).model


@pytest.mark.parametrize("kind", ["run", "file"])
def test_the_network_begins_with_the_weights_of_a_run(kind, trained, digits, tmp_path):
    path = trained.folder / ("checkpoints/last.keras" if kind == "file" else "")
    ours = built(runs.config(tmp_path, method="trades", weights=str(path)), digits)
    theirs = rlfat_tf.load(trained.folder, "last" if kind == "file" else "best").model
    for got, wanted in zip(ours.get_weights(), theirs.get_weights()):
        np.testing.assert_array_equal(got, wanted)


def test_the_average_begins_with_them_too(trained, digits, tmp_path):
    config = runs.config(tmp_path, weights=str(trained.folder), ema=0.9)
    robust = builders.build_model(config, digits, 1, 2, initial=initial_weights.load(config))
    theirs = rlfat_tf.load(trained.folder).model.get_weights()
    for got, wanted in zip(robust.model.get_weights(), theirs):
        np.testing.assert_array_equal(got, wanted)
    with robust.weights_of_training():
        for got, wanted in zip(robust.model.get_weights(), theirs):
            np.testing.assert_array_equal(got, wanted)


def test_a_network_that_ships_is_trained_further_on_other_classes(digits, tmp_path):
    name = "pretrained:digits-linf-wrn10-1"
    given = initial_weights.load(runs.config(tmp_path, weights=name, model="wrn-10-1"))
    theirs = models.load_pretrained(name)
    ours = models.build("wrn-10-1", input_shape=digits.image_shape, num_classes=3)
    before = ours.get_layer("logits").get_weights()
    initial_weights.put(ours, given, name)
    for one, other in zip(ours.layers, theirs.layers):
        wanted = before if one.name == "logits" else other.get_weights()
        for got, expected in zip(one.get_weights(), wanted):
            np.testing.assert_array_equal(got, expected)


def small(channels, **others):
    return models.build("small_cnn", input_shape=(8, 8, channels), num_classes=10, **others)


def with_activation(name):
    """Returns the small network with another activation, made by another hand."""

    def changed(layer):
        if isinstance(layer, keras.layers.ReLU):
            return keras.layers.Activation(name)
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(small(1), clone_function=changed)


def test_what_does_not_fit_is_refused(trained, digits, tmp_path):
    with pytest.raises(ValueError, match=r"another network than --model names: it has .* layers"):
        built(runs.config(tmp_path, weights=str(trained.folder), model="wrn-10-1"), digits)
    with pytest.raises(ValueError, match=r"layer 1 has weights of shapes .* there, .* here"):
        initial_weights.put(small(1), small(3), "x")
    for other in (small(1, normalize="0.5/0.25"), with_activation("swish")):
        with pytest.raises(ValueError, match="its weights fit, but it has the activations .*where"):
            initial_weights.put(small(1), other, "x")
    initial_weights.put(small(1), with_activation("relu"), "x")  # the same in other layers
    assert initial_weights.load(runs.config(tmp_path, weights="none")) is None  # random ones
    with pytest.raises(ValueError, match=r"--weights: Expected the folder.*Give pretrained:<name>"):
        initial_weights.load(runs.config(tmp_path, weights="nothing"))
    with pytest.raises(ValueError, match=r"Unknown pretrained network 'digit'\. Did you mean"):
        initial_weights.load(runs.config(tmp_path, weights="pretrained:digit"))


def test_a_relative_path_is_kept_absolute(tmp_path, monkeypatch):
    """So that a run goes on by its flags.cfg, which may be used from any folder."""
    monkeypatch.chdir(tmp_path)
    begun = runs.config(tmp_path, weights="mine.keras")
    workdir.write_config(tmp_path, begun)
    assert workdir.read_config(tmp_path).weights == str(tmp_path.resolve() / "mine.keras")
    assert f"--weights={tmp_path.resolve()}/mine.keras" in (tmp_path / "flags.cfg").read_text()
    workdir.check_workdir(tmp_path, begun)
    workdir.check_workdir(tmp_path, workdir.read_config(tmp_path))
    for other in ("theirs.keras", "pretrained:digits-linf-wrn10-1", "none", None):
        with pytest.raises(ValueError, match="holds another run .--weights"):
            workdir.check_workdir(tmp_path, dataclasses.replace(begun, weights=other))
        assert workdir.with_absolute_paths(runs.config(tmp_path, weights=other)).weights in (
            other,
            str(tmp_path.resolve() / "theirs.keras"),
        )


def test_the_home_folder_is_found_and_the_default_is_that_of_the_network(
    tmp_path, monkeypatch, trained
):
    monkeypatch.setenv("HOME", str(trained.folder.parent))
    home = runs.config(tmp_path, weights=f"~/{trained.folder.name}")
    assert initial_weights.source(home) == str(trained.folder)
    assert initial_weights.load(home) is not None
    assert initial_weights.source(runs.config(tmp_path)) == "none"
    assert initial_weights.source(runs.config(tmp_path, model="keras:MobileNetV2")) == "imagenet"


@pytest.mark.parametrize("name", [None, "pretrained:digits-linf-wrn10-1"])
def test_the_header_of_a_run_names_them(name, digits, tmp_path, capsys):
    config = runs.config(tmp_path, weights=name)
    robust = builders.build_model(runs.config(tmp_path), digits, 1, 2)
    console.show_header(config, digits, robust, examples=(1, 1), steps=(1, 2))
    line = next(row for row in capsys.readouterr().out.splitlines() if "network" in row)
    assert line.endswith(f", initial weights {name}" if name else " parameters")


class Built(Exception):
    """The network of a run would be built now."""


@pytest.mark.parametrize("goes_on", [False, True])
def test_only_a_run_that_begins_needs_them(goes_on, trained_copy, tmp_path, monkeypatch):
    seen = []

    def build(*arguments):
        seen.append(arguments[-1])
        raise Built

    monkeypatch.setattr(builders, "build_model", build)
    source = tmp_path / "gone" if goes_on else trained_copy
    folder = trained_copy if goes_on else tmp_path / "run"
    if goes_on:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "weights": str(source)}))
    with pytest.raises(Built):
        train.run(runs.config(folder, **{**runs.TRAINED, "weights": str(source), "epochs": 3}))
    assert (seen[0] is None) == goes_on
