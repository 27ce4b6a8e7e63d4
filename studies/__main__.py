"""Makes the runs of studies, and the tables and pictures of what they found.

    python -m studies a1                     # runs what is missing, one after the other
    python -m studies a1 c --list            # what is done, what is missing, about how long
    python -m studies a1 --only=pgdat-seed0  # some of them
    python -m studies --tables               # writes their sections of the documentation anew

Whatever was begun goes on where it was, and every finished run is a file that can be committed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from rlfat_tf.core.compat import keras
from rlfat_tf.run import train
from rlfat_tf.run.signals import Interrupted
from rlfat_tf.storage import locks
from studies import execute, looks, report
from studies.catalogue import STUDIES
from studies.runs import Folders, Look, NotPossible, Run

LOW_PRIORITY = 10  # nice


def say(line: str) -> None:
    """Reports progress."""
    print(line, file=sys.stderr, flush=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m studies", description=summary)
    parser.add_argument("names", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--only", default="", help="what has this text in its name")
    parser.add_argument("--seeds", type=numbers, help="runs of these seeds: 0,1")
    parser.add_argument("--runs", type=Path, default=Folders.runs, help="folders of the runs")
    parser.add_argument("--results", type=Path, default=Folders.results)
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--list", action="store_true", help="what is done and what is missing")
    parser.add_argument("--tables", action="store_true", help="tables and pictures of the results")
    args = parser.parse_args(argv)
    for name in args.names:
        if name not in STUDIES:
            parser.error(f"unknown study {name!r}; choose from {', '.join(STUDIES)}")
    args.names = args.names or list(STUDIES)
    args.folders = Folders(args.results, args.runs, args.data_dir)
    return args


def chosen(args: argparse.Namespace) -> Iterator[Run | Look]:
    """Returns the chosen runs and looks in the order of work, each of them once."""
    seen = set()
    for name in args.names:
        everything: list[Run | Look] = [*STUDIES[name].runs, *STUDIES[name].looks]
        for each in everything:
            wanted = args.only in each.key and (args.seeds is None or each.seed in args.seeds)
            if wanted and each.key not in seen:
                seen.add(each.key)
                yield each


def show(args: argparse.Namespace) -> None:
    """Prints what is done, what is missing and what this version cannot make."""
    left = 0
    for each in chosen(args):
        try:
            if execute.is_finished(each, args.folders):
                state = "done"
            else:
                execute.check(each, args.folders)
                state = f"missing, {each.minutes} minutes"
                left += each.minutes
        except NotPossible as error:
            state = f"not possible: {error}"
        print(f"{each.key:<40} {state}")
    print(f"{left} minutes are left, about.")


def run_all(args: argparse.Namespace) -> list[str]:
    """Makes what is missing; returns the names of what failed or cannot be made."""
    failed = []
    for each in chosen(args):
        try:
            if execute.is_finished(each, args.folders):
                continue
            say(f"{each.key}: about {each.minutes} minutes on two slow cores.")
            if isinstance(each, Look):
                looks.take(each, args.folders)
            else:
                execute.execute(each, args.folders)
            say(f"{each.key}: done, {each.result(args.folders)}")
        except NotPossible as error:
            say(f"Not possible: {error}")
            failed.append(each.key)
        except train.USER_ERRORS as error:  # the others are still worth making
            say(f"{each.key}: FAILED, {type(error).__name__}: {error}")
            failed.append(each.key)
        keras.backend.clear_session()
    return failed


def main(argv: Sequence[str]) -> None:
    """Lists, draws or runs."""
    args = parse(argv)
    if args.list:
        show(args)
        return
    if args.tables:
        report.write(args.names, args.folders)
        return
    os.nice(max(0, LOW_PRIORITY - os.nice(0)))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with locks.holding(args.folders.runs):
            failed = run_all(args)
    except (Interrupted, KeyboardInterrupt):
        raise SystemExit("Stopped. The same command goes on where it was.") from None
    if failed:
        raise SystemExit(f"Not made: {', '.join(failed)}.")


if __name__ == "__main__":
    main(sys.argv[1:])
