"""What cheaper evaluations save: a cascade, batches that shrink while APGD runs, the fast tier.

Each network is evaluated on the test examples that it classifies correctly, in one process: by
every attack by itself as it was before batches shrank, by a cascade, and by ``fast``. The graphs
are made beforehand, and every verdict is compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from rlfat_tf import data
from rlfat_tf.attacks import packing
from rlfat_tf.core import random
from rlfat_tf.evaluation import suite
from rlfat_tf.evaluation.classifier import Classifier, load_classifier
from rlfat_tf.evaluation.step import AttackStep
from rlfat_tf.run.workdir import read_config

ATTACKS, EPSILON, BATCH, NEVER = "pgd,apgd_ce,autoattack", 8 / 255, 48, 10**6
APGD = "Cheaper: shrinking batches, apgd_ce"
CASCADE = f"Cheaper: cascade and shrinking batches, {ATTACKS}"
FAST = "Cheaper: fast against AutoAttack"


class Network:
    """A trained network, the examples that it classifies correctly, and attacks on it."""

    def __init__(self, workdir: str, data_dir: str | None, examples: int):
        config = read_config(workdir)
        self.name = f"{config.model} by {config.method}, {Path(workdir).name}"
        self.classifier: Classifier = load_classifier(workdir, "best")
        test = data.load(
            config.dataset, data_dir=data_dir, download=False, test_examples=examples
        ).test
        self.images = np.asarray(test.images, np.float32)
        if test.images.dtype == np.uint8:
            self.images /= 255
        self.labels, self.total = np.asarray(test.labels, np.int32), len(test.labels)
        batches = [self.images[i : i + BATCH] for i in range(0, self.total, BATCH)]
        logits = np.concatenate([self.classifier.logits_fn(batch) for batch in batches])
        self.right = logits.argmax(-1) == self.labels

    def steps(self, names: str, shrinks: bool = True) -> dict[str, dict[str, AttackStep]]:
        """Traces attacks, with batches that shrink or as before."""
        every, packing.EVERY = packing.EVERY, packing.EVERY if shrinks else NEVER
        settings, made = suite.Settings(epsilon=EPSILON), {}
        try:
            for name in names.split(","):
                attack = suite.make(name, settings)
                made[name] = {
                    part: AttackStep(
                        part,
                        component,
                        self.classifier,
                        self.images.shape[1:],
                        random.as_seed(0).fold(random.number(part)),
                    )
                    for part, component in getattr(attack, "components", {name: attack}).items()
                }
                for step in made[name].values():
                    step.graph()
        finally:
            packing.EVERY = every
        return made

    def parts(
        self, steps: dict[str, dict[str, AttackStep]], found: Found, cascade: bool = False
    ) -> Iterator[None]:
        """Attacks, and yields after every part, so that several ways can take turns."""
        found.worst = self.right.copy()
        for name, parts in steps.items():
            found.robust = (found.worst if cascade else self.right).copy()
            for part, step in parts.items():
                begin, rows = time.perf_counter(), np.flatnonzero(found.robust)
                for some in [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]:
                    judged = step(self.images[some], self.labels[some], some)
                    found.robust[some] = judged.prediction == self.labels[some]
                found.seconds[f"{name}/{part}"] = time.perf_counter() - begin
                yield
            found.worst &= found.robust

    def run(self, steps: dict[str, dict[str, AttackStep]]) -> Any:
        """Returns which examples all attacks leave."""
        found = Found()
        for _ in self.parts(steps, found):
            pass
        return found.worst


@dataclasses.dataclass
class Found:
    """Which examples all attacks leave, which the last one, and the seconds of every part."""

    worst: Any = None
    robust: Any = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def total(self, name: str = "") -> float:
        """Returns the seconds of one attack, or of all."""
        return sum(value for key, value in self.seconds.items() if key.startswith(name))


@functools.lru_cache(maxsize=1)
def evaluated(workdir: str, data_dir: str | None, examples: int) -> dict[str, Any]:
    """Evaluates a network in all ways; returns seconds and shares."""
    network = Network(workdir, data_dir, examples)
    alone, cascaded, quick = Found(), Found(), Found()
    ways = [
        network.parts(network.steps(ATTACKS, shrinks=False), alone),
        network.parts(network.steps(ATTACKS), cascaded, cascade=True),
        network.parts(network.steps("fast"), quick),
    ]
    # In turn, part by part: the load of a machine changes within minutes.
    for _ in itertools.zip_longest(*ways):
        pass
    return {
        "network": network.name,
        "examples": network.total,
        "clean": float(network.right.mean()),
        "worst_case": float(alone.worst.mean()),
        "autoattack": float(alone.robust.mean()),
        "fast": float(quick.worst.mean()),
        "verdicts_that_differ": int((alone.worst != cascaded.worst).sum()),
        "seconds": {
            "alone": alone.seconds,
            "cascade": cascaded.seconds,
            "fast": quick.seconds,
        },
        "total": [alone.total(), cascaded.total(), alone.total("autoattack"), quick.total()],
    }


def cascade(workdir: str, args: argparse.Namespace) -> measure.Row:
    """A cascade against every attack by itself."""
    found = evaluated(workdir, args.data_dir, args.examples)
    ratio = found["total"][0] / found["total"][1]
    same = f"{found['verdicts_that_differ']} verdicts of the worst case differ"
    return measure.row([ratio], target=1.3, same=same, settings=found)


def fast(workdir: str, args: argparse.Namespace) -> measure.Row:
    """The fast tier against AutoAttack, and how many points its figure is above."""
    found = evaluated(workdir, args.data_dir, args.examples)
    ratio = found["total"][2] / found["total"][3]
    points = round(100 * (found["fast"] - found["autoattack"]), 2)
    return measure.row([ratio], target=4.0, points_above=points, settings=found)


def shrinking(workdir: str, args: argparse.Namespace) -> measure.Row:
    """APGD with batches that shrink against APGD without."""
    network = Network(workdir, args.data_dir, 4 * args.examples)
    sides = {name: network.steps("apgd_ce", shrinks) for name, shrinks in
             (("shrinking", True), ("whole batches", False))}  # fmt: skip
    verdicts = [network.run(steps) for steps in sides.values()]
    seconds = measure.interleaved(
        {name: functools.partial(network.run, steps) for name, steps in sides.items()}, 3, warm=0
    )
    return measure.faster(
        seconds,
        "shrinking",
        ["whole batches"],
        target=1.1,
        same=f"{int((verdicts[0] != verdicts[1]).sum())} verdicts differ",
        settings={
            "network": network.name,
            "examples": int(network.right.sum()),
            "robust": int(verdicts[0].sum()),
            "batch": BATCH,
            "epsilon": EPSILON,
        },
    )


def jobs(args: argparse.Namespace) -> measure.Jobs:
    """Returns the rows' names, and how each is measured."""
    if not args.networks:
        measure.say("attack: cheaper evaluations need --networks, trained runs; skipped")
        return {}
    networks = args.networks.split(",")
    found: measure.Jobs = {APGD: functools.partial(shrinking, networks[0], args)}
    for workdir in networks:
        for name, job in ((CASCADE, cascade), (FAST, fast)):
            found[f"{name}, {Path(workdir).name}"] = functools.partial(job, workdir, args)
    return found
