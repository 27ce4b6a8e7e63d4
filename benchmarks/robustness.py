"""Judges one trained network by our attacks and by the peers' at the same budget, side by side.

    python -m benchmarks.robustness --workdir=RUN --data_dir=... --test_examples=500 \
        --epsilon=0.03 --output=results/benchmarks/robustness_peers.json

Every attack gets the test examples that the Keras network classifies rightly, in batches of the
same size. What any attack returns is judged alike: by the Keras network, and only where the point
is within epsilon + 1e-6 and in [0, 1]; a point outside counts as no success. Robust accuracy is
the part of all test examples that is classified rightly clean and attacked. For peers of PyTorch
the network is copied; the two must first give equal logits on all test images.

Rows, chosen by ``--rows``:

    pgd       PGD-20, step epsilon / 10, one uniform start; foolbox and ART
    apgd_ce   APGD on the cross-entropy, 100 steps, 1 restart; torchattacks, as all that follow
    apgd_t    targeted APGD, 9 targets, 100 steps each
    fab_t     targeted FAB, 9 targets, 100 steps each
    square    Square, 5,000 queries
    autoattack  standard AutoAttack: these four, each on what those before it have left

The output is one JSON object. ``network``, ``data``, ``clean_accuracy``,
``largest_logit_difference`` (Keras to PyTorch; null without PyTorch), ``versions`` and ``machine``
hold for all of its ``rows``; each row has

    name, peer_name     what was measured
    ours, peer          robust accuracy in [0, 1]
    difference_points   100 * (ours - peer); below 0 our attack is the stronger one
    target              the greatest difference_points at which ours is as strong as the peer
    better              the side with the lower robust accuracy: "ours", "peer" or "neither"
    reached             whether difference_points <= target
    only_ours, only_peer            numbers of examples that one side alone broke
    ours_seconds, peer_seconds      all batches; ours with ours_trace_seconds, which a tf.function
                                    takes once
    ours_outside, peer_outside      numbers of points that left the ball or [0, 1]
    ours_largest, peer_largest      the longest perturbation
    ours_disputed, peer_disputed    numbers of points that only one of the network and its copy in
                                    PyTorch, equal but for rounding, classifies rightly; null
                                    without PyTorch
    load                1-minute load of the machine when the row began
    settings            everything that decides the result: norm, epsilon, budget, seed,
                        batch_size, and both attacks with their parameters
    command             how to measure it again

The file is written after every row, in one step. A row that it already holds with the same
settings is kept, unless ``--fresh``. A peer that is not installed is skipped, and stderr says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# PyTorch's threads would else wait by spinning: on a busy machine that costs them a factor of ten.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import tensorflow as tf

from rlfat_tf import checkpoint, data, random
from rlfat_tf.attacks import PGD
from rlfat_tf.attacks.autoattack import AutoAttack
from rlfat_tf.compat import keras
from rlfat_tf.config import TrainConfig
from rlfat_tf.evaluation.classifier import as_classifier
from rlfat_tf.versions import versions

TOLERANCE = 1e-6
LOGIT_TOLERANCE = 1e-4
TARGET_POINTS = 0.5
PACKAGES = ("foolbox", "adversarial-robustness-toolbox", "torchattacks", "torch")

# From images, labels and numbers of examples, NumPy, to points of the same shape as the images.
Run = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]


@dataclasses.dataclass(frozen=True)
class Subject:
    """The network, and the test examples that it classifies rightly.

    Attributes:
        logits_fn: A ``tf.function`` from images to logits.
        images: float32 [n, height, width, channels].
        labels: int32 [n].
        examples: int32 [n]: their places in the test set.
        total: Number of all test examples.
        num_classes: Number of logits.
        net: The network's copy in PyTorch, None where PyTorch is missing.
        copy_fn: From images as above to the copy's logits; None like ``net``.
    """

    logits_fn: Any
    images: np.ndarray
    labels: np.ndarray
    examples: np.ndarray
    total: int
    num_classes: int
    net: Any
    copy_fn: Any


@dataclasses.dataclass(frozen=True)
class Side:
    """What one side's attack did: who still stands, what left the ball, and the time."""

    standing: np.ndarray
    outside: int
    largest: float
    disputed: int | None
    seconds: float
    trace_seconds: float = 0.0

    def accuracy(self, total: int) -> float:
        """Robust accuracy over all test examples."""
        return float(self.standing.sum() / total)


def say(line: str) -> None:
    """Reports progress."""
    print(line, file=sys.stderr, flush=True)


def logits_of(logits_fn: Any, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Computes logits batch by batch."""
    starts = range(0, len(images), batch_size)
    return np.concatenate([np.asarray(logits_fn(images[i : i + batch_size])) for i in starts])


def right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tells which examples are classified rightly; NaN never is."""
    return (logits.argmax(-1) == labels) & np.isfinite(logits).all(-1)


def our_attack(name: str, args: argparse.Namespace) -> Any:
    """Makes our attack of a row."""
    if name == "pgd":
        steps = max(1, round(20 * args.budget))
        ball = {"norm": args.norm, "epsilon": args.epsilon, "step_size": args.epsilon / 10}
        return PGD(**ball, steps=steps, random_start="uniform", keep="best")
    whole = AutoAttack(norm=args.norm, epsilon=args.epsilon, budget=args.budget)
    return whole if name == "autoattack" else whole.components[name]


def our_run(model: Any, attack: Any, seed: int) -> tuple[Run, float]:
    """Compiles our attack once for batches of any size; also returns the seconds of the trace."""
    signature = [
        tf.TensorSpec([None, *model.input_shape[1:]], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.int32),
    ]
    logits_fn = as_classifier(model).logits_fn

    @tf.function(input_signature=signature)
    def run(images: Any, labels: Any, examples: Any) -> Any:
        draws = random.as_seed(seed)._replace(examples=examples)
        return attack(logits_fn, images, labels, seed=draws)

    started = time.perf_counter()
    run.get_concrete_function()
    return run, time.perf_counter() - started


def foolbox_pgd(subject: Subject, attack: Any, args: argparse.Namespace) -> tuple[str, Run]:
    """foolbox's PGD on the TensorFlow network; returns the last point of every example."""
    import foolbox

    kind = foolbox.attacks.L2PGD if args.norm == "l2" else foolbox.attacks.LinfPGD
    theirs = kind(abs_stepsize=attack.step_size, steps=attack.steps, random_start=True)
    # The compiled network: foolbox itself is eager, and would otherwise pay for Keras' eager calls.
    model = foolbox.TensorFlowModel(subject.logits_fn, bounds=(0, 1))
    tf.random.set_seed(args.seed)

    def run(images: np.ndarray, labels: np.ndarray, _: np.ndarray) -> Any:
        # int64, as its predictions: EagerPy finds no common type under NumPy 2.
        criterion = foolbox.criteria.Misclassification(tf.constant(labels, tf.int64))
        return theirs(model, tf.constant(images), criterion, epsilons=args.epsilon)[1]

    return repr(theirs), run


def art_pgd(subject: Subject, attack: Any, args: argparse.Namespace) -> tuple[str, Run]:
    """ART's PGD on the TensorFlow network; returns the last point of every example."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(
        model=lambda images, training=False: subject.logits_fn(images),
        nb_classes=subject.num_classes,
        input_shape=subject.images.shape[1:],
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum"),
        clip_values=(0.0, 1.0),
    )
    arguments = {
        "norm": 2 if args.norm == "l2" else "inf",
        "eps": args.epsilon,
        "eps_step": attack.step_size,
        "max_iter": attack.steps,
        "num_random_init": 1,
    }
    theirs = ProjectedGradientDescent(
        classifier, **arguments, batch_size=args.batch_size, verbose=False
    )
    np.random.seed(args.seed)  # ART draws from NumPy's global generator
    listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"ProjectedGradientDescent({listed})", lambda x, y, _: theirs.generate(x, y)


def torchattacks_part(name: str, ball: dict[str, Any], attack: Any, classes: int) -> dict[str, Any]:
    """Returns the arguments of torchattacks' class that equal those of our component."""
    targets = {"n_classes": min(classes, 10)}  # for at most 9 targets
    if name == "square":
        return {**ball, "n_queries": attack.queries, "resc_schedule": attack.rescale_schedule}
    if name == "apgd_ce":
        return {**ball, "steps": attack.steps, "loss": "ce"}
    if name == "apgd_t":
        return {**ball, "steps": attack.steps, **targets}
    return {**ball, "steps": attack.steps, "multi_targeted": True, **targets}


def torchattacks_run(
    name: str, subject: Subject, attack: Any, args: argparse.Namespace
) -> tuple[str, Run]:
    """torchattacks' class of that name on the network's copy, with the parameters of ours."""
    import torch
    import torchattacks

    kinds = {
        "apgd_ce": torchattacks.APGD,
        "apgd_t": torchattacks.APGDT,
        "fab_t": torchattacks.FAB,
        "square": torchattacks.Square,
    }
    norm = {"linf": "Linf", "l2": "L2"}[args.norm]
    ball = {"norm": norm, "eps": args.epsilon, "seed": args.seed, "n_restarts": 1}

    def part(name: str, attack: Any) -> tuple[str, Any]:
        arguments = torchattacks_part(name, ball, attack, subject.num_classes)
        listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return f"{kinds[name].__name__}({listed})", kinds[name](subject.net, **arguments)

    if name == "autoattack":
        parts = [part(*component) for component in attack.components.items()]
        described = f"AutoAttack(version='standard') with [{', '.join(text for text, _ in parts)}]"
        theirs = torchattacks.AutoAttack(
            subject.net, norm=norm, eps=args.epsilon, n_classes=subject.num_classes, seed=args.seed
        )
        # Its own parts have 10 steps, and Square a shortened schedule: not standard AutoAttack's.
        theirs._autoattack = torchattacks.MultiAttack([made for _, made in parts])
    else:
        described, theirs = part(name, attack)

    def run(images: np.ndarray, labels: np.ndarray, _: np.ndarray) -> Any:
        found = theirs(
            torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
            torch.from_numpy(labels.astype(np.int64)),
        )
        return found.detach().numpy().transpose(0, 2, 3, 1)

    return described, run


PEERS: dict[str, dict[str, Callable[..., tuple[str, Run]]]] = {
    "pgd": {"foolbox": foolbox_pgd, "ART": art_pgd},
    **{
        name: {"torchattacks": lambda *given, name=name: torchattacks_run(name, *given)}
        for name in ("apgd_ce", "apgd_t", "fab_t", "square", "autoattack")
    },
}


def measure(label: str, run: Run, subject: Subject, args: argparse.Namespace) -> Side:
    """Runs an attack over all batches, and judges what it returns."""
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
        "ours": ours.accuracy(total),
        "peer": peer.accuracy(total),
        "difference_points": points,
        "target": TARGET_POINTS,
        "better": "neither" if points == 0 else "ours" if points < 0 else "peer",
        "reached": points <= TARGET_POINTS,
        "only_ours": int((~ours.standing & peer.standing).sum()),
        "only_peer": int((ours.standing & ~peer.standing).sum()),
        "ours_seconds": round(ours.seconds + ours.trace_seconds, 3),
        "ours_trace_seconds": round(ours.trace_seconds, 3),
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
            row = {"name": name, "peer_name": peer_name, "settings": settings}
            if not args.fresh and any(same(row, old) for old in kept):
                say(f"{name}, {peer_name}: kept from {args.output}")
                continue
            load = round(os.getloadavg()[0], 2)
            if ours is None:
                compiled, trace = our_run(model, attack, args.seed)
                ours = measure(f"{name}, ours", compiled, subject, args)
                ours = dataclasses.replace(ours, trace_seconds=trace)
            peer = measure(f"{name}, {peer_name}", run, subject, args)
            figures = compare(ours, peer, subject.total)
            head = {"name": name, "peer_name": peer_name}
            yield {**head, **figures, "load": load, "settings": settings, "command": args.command}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tells whether two rows measure the same."""
    return all(one[key] == other[key] for key in ("name", "peer_name", "settings"))


def prepare(args: argparse.Namespace) -> tuple[Any, Subject, dict[str, Any]]:
    """Loads network and data; also returns what holds for all rows of the output."""
    trained = checkpoint.load(args.workdir, args.checkpoint)
    model = getattr(trained, "model", trained)
    config = TrainConfig.from_json((Path(args.workdir) / "config.json").read_text("utf-8"))
    test = data.load(
        config.dataset,
        data_dir=args.data_dir,
        download=False,
        test_examples=args.test_examples,
        image_size=config.image_size,
    ).test
    images = np.asarray(test.images, np.float32) / (255 if test.images.dtype == np.uint8 else 1)
    images, labels = images.astype(np.float32), test.labels.astype(np.int32)
    classifier = as_classifier(model)
    spec = tf.TensorSpec([None, *images.shape[1:]], tf.float32)
    logits_fn = tf.function(classifier.logits_fn, input_signature=[spec])
    logits = logits_of(logits_fn, images, args.batch_size)
    (chosen,) = np.nonzero(right(logits, labels))
    if not len(chosen):
        raise ValueError(f"The network classifies none of {len(labels)} test examples rightly.")
    net, copy_fn = torch_copy(model)
    difference = None
    if copy_fn is not None:
        theirs = logits_of(copy_fn, images, args.batch_size)
        difference = float(np.abs(theirs - logits).max())
        if not difference < LOGIT_TOLERANCE:
            raise ValueError(
                f"Expected the copy's logits to differ by less than {LOGIT_TOLERANCE:g}; they "
                f"differ by {difference:g}: the peers would judge another network."
            )
    subject = Subject(
        logits_fn,
        images[chosen],
        labels[chosen],
        chosen.astype(np.int32),
        len(labels),
        logits.shape[-1],
        net,
        copy_fn,
    )
    shared = {
        "network": {"name": model.name, "method": config.method, "digest": classifier.fingerprint},
        "data": {"dataset": config.dataset, "part": "test", "examples": len(labels)},
        "clean_accuracy": len(chosen) / len(labels),
        "largest_logit_difference": difference,
        "versions": {**versions(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(),
    }
    say(
        f"{model.name}: clean accuracy {shared['clean_accuracy']:.4f}, "
        f"largest difference of logits to PyTorch {difference}"
    )
    return model, subject, shared


def torch_copy(model: Any) -> tuple[Any, Any]:
    """Returns the network's copy in PyTorch, and a function of NumPy images to its logits."""
    try:
        import torch

        from benchmarks.torch_wide_resnet import copy_of
    except ImportError:
        return None, None
    net = copy_of(model)

    def copy_fn(images: np.ndarray) -> np.ndarray:
        return net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()

    return net, copy_fn


def version(package: str) -> str | None:
    """Returns the version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Describes what computes."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    try:
        import torch

        threads = torch.get_num_threads()
    except ImportError:
        threads = None
    return {
        "cpu": (names or [platform.processor()])[0],
        "cores": len(os.sched_getaffinity(0)),
        "gpus": len(tf.config.list_physical_devices("GPU")),
        "torch_threads": threads,
    }


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
    parser.add_argument("--workdir", required=True, help="folder of the run to judge")
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
        changed = [
            key for key in ("network", "data", "versions", "machine") if old[key] != shared[key]
        ]
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
        checkpoint.write_text(args.output, report)
        say(
            f"{row['name']}: ours {row['ours']:.4f} ({row['ours_seconds']:.0f} s), "
            f"{row['peer_name']} {row['peer']:.4f} ({row['peer_seconds']:.0f} s), "
            f"{row['difference_points']:+.2f} points"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
