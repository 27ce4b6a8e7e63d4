"""A training step over the bare network passes that its method must make: the physical floor.

Per step (see docs/methods.md): K passes of the attack, forward and back to the images, in inference
mode; the training passes, forward and back to the weights; for methods on the KL divergence one
forward pass more. All else - the attack's arithmetic, the losses, Random Block Shuffle, Adam,
metrics, ``fit`` itself - is overhead.
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

NET, TARGET = "wrn-10-2", 1.05


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


def overhead(method: str, args: argparse.Namespace) -> measure.Row:
    """One method's step over its passes."""
    images, labels = batch()
    net = network(NET, "float32")
    attack = rlfat_tf.attacks.LinfPGD(epsilon=EPSILON, steps=STEPS, step_size=STEP_SIZE)
    robust = METHODS[method](net, attack=None if METHODS[method].instead_of_an_attack else attack)
    robust.compile(optimizer=keras.optimizers.Adam(1e-3))
    steps = args.steps if PASSES[method].attack else 10 * args.steps
    floor = bare(net, tf.constant(images), tf.constant(labels), PASSES[method], steps)
    seconds = measure.interleaved(
        {"step": ours(robust, images, labels, steps), "passes": floor}, args.pairs
    )
    ratios = [step / passes for step, passes in zip(seconds["step"], seconds["passes"])]
    return measure.row(
        ratios,
        target=TARGET,
        better="lower",
        peer="the passes alone",
        same="the same network",
        seconds=seconds,
        settings={"passes": PASSES[method]._asdict(), "network": NET, "batch": BATCH},
    )


def jobs(args: argparse.Namespace) -> measure.Jobs:
    """Returns the rows' names, and how each is measured."""
    return {
        f"{method} step over its bare passes": functools.partial(overhead, method, args)
        for method in PASSES
    }
