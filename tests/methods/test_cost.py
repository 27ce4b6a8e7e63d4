"""The passes of a training step that docs/methods.md promises, counted."""

from __future__ import annotations

import collections
import re
from pathlib import Path

import pytest
import tensorflow as tf

from rlfat_tf import AWP, LSP, METHODS, Average, GradAlign, attacks
from rlfat_tf.core.compat import keras
from rlfat_tf.models.discriminator import latent_discriminator
from tests import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"
IMAGES, _, LABELS = reference.images_and_labels(4)
ARGUMENTS = {
    "`--atld_objective=game`": {"objective_form": "game"},
    "`--local_variant=first_order`": {"variant": "first_order"},
}


class Probe(keras.layers.Layer):
    """The identity; notes for each pass forward how often it is passed back, and back twice."""

    def __init__(self):
        super().__init__()
        self.passes = []

    def call(self, inputs):
        if not tf.executing_eagerly() or not tf.is_tensor(inputs):
            return inputs  # while the model is built
        seen = collections.Counter()
        self.passes.append(seen)

        @tf.custom_gradient
        def backward(gradient):
            seen["back"] += 1

            def again(second):
                seen["twice"] += 1
                return second

            return tf.identity(gradient), again

        @tf.custom_gradient
        def forward(images):
            return tf.identity(images), backward

        return forward(inputs)


def passes_of_a_step(name, **arguments):
    """Runs one step eagerly.

    Returns the four numbers of the page, and how many passes are differentiated again.
    """
    first, last = Probe(), Probe()
    dense = keras.layers.Dense
    layers = [first, keras.layers.Flatten(), dense(5, "tanh"), last, dense(reference.CLASSES)]
    net = keras.Sequential([keras.Input(reference.SHAPE), *layers])
    if name == "atld":
        arguments["discriminator"] = latent_discriminator(
            num_classes=reference.CLASSES, widths=(8,), units_per_stage=1
        )
    robust = METHODS[name](net, **reference.needed(name), **arguments)
    robust.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    for probe in (first, last):
        probe.passes.clear()
    robust.train_step((tf.constant(IMAGES), tf.constant(LABELS)))
    found = collections.Counter()
    for below, above in zip(first.passes, last.passes):
        # Whatever goes back meets the last layer, and the first one on its way to the images only.
        to_images, to_weights = below["back"], above["back"] - below["back"]
        if to_weights:
            found.update(weights=to_weights, again=to_images)
        elif to_images:
            found.update(input=1, again=to_images - 1)
        else:
            found.update(forward=1)
        found["twice"] += above["twice"]
    return [found[kind] for kind in ("forward", "input", "weights", "again", "twice")]


def attack_of(name, steps):
    if name in ("standard", "feature_scattering", "atld"):
        return {}
    return {"attack": attacks.LinfPGD(epsilon=0.1, steps=steps)}


def rows():
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("## Cost of a step") : page.index("## Several replicas")]
    for line in table.splitlines():
        first, *numbers = [cell.strip() for cell in line.strip("|").split("|")]
        if first.startswith("`"):
            name, *flags = first.split(", ")
            yield name.strip("`"), {k: v for f in flags for k, v in ARGUMENTS[f].items()}, numbers


def value(text, steps):
    """Of "2", "K" or "K + 1"."""
    assert re.fullmatch(r"\d|K( \+ \d)?", text)
    return sum(steps if part == "K" else int(part) for part in text.split(" + "))


@pytest.mark.parametrize("steps", [1, 3])
def test_the_table_of_the_page(steps):
    seen = set()
    for name, arguments, numbers in rows():
        *found, twice = passes_of_a_step(name, **attack_of(name, steps), **arguments)
        assert found == [value(text, steps) for text in numbers], (name, arguments)
        assert twice == (arguments.get("variant") == "first_order")
        seen.add(name)
    assert seen == set(METHODS)


@pytest.mark.parametrize(("reading", "more"), [("neighborhood", 2), ("laplacian", 1)])
def test_what_lsp_adds(reading, more):
    lsp = LSP(reading=reading, neighbors=2)
    found = passes_of_a_step("pgdat", **attack_of("pgdat", 2), regularizer=lsp)
    assert found == [0, 2, 1 + more, 0, 0]


def test_what_grad_align_adds():
    found = passes_of_a_step("pgdat", **attack_of("pgdat", 2), regularizer=GradAlign())
    assert found == [0, 3, 2, 1, 1]


def test_what_the_frame_adds():
    frame = {"label_smoothing": 0.1, "average": Average(0.9), "weight_perturbation": AWP(0.01)}
    assert passes_of_a_step("trades", **attack_of("trades", 3), **frame) == [1, 3, 4, 0, 0]


def test_what_restarts_the_best_point_and_more_passes_add():
    def found(name, **settings):
        attack = attacks.LinfPGD(epsilon=0.1, steps=2, **settings)
        return passes_of_a_step(name, attack=attack)[:3]

    assert found("pgdat", restarts=3) == [3, 6, 1]
    assert found("pgdat", restarts=3, keep="best") == [6, 6, 1]
    assert found("pgdat", keep="best") == [1, 2, 1]
    assert found("trades", eot=4) == [1, 8, 2]
