"""Evaluates one trained network by our attacks and by the peers' at the same budget, side by side.

    python -m benchmarks.robustness --workdir=RUN --data_dir=... --test_examples=500 \
        --epsilon=0.03 --output=results/benchmarks/robustness_peers.json

Every attack gets the test examples that the Keras network classifies correctly, in batches of the
same size. What any attack returns is evaluated alike: by the Keras network, and only where the
point is within epsilon + 1e-6 and in [0, 1]; a point outside counts as no success. Robust accuracy
is the part of all test examples that is correctly classified clean and attacked. For peers of
PyTorch the network is copied; the two must first give equal logits on all test images.

Rows, chosen by ``--rows``:

    pgd       PGD-20, step epsilon / 10, one uniform start; foolbox and ART
    apgd_ce   APGD on the cross-entropy, 100 steps, 1 restart; torchattacks, as all that follow
    apgd_t    targeted APGD, 9 targets, 100 steps each
    fab_t     targeted FAB, 9 targets, 100 steps each
    square    Square, 5,000 queries
    autoattack  standard AutoAttack: these four, each on what those before it have left

The output is one JSON object. ``network``, ``data``, ``clean_accuracy`` and
``largest_logit_difference`` (Keras to PyTorch; null without PyTorch) hold for all of its ``rows``;
beside what every row has (see ``measure.py``), with measured = 100 * (ours - peer), in points of
robust accuracy, below 0 where ours is the stronger attack, each row has

    peer                what ours was compared with
    ours_accuracy, peer_accuracy    robust accuracy in [0, 1]
    only_ours, only_peer            numbers of examples that one side alone broke
    ours_seconds, peer_seconds      all batches, ours with its trace; one run, see load
    ours_outside, peer_outside      numbers of points that left the ball or [0, 1]
    ours_largest, peer_largest      the longest perturbation
    ours_disputed, peer_disputed    numbers of points that only one of the network and its copy in
                                    PyTorch, equal but for rounding, classifies correctly; null
                                    without PyTorch
    settings            norm, epsilon, budget, seed, batch_size, both attacks with their parameters

The file is written after every row, in one step. A row that it already holds with the same
settings is kept, unless ``--fresh``. A peer that is not installed is skipped, and stderr says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# PyTorch's threads would else wait by spinning: on a busy machine that costs them a factor of ten.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from benchmarks import measure
from benchmarks.measure import say
from benchmarks.peers import PEERS, Run, our_attack, our_run
from benchmarks.subject import Subject, logits_of, prepare, right
from rlfat_tf.storage import checkpoint
from rlfat_tf.storage.files import write_text

TOLERANCE = 1e-6
TARGET_POINTS = 0.5


@dataclasses.dataclass(frozen=True)
class Side:
    """What one side's attack did: who still stands, what left the ball, and the time."""

    standing: np.ndarray
    outside: int
    largest: float
    disputed: int | None
    seconds: float

    def accuracy(self, total: int) -> float:
        """Robust accuracy over all test examples."""
        return float(self.standing.sum() / total)


def attacked(label: str, run: Run, subject: Subject, args: argparse.Namespace) -> Side:
    """Runs an attack over all batches, and evaluates what it returns."""
    images, labels, started = subject.images, subject.labels, time.perf_counter()
    batches = []
    for start in range(0, len(labels), args.batch_size):
        rows = slice(start, start + args.batch_size)
        batches.append(np.asarray(run(images[rows], labels[rows], subject.examples[rows])))
        seconds = time.perf_counter() - started
        say(f"{label}: {min(rows.stop, len(labels))}/{len(labels)} examples, {seconds:.1f} s")
    points = np.concatenate(batches)
    delta = (points.astype(np.float64) - images).reshape(len(points), -1)
    length = np.abs(delta).max(-1) if args.norm == "linf" else np.sqrt(np.square(delta).sum(-1))
    flat = points.reshape(len(points), -1)
    in_range = (flat.min(-1) >= -TOLERANCE) & (flat.max(-1) <= 1 + TOLERANCE)  # False for NaN
    inside = (length <= args.epsilon + TOLERANCE) & in_range
    correct = right(logits_of(subject.logits_fn, points, args.batch_size), labels)
    disputed = None
    if subject.copy_fn is not None:
        on_copy = right(logits_of(subject.copy_fn, points, args.batch_size), labels)
        disputed = int((correct != on_copy).sum())
    outside = int((~inside).sum())
    side = Side(correct | ~inside, outside, float(length.max()), disputed, seconds)
    warning = f"; {side.outside} POINTS LEFT THE BALL" if side.outside else ""
    say(f"{label}: robust accuracy {side.accuracy(subject.total):.4f}{warning}")
    return side


def compare(ours: Side, peer: Side, total: int) -> dict[str, Any]:
    """Returns the figures of a row."""
    points = round(100 * (ours.accuracy(total) - peer.accuracy(total)), 6)
    return {
        **measure.row([points], target=TARGET_POINTS, better="lower", unit="points"),
        "ours_accuracy": ours.accuracy(total),
        "peer_accuracy": peer.accuracy(total),
        "only_ours": int((~ours.standing & peer.standing).sum()),
        "only_peer": int((ours.standing & ~peer.standing).sum()),
        "ours_seconds": round(ours.seconds, 3),
        "peer_seconds": round(peer.seconds, 3),
        "ours_outside": ours.outside,
        "peer_outside": peer.outside,
        "ours_largest": ours.largest,
        "peer_largest": peer.largest,
        "ours_disputed": ours.disputed,
        "peer_disputed": peer.disputed,
    }


def rows_of(
    model: Any, subject: Subject, args: argparse.Namespace, kept: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Measures the chosen rows that are not yet kept."""
    for name in args.rows:
        attack, ours = our_attack(name, args), None
        for peer_name, make in PEERS[name].items():
            try:
                described, run = make(subject, attack, args)
            except ImportError as error:
                say(f"{name}: skipped, because {peer_name} cannot be imported ({error})")
                continue
            settings = {
                **{key: getattr(args, key) for key in ("norm", "epsilon", "budget", "seed")},
                "batch_size": args.batch_size,
                "ours": repr(attack),
                "peer": described,
            }
            row = {"name": name, "peer": peer_name, "settings": settings}
            if not args.fresh and any(same(row, old) for old in kept):
                say(f"{name}, {peer_name}: kept from {args.output}")
                continue
            if ours is None:
                started = time.perf_counter()
                compiled = our_run(model, attack, args.seed)
                trace = time.perf_counter() - started
                ours = attacked(f"{name}, ours", compiled, subject, args)
                ours = dataclasses.replace(ours, seconds=ours.seconds + trace)
            peer = attacked(f"{name}, {peer_name}", run, subject, args)
            yield {**row, **compare(ours, peer, subject.total), "command": args.command}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tells whether two rows measure the same."""
    return all(one[key] == other[key] for key in ("name", "peer", "settings"))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""

    def number(text: str) -> float:
        return float(Fraction(text))  # 0.03 or 8/255

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if not set(chosen) <= set(PEERS):
            raise argparse.ArgumentTypeError(f"choose from {', '.join(PEERS)}; received {text}")
        return chosen

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--workdir", required=True, help="folder of the run to evaluate")
    parser.add_argument("--checkpoint", default="best", choices=checkpoint.CHECKPOINTS)
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--test_examples", type=int, default=500, help="the first so many")
    parser.add_argument("--norm", default="linf", choices=("linf", "l2"))
    parser.add_argument("--epsilon", type=number, default=0.03, help="0.03 or 8/255; 0.5 for l2")
    parser.add_argument(
        "--budget", type=number, default=1.0, help="factor on all steps and queries, both sides"
    )
    parser.add_argument("--rows", type=names, default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    args = parser.parse_args(argv)
    args.command = shlex.join(["python", "-m", "benchmarks.robustness", *argv])
    return args


def main(argv: Sequence[str]) -> None:
    """Measures what is missing, and writes it."""
    args = parse(argv)
    model, subject, shared = prepare(args)
    rows: list[dict[str, Any]] = []
    if args.output.exists():
        old = json.loads(args.output.read_text("utf-8"))
        changed = [key for key in ("network", "data") if old[key] != shared[key]]
        if not changed:
            rows = old["rows"]
        elif not args.fresh:
            raise SystemExit(
                f"{args.output} was measured with other {', '.join(changed)}. Choose another "
                "--output, or --fresh to begin it anew."
            )
    for row in rows_of(model, subject, args, tuple(rows)):
        rows = [*(old for old in rows if not same(row, old)), row]
        report = json.dumps({**shared, "rows": rows}, indent=2) + "\n"
        write_text(args.output, report)
        say(
            f"{row['name']}: ours {row['ours_accuracy']:.4f} ({row['ours_seconds']:.0f} s), "
            f"{row['peer']} {row['peer_accuracy']:.4f} ({row['peer_seconds']:.0f} s), "
            f"{row['measured']:+.2f} points"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
