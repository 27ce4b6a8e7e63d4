"""Where a run computes: one device, the GPUs of a machine, several machines, a TPU.

The engine is ``tf.distribute``. Several machines are described to TensorFlow by the environment
variable ``TF_CONFIG``, the same on each but for the task's index; see ``docs/scaling.md``.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from rlfat_tf.core import compat
from rlfat_tf.core.errors import unknown
from rlfat_tf.core.types import Strategy

DISTRIBUTIONS = ("mirrored", "multi_worker", "tpu", "none")
# What TensorFlow raises on a worker when another one is gone.
BROKEN = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class WorkerLost(Exception):
    """Another worker of the job is gone, and this one cannot go on without it."""


@contextmanager
def report_lost_workers() -> Iterator[None]:
    """Puts into words what TensorFlow raises when one of several workers is gone.

    A worker that ends is noticed by the next exchange of gradients, one that no longer answers by
    TensorFlow's heartbeats.

    Raises:
        WorkerLost: Instead of TensorFlow's error, if ``TF_CONFIG`` names more than one worker.
    """
    try:
        yield
    except BROKEN as error:
        workers = _workers()
        if len(workers) < 2:
            raise
        cause = str(error).partition("aborted by: ")[2] or str(error)
        cause = " ".join(cause.strip().splitlines()[:2]) or type(error).__name__
        raise WorkerLost(
            f"Another of the {len(workers)} workers ({', '.join(workers)}) has ended or cannot be "
            "reached, so this one has stopped too. The output of the others tells why. Give the "
            "same command again on all workers: the run goes on from its last backup. TensorFlow "
            f"says: {cause}"
        ) from error


def detect() -> str:
    """Names the distribution that this machine and its environment ask for.

    ``multi_worker`` if ``TF_CONFIG`` names more than one worker, ``tpu`` if there is one,
    ``mirrored`` for several GPUs, else ``none``.

    Raises:
        ValueError: If ``TF_CONFIG`` cannot be read.
    """
    if len(_workers()) > 1:
        return "multi_worker"
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return "tpu"
    # With one device a strategy gains nothing, and its iterators can hold up the end of a pass.
    return "mirrored" if len(_devices()) > 1 else "none"


def make_strategy(name: str | None = None) -> Any:
    """Returns the ``tf.distribute`` strategy of that name; one of several machines must come first.

    Args:
        name: One of :data:`DISTRIBUTIONS`; None to :func:`detect` it.

    Raises:
        ValueError: If the name is unknown, or ``multi_worker`` is asked for without ``TF_CONFIG``.
    """
    name = detect() if name is None else name
    if name not in DISTRIBUTIONS:
        raise unknown("distribution", name, DISTRIBUTIONS)
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        if not _workers():
            raise ValueError(
                "--distribution=multi_worker needs the environment variable TF_CONFIG on every "
                'worker, for instance {"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
                '"task": {"type": "worker", "index": 0}}. See docs/scaling.md.'
            )
        return _multi_worker(os.environ["TF_CONFIG"])
    if name == "tpu":
        return _tpu()
    return _mirrored(_devices())


def _devices() -> tuple[str, ...]:
    """Returns the names of this machine's GPUs, or of its CPU where there is none."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tuple(device.name for device in devices)


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    # One for all runs of a process: two of them mix up their messages between CPUs.
    return tf.distribute.MirroredStrategy(list(devices))


@functools.cache
def _multi_worker(tf_config: str) -> Any:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        raise ValueError(
            "This worker could not join the others. Its address in TF_CONFIG must be a free port "
            f"of this machine, as host:port; received {tf_config}. TensorFlow says: "
            f"{error.message}"
        ) from error
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # TensorFlow takes it, and only notes that it came
    return strategy


@functools.cache
def _tpu() -> Any:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            "--distribution=tpu found no TPU. On a TPU's own machine set the environment variable "
            "TPU_NAME=local, elsewhere to its name; or leave --distribution out. TensorFlow says: "
            f"{error}"
        ) from error
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def _workers() -> list[str]:
    """Returns the addresses of all workers, the chief first."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return []
    try:
        cluster = json.loads(text).get("cluster", {})
        return [address for kind in ("chief", "worker") for address in cluster.get(kind, [])]
    except (ValueError, AttributeError, TypeError):
        raise ValueError(
            f"Expected the environment variable TF_CONFIG to hold JSON such as "
            f'{{"cluster": {{"worker": [...]}}, "task": {{...}}}}; received {text!r}.'
        ) from None


def is_chief(strategy: Strategy) -> bool:
    """Tells whether this process is the one that writes files and prints."""
    if not compat.has_several_workers(strategy):
        return True
    resolver = strategy.cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    if has_chief:
        return bool(resolver.task_type == "chief")
    return bool(resolver.task_id == 0)


def gather_from_workers(strategy: Strategy, numbers: list[float]) -> Any:
    """Tells each worker the numbers of all; waits until every worker calls it.

    Args:
        strategy: That of the run.
        numbers: Of the same length everywhere.

    Returns:
        Array ``[replicas, len(numbers)]``, float64; of one row where one process trains.
    """
    if not compat.has_several_workers(strategy):
        return np.array([numbers], np.float64)
    return _gathering(strategy)(tf.constant(np.array(numbers, np.float64))).numpy()


def check_agreement(strategy: Strategy, **numbers: float) -> None:
    """Waits for all workers, and refuses to go on if they differ in one of these numbers.

    Raises:
        ValueError: On every worker, if they do.
    """
    table = gather_from_workers(strategy, list(numbers.values()))
    different = [n for n, column in zip(numbers, table.T) if len(set(column.tolist())) > 1]
    if different:
        raise ValueError(
            f"The workers of this run differ in their {' and '.join(different)}. Give all of them "
            "the same flags, the same data and a --workdir on storage that all of them see."
        )


@functools.cache
def _gathering(strategy: Strategy) -> Any:
    replicas = strategy.num_replicas_in_sync

    def fill_row(numbers: Any) -> Any:
        """Adds up tables in which each replica has filled its own row: the one way all support."""
        context = tf.distribute.get_replica_context()
        mine = tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=tf.float64)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, mine[:, None] * numbers[None, :])

    @tf.function  # traced once: TensorFlow never forgets a traced function
    def everybody(numbers: Any) -> Any:
        table = strategy.run(fill_row, args=(numbers,))
        return strategy.experimental_local_results(table)[0]

    return everybody


def check_batch(batch_size: int, strategy: Strategy) -> None:
    """Refuses a global batch that the replicas cannot share equally.

    Raises:
        ValueError: If the batch size is no multiple of the number of replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"Expected --batch_size (global) to be a multiple of the {replicas} replicas; "
            f"received {batch_size}. Use for instance {-(-batch_size // replicas) * replicas}, or "
            "--distribution=none."
        )
