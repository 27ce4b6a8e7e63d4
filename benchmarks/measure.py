"""What all benchmarks share: pairs measured in turn, rows, and what they were measured on.

A row is one figure and its target:

    name, measured      the figure: the median over the pairs
    target, better      what it should be: at least ("higher") or at most ("lower")
    reached             whether it is
    min, max            the extremes of the pairs
    unit                "x" for a ratio, "s", "points", ...
    seconds             by side, each pair's seconds (of whatever the row measures)
    peer                what ours was compared with, and how the two were shown to be the same
    settings            what decides the result
    versions, machine, load, command

Ratios of interleaved runs are what a noisy machine can tell; seconds are not.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import tensorflow as tf

from rlfat_tf.core.versions import versions
from rlfat_tf.storage.files import write_text

PACKAGES = (
    "adversarial-robustness-toolbox",
    "cleverhans",
    "foolbox",
    "torch",
    "torchattacks",
)

Row = dict[str, Any]
Jobs = dict[str, Callable[[], Row]]  # by the row's name, how it is measured


def say(line: str) -> None:
    """Reports progress."""
    print(line, file=sys.stderr, flush=True)


def version(package: str) -> str | None:
    """Returns the version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def all_versions() -> dict[str, str | None]:
    """Returns the versions of ours and of every peer."""
    return {**versions(), **{name: version(name) for name in PACKAGES}}


def cpu_flags() -> tuple[str, set[str]]:
    """Returns the processor's name and features."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    fields = dict(reversed([line.split(":", 1) for line in lines if ":" in line]))
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    return fields.get("model name", platform.processor()), set(fields.get("flags", "").split())


def machine() -> dict[str, Any]:
    """Describes what computes."""
    name, flags = cpu_flags()
    return {
        "cpu": name,
        "cores": len(os.sched_getaffinity(0)),
        "gpus": len(tf.config.list_physical_devices("GPU")),
        "native_bfloat16": bool(flags & {"avx512_bf16", "amx_bf16"}),
    }


def seconds_of(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Runs once."""
    gc.collect()
    started = clock()
    run()
    return clock() - started


def interleaved(
    sides: Mapping[str, Callable[[], Any]],
    pairs: int,
    warm: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Runs all sides in turn, ``pairs`` times, the order reversed every other time.

    Args:
        sides: By name, what to run; it must have finished when it returns.
        pairs: How often each side is measured.
        warm: How often each side runs before that.
        clock: ``time.process_time`` counts the processor's seconds, which others hardly change.
    """
    for run in sides.values():
        for _ in range(warm):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(pairs):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            seconds[name].append(seconds_of(sides[name], clock))
    return seconds


def row(
    values: Sequence[float],
    *,
    target: float,
    better: str = "higher",
    unit: str = "x",
    **more: Any,
) -> Row:
    """Makes a row of the values of all pairs."""
    measured = statistics.median(values)
    return {
        "measured": round(measured, 4),
        "target": target,
        "better": better,
        "reached": measured >= target if better == "higher" else measured <= target,
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "unit": unit,
        "pairs": len(values),
        **more,
        "versions": all_versions(),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 2),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    }


def faster(
    seconds: Mapping[str, Sequence[float]], ours: str, peers: Sequence[str], **more: Any
) -> Row:
    """Makes the row of a peer's seconds over ours, the peer being the fastest of several."""
    peer = min(peers, key=lambda key: statistics.median(seconds[key]))
    ratios = [theirs / own for own, theirs in zip(seconds[ours], seconds[peer])]
    rounded = {key: [round(value, 4) for value in values] for key, values in seconds.items()}
    return row(ratios, peer=peer, seconds=rounded, **more)


def close(what: str, ours: float, peer: float, tolerance: float = 1e-4) -> str:
    """Says that both sides compute the same.

    Raises:
        ValueError: If they do not, relatively.
    """
    difference = abs(ours - peer) / max(abs(ours), abs(peer), 1e-12)
    if not difference <= tolerance:
        raise ValueError(
            f"{what}: ours gives {ours:.6g}, the peer {peer:.6g}; they differ by {difference:.2g}, "
            f"more than {tolerance:g}. What is not the same must not be compared."
        )
    return f"{what}: {ours:.6g} and {peer:.6g}"


def run(jobs: Jobs, path: Path, only: str = "") -> list[str]:
    """Runs the jobs whose name contains a text, and writes each row when it is there.

    A peer that is not installed is skipped with a line; rows of other names in the file are kept.

    Returns:
        The names of the jobs that failed.
    """
    failed = []
    for name, job in jobs.items():
        if only not in name:
            continue
        try:
            made = job()
        except ImportError as error:
            say(f"{name}: skipped, because a peer is not installed ({error})")
            continue
        except Exception as error:  # the other rows are still worth measuring
            say(f"{name}: FAILED, {type(error).__name__}: {error}")
            failed.append(name)
            continue
        sign = ">=" if made["better"] == "higher" else "<="
        say(
            f"{name}: {made['measured']:g} {made['unit']} [{made['min']:g}, {made['max']:g}], "
            f"target {sign} {made['target']:g}"
        )
        old = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
        rows = {row["name"]: row for row in [*old, {"name": name, **made}]}
        # In the order of the jobs, whatever was measured last.
        ordered = [rows[key] for key in (*jobs, *(rows.keys() - jobs.keys())) if key in rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"rows": ordered}, indent=2) + "\n")
    return failed
