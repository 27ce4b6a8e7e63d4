"""Where a run computes: detection, refusals, and two real processes that train as one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import distribution
from rlfat_tf.compat import KERAS_3

ROOT = Path(__file__).resolve().parent.parent


def tf_config(workers, index=0, **kinds):
    return json.dumps(
        {"cluster": {"worker": workers, **kinds}, "task": {"type": "worker", "index": index}}
    )


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_detection(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("TPU_NAME", raising=False)
    assert distribution.detect() == "mirrored"
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1"]))
    assert distribution.detect() == "mirrored"
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1"]))
    assert distribution.detect() == "multi_worker"
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1"], chief=["c:1"]))
    assert distribution.detect() == "multi_worker"
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setenv("TPU_NAME", "local")
    assert distribution.detect() == "tpu"


def test_refusals(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="Did you mean 'mirrored'"):
        distribution.make_strategy("miror")
    with pytest.raises(ValueError, match=r"needs the environment variable TF_CONFIG .*scaling.md"):
        distribution.make_strategy("multi_worker")
    for broken in ("{", "[]", '{"cluster": 3}'):
        monkeypatch.setenv("TF_CONFIG", broken)
        with pytest.raises(ValueError, match="TF_CONFIG to hold JSON"):
            distribution.detect()


def test_the_batch_is_shared_equally(strategy2):
    distribution.check_batch(8, strategy2)
    with pytest.raises(ValueError, match="multiple of the 2 replicas; received 9. .* 10,"):
        distribution.check_batch(9, strategy2)


def test_one_process_is_its_own_chief(strategy2):
    assert distribution.is_chief(strategy2)
    assert distribution.is_chief(distribution.make_strategy("none"))


def test_a_tpu_is_connected_initialised_and_used():
    """No TPU here: what is called, and in which order, is all that can be shown."""
    distribution._tpu.cache_clear()
    calls = mock.Mock()
    with (
        mock.patch.object(tf.distribute.cluster_resolver, "TPUClusterResolver", calls.resolve),
        mock.patch.object(tf.config, "experimental_connect_to_cluster", calls.connect),
        mock.patch.object(tf.tpu.experimental, "initialize_tpu_system", calls.initialise),
        mock.patch.object(tf.distribute, "TPUStrategy", calls.strategy),
    ):
        made = distribution.make_strategy("tpu")
    resolver = calls.resolve.return_value
    assert made is calls.strategy.return_value
    assert calls.mock_calls == [
        mock.call.resolve(),
        mock.call.connect(resolver),
        mock.call.initialise(resolver),
        mock.call.strategy(resolver),
    ]
    distribution._tpu.cache_clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights and reports of two workers (0, 1) and of one process alone (2)."""
    folder = tmp_path_factory.mktemp("workers")
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    jobs = []
    for number in range(3):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        environment.pop("TF_CONFIG", None)
        if number < 2:
            environment["TF_CONFIG"] = tf_config(addresses, number)
        command = [sys.executable, "-m", "tests.multi_worker_job", str(folder / str(number))]
        jobs.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)
        )
    for job in jobs:
        _, errors = job.communicate(timeout=300)
        assert job.returncode == 0, errors[-3000:]
    results = []
    for number in range(3):
        with np.load(folder / f"{number}.npz") as file:
            weights = [file[name] for name in file.files]
        results.append((weights, json.loads((folder / f"{number}.json").read_text())))
    return results


def test_two_workers_end_with_the_weights_of_one_process(trained):
    (first, one), (second, other), (alone, single) = trained
    assert one["replicas"] == other["replicas"] == 2 and single["replicas"] == 1
    for ours, theirs, expected in zip(first, second, alone):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_their_metrics_are_those_of_all_examples(trained):
    (_, one), (_, other), (_, single) = trained
    assert one["history"] == other["history"] and one["evaluated"] == other["evaluated"]
    assert set(one["history"]) == set(single["history"])
    for name, values in single["history"].items():
        np.testing.assert_allclose(one["history"][name], values, rtol=1e-4, atol=1e-5)
    for name, value in single["evaluated"].items():
        assert one["evaluated"][name] == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_each_example_is_seen_once_and_each_worker_sees_its_slice(trained):
    (_, one), (_, other), (_, single) = trained
    assert [a + b for a, b in zip(one["seen"], other["seen"])] == single["seen"]
    assert [len(batch) for batch in one["seen"]] == [4, 4, 4, 4]
    everything = sum(single["seen"], [])
    assert len(set(everything)) == len(everything) == 32


def test_one_of_them_is_the_chief(trained):
    assert [report["chief"] for _, report in trained] == [True, False, True]


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 needs no help here")
def test_upstream_still_needs_our_help():
    """Fails when Keras mends what compat works around: then the workaround can go.

    Keras 3 reduces numbers along their first axis on several workers, which they do not have.
    """
    from keras.src.backend.tensorflow import trainer

    strategy = mock.Mock()
    with mock.patch.object(trainer, "_collective_all_reduce_multi_worker", return_value=True):
        trainer.reduce_per_replica({"loss": tf.constant(1.0)}, strategy, "mean")
    strategy.reduce.assert_called_once_with("MEAN", tf.constant(1.0), axis=0)
