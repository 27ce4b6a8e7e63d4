"""Measures speed against peers and targets; writes ``results/benchmarks/*.json``.

    python -m benchmarks                        # everything
    python -m benchmarks train_step attack      # some
    python -m benchmarks.table                  # the table of docs/performance.md

Each benchmark is a module with a function ``jobs``. Its file is written down row by row, so that a
stopped measurement loses one row only.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# PyTorch's threads would else wait by spinning, which takes the processor from TensorFlow's.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

BENCHMARKS = ("train_step", "attack", "overhead", "scaling")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--pairs", type=int, default=7, help="how often each side is measured")
    parser.add_argument("--steps", type=int, default=3, help="training steps a measurement")
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument(
        "--workdir", help="a run on CIFAR-10 of a network wrn-<depth>-<width>, for AutoAttack"
    )
    parser.add_argument(
        "--networks", help="runs, joined by commas, on which cheaper evaluations are measured"
    )
    parser.add_argument("--examples", type=int, default=60, help="test examples of these")
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks"))
    args = parser.parse_args(argv)
    for name in args.names:
        if name not in BENCHMARKS:
            parser.error(f"unknown benchmark {name!r}; choose from {', '.join(BENCHMARKS)}")
    return args


def main(argv: Sequence[str]) -> None:
    """Runs the chosen benchmarks."""
    args = parse(argv)
    from benchmarks import measure

    failed = []
    for name in args.names or BENCHMARKS:
        jobs = importlib.import_module(f"benchmarks.{name}").jobs(args)
        failed += measure.run(jobs, args.output / f"{name}.json", args.only)
    if failed:
        raise SystemExit(f"Failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main(sys.argv[1:])
