"""PGD and AutoAttack against the peers' on the same network, the same images, the same budget.

PGD attacks an untrained network wrn-10-2 (PGD-100: wrn-10-1): its time does not depend on the
weights. AutoAttack's does, since it goes on only with what still stands: it needs ``--workdir``,
a trained run.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import cheaper, measure, peers
from benchmarks.network_file import network_of
from benchmarks.subject import Subject, logits_of, prepare, torch_copy
from benchmarks.train_step import batch, network
from rlfat_tf.attacks import PGD
from rlfat_tf.core import losses

EPSILON, STEP_SIZE, BATCH = 0.03, 0.0075, 64
# How much faster ours should be. foolbox and ART come eager; compiling the network is our help.
COMPILED = ", network compiled for it"
PGD10 = {
    "cleverhans": 1.15,
    "foolbox": 2.5,
    "ART": 3.0,
    "torchattacks": 1.0,
    f"foolbox{COMPILED}": 1.0,
    f"ART{COMPILED}": 1.0,
}
PGD100 = {"cleverhans": 1.15, "torchattacks": 1.0}
MAKE = {
    "cleverhans": peers.cleverhans_pgd,
    "foolbox": peers.foolbox_pgd,
    "ART": peers.art_pgd,
    "torchattacks": peers.torchattacks_pgd,
}
EAGER = ("foolbox", "ART")
COMPONENTS = ("apgd_ce", "apgd_t", "fab_t", "square")
EXAMPLES, AUTOATTACK_PAIRS, PART, WHOLE = 100, 3, 0.1, 0.25


def settings_of(**more: Any) -> argparse.Namespace:
    """The settings that both sides read."""
    return argparse.Namespace(
        **{"norm": "linf", "epsilon": EPSILON, "seed": 0, "batch_size": BATCH, **more}
    )


def pgd(peer: str, net: str, steps: int, target: float, args: argparse.Namespace) -> measure.Row:
    """PGD of so many steps, one batch, against a peer's."""
    images, labels = batch(BATCH)
    model = network(net, "float32")
    logits_fn = tf.function(
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec([None, *images.shape[1:]], tf.float32)],
    )
    copied = network_of(model)
    copy_fn = torch_copy(copied) if peer == "torchattacks" else None
    numbers = np.arange(BATCH, dtype=np.int32)
    subject = Subject(logits_fn, images, labels, numbers, BATCH, 10, copied, copy_fn)
    settings = settings_of()
    attack = PGD(epsilon=EPSILON, steps=steps, step_size=STEP_SIZE, random_start="uniform")
    if peer in EAGER:
        subject = dataclasses.replace(subject, logits_fn=lambda x: model(x, training=False))
    described, theirs = MAKE[peer.partition(",")[0]](subject, attack, settings)
    ours = peers.our_run(model, attack, 0)
    sides = {"ours": ours, peer: theirs}
    found = {name: np.asarray(run(images, labels, numbers)) for name, run in sides.items()}
    reached = {
        name: float(tf.reduce_mean(losses.cross_entropy(labels, logits_fn(points))))
        for name, points in found.items()
    }
    if copy_fn is not None:
        ours_logits, theirs_logits = logits_of(logits_fn, images, BATCH), copy_fn(images)
        difference = np.abs(ours_logits - theirs_logits).max()
        measure.close("logits", 1.0, 1.0 + float(difference))
    seconds = measure.interleaved(
        {name: functools.partial(_finish, run, images, labels, numbers)
         for name, run in sides.items()},
        args.pairs,
    )  # fmt: skip
    return measure.faster(
        seconds,
        "ours",
        [peer],
        target=target,
        # Their random starts differ; the network is the same.
        same=measure.close("loss reached by the attack", reached["ours"], reached[peer], 0.03),
        settings={**vars(settings), "network": net, "ours": repr(attack), "theirs": described},
    )


def _finish(run: peers.Run, *arrays: np.ndarray) -> np.ndarray:
    return np.asarray(run(*arrays))


@functools.lru_cache(maxsize=1)
def trained(workdir: str, data_dir: str | None) -> tuple[Any, Subject]:
    """The trained network, its copy, and what it classifies correctly of 100 images."""
    settings = settings_of(
        workdir=workdir, data_dir=data_dir, checkpoint="best", test_examples=EXAMPLES
    )
    model, subject, _ = prepare(settings)
    if subject.copy_fn is None:
        raise ImportError("torch")
    return model, subject


def autoattack(name: str, budget: float, args: argparse.Namespace) -> measure.Row:
    """AutoAttack, or one part of it, against torchattacks'."""
    model, subject = trained(args.workdir, args.data_dir)
    settings = settings_of(budget=budget, batch_size=EXAMPLES)
    attack = peers.our_attack(name, settings)
    described, theirs = peers.PEERS[name]["torchattacks"](subject, attack, settings)
    arrays = subject.images, subject.labels, subject.examples
    sides = {"ours": peers.our_run(model, attack, 0), "torchattacks": theirs}
    standing = {}
    for key, run in sides.items():
        logits = logits_of(subject.logits_fn, np.asarray(run(*arrays)), EXAMPLES)
        standing[key] = int((logits.argmax(-1) == subject.labels).sum())
    seconds = measure.interleaved(
        {key: functools.partial(_finish, run, *arrays) for key, run in sides.items()},
        AUTOATTACK_PAIRS,
        warm=0,  # both have just run
    )
    return measure.faster(
        seconds,
        "ours",
        ["torchattacks"],
        target=1.0,
        same=f"logits to 1e-4; of {len(subject.labels)} examples still right: {standing}",
        settings={**vars(settings), "ours": repr(attack), "theirs": described},
    )


def jobs(args: argparse.Namespace) -> measure.Jobs:
    """Returns the rows' names, and how each is measured."""
    found: measure.Jobs = cheaper.jobs(args)
    for peer, target in PGD10.items():
        found[f"PGD-10 against {peer}"] = functools.partial(pgd, peer, "wrn-10-2", 10, target, args)
    for peer, target in PGD100.items():
        found[f"PGD-100 against {peer}"] = functools.partial(
            pgd, peer, "wrn-10-1", 100, target, args
        )
    if not args.workdir:
        measure.say("attack: AutoAttack needs --workdir, a trained run; skipped")
        return found
    for name in COMPONENTS:
        found[f"{name} against torchattacks"] = functools.partial(autoattack, name, PART, args)
    found["AutoAttack against torchattacks, 100 images"] = functools.partial(
        autoattack, "autoattack", WHOLE, args
    )
    return found
