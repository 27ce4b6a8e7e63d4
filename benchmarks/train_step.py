"""A training step (PGD-10, batch 64) against PyTorch, ART's trainer and the reference's way.

The peers: the identical step in PyTorch (channels_last; the faster of eager and torch.compile, in
the same precision), ART's adversarial trainer on the same Keras network, and a loop as the
reference's code has it (``reference_loop.py``). Ours is what ``fit`` runs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from typing import Any, Callable

import numpy as np
import tensorflow as tf

import rlfat_tf
from benchmarks import measure
from benchmarks.network_file import network_of
from benchmarks.torch_side import TorchSide
from rlfat_tf import models
from rlfat_tf.core import compat, random
from rlfat_tf.core.compat import keras

EPSILON, STEPS, STEP_SIZE, BATCH = 0.03, 10, 0.0075, 64
NETS = {"wrn-10-2": "wrn-10-2", "w32-1": "the shape of w32-10 at a tenth of its width"}
METHODS = {"rlfat_p": rlfat_tf.RLFATP, "rlfat_t": rlfat_tf.RLFATT, "pgdat": rlfat_tf.PGDAT}
TARGETS = {"float32": 1.20, "mixed_bfloat16": 1.00}


def batch(size: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels; no method's time depends on what is on them."""
    rng = np.random.default_rng(0)
    return rng.random((size, 32, 32, 3), np.float32), rng.integers(0, 10, size).astype(np.int32)


def network(name: str, precision: str) -> Any:
    """A network with fixed weights."""
    keras.utils.set_random_seed(0)
    with compat.dtype_policy(precision):
        return models.build(name, input_shape=(32, 32, 3), num_classes=10)


def compiled(method: str, net: Any, **arguments: Any) -> Any:
    """Wraps the network as a user would."""
    attack = rlfat_tf.attacks.LinfPGD(epsilon=EPSILON, steps=STEPS, step_size=STEP_SIZE)
    robust = METHODS[method](net, attack=attack, **arguments)
    robust.compile(optimizer=keras.optimizers.Adam(1e-3))
    return robust


def ours(robust: Any, images: np.ndarray, labels: np.ndarray, steps: int) -> Callable[[], None]:
    """So many steps of ``fit``."""
    options = tf.data.Options()
    options.autotune.enabled = False  # as in rlfat_tf.data: its end would wait for the autotuner
    data = tf.data.Dataset.from_tensors((images, labels)).cache().repeat().with_options(options)

    def run() -> None:
        robust.fit(data, steps_per_epoch=steps, epochs=1, verbose=0)

    return run


def our_loss(robust: Any, images: np.ndarray, points: np.ndarray, labels: np.ndarray) -> Any:
    """Our objective on given x', and the orders of rows and columns that its shuffle had."""
    seed = random.replica_seed(0, 0)
    places = np.broadcast_to(np.arange(32, dtype=np.float32), (1, 32, 32))
    grid = tf.constant(np.stack([places.transpose(0, 2, 1), places], -1))
    order = np.asarray(robust.shuffle(grid, seed=seed.fold(1)))
    result = robust.batch_objective(
        tf.constant(images), tf.constant(points), tf.constant(labels), seed, training=True
    )
    return (
        float(tf.reduce_mean(result.loss)),
        order[0, :, 0, 0].astype(int),
        order[0, 0, :, 1].astype(int),
    )


def against_torch(
    name: str, method: str, precision: str, target: float, args: argparse.Namespace
) -> measure.Row:
    """Ours against the identical step in PyTorch."""
    images, labels = batch()
    net = network(name, precision)
    robust = compiled(method, net)
    settings: dict[str, Any] = {"epsilon": EPSILON, "steps": STEPS, "step_size": STEP_SIZE}
    reduced = precision != "float32"
    points = np.clip(images + EPSILON * np.sign(images - 0.5), 0, 1).astype(np.float32)
    before = net.get_weights()
    loss, rows, columns = our_loss(robust, images, points, labels)
    net.set_weights(before)
    arrays = {"images": images, "labels": labels, "points": points}
    arrays.update(rows=rows, columns=columns)
    modes = {"torch eager": False, "torch.compile": True}
    with contextlib.ExitStack() as running:
        peers = {
            mode: running.enter_context(
                TorchSide(
                    "step", network_of(net), arrays, repeat=args.steps, method=method,
                    bfloat16=reduced, compiled=flag, **settings,
                )
            )
            for mode, flag in modes.items()
        }  # fmt: skip
        theirs = peers["torch eager"].answer["loss"]
        # In bfloat16 the two round at other places.
        tolerance = 5e-2 if reduced else 1e-4
        same = measure.close("loss on the same weights and x'", loss, theirs, tolerance)
        sides: dict[str, Callable[[], Any]] = {
            "ours": ours(robust, images, labels, args.steps),
            **peers,
        }
        seconds = measure.interleaved(sides, args.pairs)
    return measure.faster(
        seconds,
        "ours",
        list(modes),
        target=target,
        same=same,
        settings={**settings, "batch": BATCH, "network": NETS[name], "steps_per_run": args.steps},
    )


def against_art(args: argparse.Namespace) -> measure.Row:
    """PGDAT's step against ART's adversarial trainer on the same Keras network."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.defences.trainer import AdversarialTrainer
    from art.estimators.classification import TensorFlowV2Classifier

    images, labels = batch()
    robust = compiled("pgdat", network("wrn-10-2", "float32"))
    net = network("wrn-10-2", "float32")
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    classifier = TensorFlowV2Classifier(
        model=net,
        nb_classes=10,
        input_shape=images.shape[1:],
        loss_object=loss,
        optimizer=keras.optimizers.Adam(1e-3),
        clip_values=(0.0, 1.0),
    )
    attack = ProjectedGradientDescent(
        classifier,
        norm="inf",
        eps=EPSILON,
        eps_step=STEP_SIZE,
        max_iter=STEPS,
        num_random_init=1,
        batch_size=BATCH,
        verbose=False,
    )
    trainer = AdversarialTrainer(classifier, attack, ratio=1.0)
    one_hot = np.eye(10, dtype=np.float32)[labels]
    before = net.get_weights()
    theirs = float(loss(one_hot, net(images, training=True)))
    net.set_weights(before)
    mine, _, _ = our_loss(robust, images, images, labels)
    robust.model.set_weights(before)
    seconds = measure.interleaved(
        {
            "ours": ours(robust, images, labels, 1),
            "ART": lambda: trainer.fit(images, one_hot, batch_size=BATCH, nb_epochs=1),
        },
        args.pairs,
    )
    return measure.faster(
        seconds,
        "ours",
        ["ART"],
        target=3.0,
        same=measure.close("loss on the same weights", mine, theirs),
        settings={"epsilon": EPSILON, "steps": STEPS, "step_size": STEP_SIZE, "batch": BATCH},
    )


def against_reference(precision: str, target: float, args: argparse.Namespace) -> measure.Row:
    """RLFAT_P's step against a loop as the reference has it, which computes in float32."""
    from benchmarks.reference_loop import ReferenceLoop

    images, labels = batch()
    robust = compiled("rlfat_p", network("wrn-10-2", precision))
    loop = ReferenceLoop(
        network("wrn-10-2", "float32"), epsilon=EPSILON, steps=STEPS, step_size=STEP_SIZE
    )
    if precision == "float32":
        points = np.clip(images + EPSILON * np.sign(images - 0.5), 0, 1).astype(np.float32)
        before = robust.model.get_weights()
        loss, rows, columns = our_loss(robust, images, points, labels)
        robust.model.set_weights(before)
        theirs = float(loop.loss(points[:, rows][:, :, columns], points, labels))
        loop.net.set_weights(before)
        same = measure.close("loss on the same weights and x'", loss, theirs)
    else:
        same = "as in float32"

    def peer() -> None:
        for _ in range(args.steps):
            loop(images, labels)

    seconds = measure.interleaved(
        {"ours": ours(robust, images, labels, args.steps), "reference's loop": peer}, args.pairs
    )
    return measure.faster(
        seconds,
        "ours",
        ["reference's loop"],
        target=target,
        same=same,
        settings={"epsilon": EPSILON, "steps": STEPS, "step_size": STEP_SIZE, "batch": BATCH},
    )


def jobs(args: argparse.Namespace) -> measure.Jobs:
    """Returns the rows' names, and how each is measured."""
    found: measure.Jobs = {}
    for precision, target in TARGETS.items():
        short = precision.replace("mixed_", "")
        for net in NETS:
            for method in ("rlfat_p", "rlfat_t"):
                found[f"{method} step against PyTorch, {net}, {short}"] = functools.partial(
                    against_torch, net, method, precision, target, args
                )
    found["pgdat step against ART's AdversarialTrainer, wrn-10-2"] = functools.partial(
        against_art, args
    )
    for precision, target in (("float32", 1.25), ("mixed_bfloat16", 1.9)):
        short = precision.replace("mixed_", "")
        name = f"rlfat_p step against the reference's loop, wrn-10-2, {short}"
        found[name] = functools.partial(against_reference, precision, target, args)
    return found
