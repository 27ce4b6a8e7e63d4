"""A training step over the bare network passes that its method must make: the physical floor.

Per step (see docs/methods.md): K passes of the attack, forward and back to the images, in inference
mode; the training passes, forward and back to the weights; for methods on the KL divergence one
forward pass more. All else - the attack's arithmetic, the losses, Random Block Shuffle, Adam,
metrics, ``fit`` itself - is overhead. Adversarial weight perturbation makes the training passes
twice. Label smoothing and the average of the weights make no pass: they are measured against the
same step without them.
"""

from __future__ import annotations

import argparse
import functools
from typing import Any, NamedTuple

import tensorflow as tf

import rlfat_tf
from benchmarks import measure
from benchmarks.train_step import BATCH, EPSILON, STEP_SIZE, STEPS, batch, network, ours
from rlfat_tf.core.compat import keras
from rlfat_tf.methods import METHODS

NET, TARGET, TARGET_WITHOUT_PASSES = "wrn-10-2", 1.05, 1.02


class Passes(NamedTuple):
    """How often a step passes through the network."""

    attack: int
    training: int
    forward: int


PASSES = {
    "standard": Passes(0, 1, 0),
    "pgdat": Passes(STEPS, 1, 0),
    "trades": Passes(STEPS, 2, 1),
    "rbsat_p": Passes(STEPS, 1, 0),
    "rbsat_t": Passes(STEPS, 2, 1),
    "rlfat_p": Passes(STEPS, 2, 0),
    "rlfat_t": Passes(STEPS, 3, 1),
}

# What composes with every method, here with PGDAT: its arguments, and the passes of a step.
FRAMES: dict[str, tuple[dict[str, Any], Passes]] = {
    "AWP": ({"weight_perturbation": rlfat_tf.AWP(0.01)}, Passes(STEPS, 2, 0)),
    "N-FGSM": ({"attack": rlfat_tf.attacks.NFGSM(epsilon=EPSILON)}, Passes(1, 1, 0)),
}
WITHOUT_PASSES: dict[str, dict[str, Any]] = {
    "label smoothing": {"label_smoothing": 0.1},
    "an average": {"average": rlfat_tf.Average(0.999)},
}


def bare(net: Any, images: Any, labels: Any, passes: Passes, steps: int) -> Any:
    """Runs the passes alone, each a compiled graph."""

    def loss_of(training: bool) -> Any:
        logits = net(images, training=training)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(losses)

    @tf.function
    def forward() -> Any:
        return net(images, training=False)

    @tf.function
    def attack() -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            loss = loss_of(False)
        return tape.gradient(loss, images)

    @tf.function
    def train() -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(True)
        return tape.gradient(loss, net.trainable_variables)

    def run() -> None:
        for _ in range(steps):
            for one, times in ((attack, passes.attack), (train, passes.training)):
                for _ in range(times):
                    found = one()
            for _ in range(passes.forward):
                found = forward()
        tf.nest.map_structure(lambda tensor: tensor.numpy(), found)

    return run


def compiled(method: str, net: Any, **arguments: Any) -> Any:
    """Wraps the network as a user would."""
    attack = rlfat_tf.attacks.LinfPGD(epsilon=EPSILON, steps=STEPS, step_size=STEP_SIZE)
    usual = {} if METHODS[method].instead_of_an_attack else {"attack": attack}
    robust = METHODS[method](net, **{**usual, **arguments})
    robust.compile(optimizer=keras.optimizers.Adam(1e-3))
    return robust


def overhead(
    method: str, arguments: dict[str, Any], passes: Passes, args: argparse.Namespace
) -> measure.Row:
    """One method's step over its passes."""
    images, labels = batch()
    net = network(NET, "float32")
    robust = compiled(method, net, **arguments)
    steps = args.steps if passes.attack > 1 else 10 * args.steps
    floor = bare(net, tf.constant(images), tf.constant(labels), passes, steps)
    seconds = measure.interleaved(
        {"step": ours(robust, images, labels, steps), "passes": floor}, args.pairs
    )
    ratios = [step / floor for step, floor in zip(seconds["step"], seconds["passes"])]
    return measure.row(
        ratios,
        target=TARGET,
        better="lower",
        peer="the passes alone",
        same="the same network",
        seconds=seconds,
        settings={"passes": passes._asdict(), "network": NET, "batch": BATCH},
    )


def against_the_plain_step(arguments: dict[str, Any], args: argparse.Namespace) -> measure.Row:
    """PGDAT's step with something that makes no pass, over the step without it."""
    images, labels = batch()
    sides = {
        name: ours(
            compiled("pgdat", network(NET, "float32"), **given), images, labels, 2 * args.steps
        )
        for name, given in (("with", arguments), ("without", {}))
    }
    seconds = measure.interleaved(sides, args.pairs)
    return measure.row(
        [one / other for one, other in zip(seconds["with"], seconds["without"])],
        target=TARGET_WITHOUT_PASSES,
        better="lower",
        peer="the same step without it",
        same="the same network",
        seconds=seconds,
        settings={"network": NET, "batch": BATCH},
    )


def jobs(args: argparse.Namespace) -> measure.Jobs:
    """Returns the rows' names, and how each is measured."""
    rows: measure.Jobs = {
        f"{method} step over its bare passes": functools.partial(overhead, method, {}, passes, args)
        for method, passes in PASSES.items()
    }
    for name, (arguments, passes) in FRAMES.items():
        rows[f"pgdat step with {name} over its bare passes"] = functools.partial(
            overhead, "pgdat", arguments, passes, args
        )
    for name, arguments in WITHOUT_PASSES.items():
        rows[f"pgdat step with {name} over the step without"] = functools.partial(
            against_the_plain_step, arguments, args
        )
    return rows
