"""Where a run computes: detection, refusals, and two real processes that train as one."""

import json
import signal
import socket
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core.compat import KERAS_3
from rlfat_tf.run import distribution, workdir
from tests.forks import KILLED
from tests.run.interruptions import code
from tests.runs import check_same, config, flags


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
    for devices, expected in ((["CPU:0"], "none"), (["GPU:0", "GPU:1"], "mirrored")):
        monkeypatch.setattr(distribution, "_devices", lambda devices=devices: tuple(devices))
        assert distribution.detect() == expected
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


def test_a_tpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(ValueError, match="--distribution=tpu found no TPU. .*TPU_NAME=local"):
        distribution.make_strategy("tpu")


def start(forks, command, addresses=(), index=0, before=""):
    """Starts a program as one of several workers, or alone."""
    cluster = {"TF_CONFIG": tf_config(addresses, index)} if addresses else {}
    return forks.start(*command, before=before, CUDA_VISIBLE_DEVICES="", **cluster)


@pytest.fixture(scope="module")
def results(all_forks, tmp_path_factory):
    """Weights and reports of two workers (0, 1) and of one process alone (2)."""
    folder = tmp_path_factory.mktemp("workers")
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    with all_forks.leaving_none():
        jobs = []
        for number in range(3):
            command = ["-m", "tests.run.multi_worker_job", folder / str(number)]
            jobs.append(start(all_forks, command, addresses if number < 2 else (), number))
        for job in jobs:
            job.check()
    results = []
    for number in range(3):
        with np.load(folder / f"{number}.npz") as file:
            weights = [file[name] for name in file.files]
        results.append((weights, json.loads((folder / f"{number}.json").read_text())))
    return results


def test_two_workers_end_with_the_weights_of_one_process(results):
    (first, one), (second, other), (alone, single) = results
    assert one["replicas"] == other["replicas"] == 2 and single["replicas"] == 1
    for ours, theirs, expected in zip(first, second, alone):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_their_metrics_are_those_of_all_examples(results):
    (_, one), (_, other), (_, single) = results
    assert one["history"] == other["history"] and one["evaluated"] == other["evaluated"]
    assert set(one["history"]) == set(single["history"])
    for name, values in single["history"].items():
        np.testing.assert_allclose(one["history"][name], values, rtol=1e-4, atol=1e-5)
    for name, value in single["evaluated"].items():
        assert one["evaluated"][name] == pytest.approx(value, rel=1e-4, abs=1e-5)
    assert one["uneven"] == other["uneven"] == pytest.approx(single["uneven"], abs=1e-6)
    assert 13 * single["uneven"] == pytest.approx(round(13 * single["uneven"]), abs=1e-4)


def test_each_example_is_seen_once_and_each_worker_sees_its_slice(results):
    (_, one), (_, other), (_, single) = results
    assert [a + b for a, b in zip(one["seen"], other["seen"])] == single["seen"]
    assert [len(batch) for batch in one["seen"]] == [4, 4, 4, 4]
    everything = sum(single["seen"], [])
    assert len(set(everything)) == len(everything) == 32
    # Four batches, and what was on its way when the last of them came.
    assert all(16 <= report["read"] <= 4 * (4 + 10) for report in (one, other))
    assert 32 <= single["read"] <= 8 * (4 + 10)


def test_one_of_them_is_the_chief(results):
    assert [report["chief"] for _, report in results] == [True, False, True]


# A worker that dies.


@pytest.mark.parametrize("kind", distribution.BROKEN)
def test_what_is_raised_without_a_worker_is_told(monkeypatch, kind):
    error = kind(
        None, None, "On CPU:0\nCollective ops is aborted by: it is gone\nand more\nand so on"
    )
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1"]))
    with pytest.raises(
        distribution.WorkerLost, match="2 workers .a:1, b:1. .*says: it is gone and more$"
    ):
        with distribution.report_lost_workers():
            raise error
    monkeypatch.delenv("TF_CONFIG")
    with pytest.raises(kind), distribution.report_lost_workers():
        raise error


# Tells of each file that Python opens to write in a folder.
SPY = """
import os, sys
def spy(event, arguments, folder={!r}):
    if event == "open" and str(arguments[0]).startswith(folder) and arguments[1] != "r":
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            print("WROTE", arguments[0], flush=True)
    elif event in ("os.mkdir", "os.rename", "os.remove") and str(arguments[0]).startswith(folder):
        print("WROTE", arguments[0], flush=True)
sys.addaudithook(spy)
"""


def two_workers(forks, run, interrupted=None, at="", number=signal.SIGKILL):
    """Starts train.py twice, under a spy on what is written in the folder of the run.

    One of them may send itself a signal at a point.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    jobs = []
    for index in range(2):
        before = SPY.format(run.workdir)
        if index == interrupted:
            before += code(at, number)
        jobs.append(start(forks, ["train.py", *flags(run)], addresses, index, before))
    return jobs


def ends(jobs):
    """Waits for all; returns their statuses and what they wrote."""
    return [job.wait() for job in jobs], [job.output for job in jobs]


@pytest.mark.current
def test_a_killed_worker_ends_the_job_and_a_restart_goes_on(forks, tmp_path):
    """One is asked to stop, then the chief, which writes, is killed; in the end nothing differs."""
    length = {"epochs": 2, "optimizer": "sgd", "learning_rate": 0.01, "export": True}
    run = config(tmp_path / "run", distribution="multi_worker", **length)

    statuses, told = ends(two_workers(forks, run, 1, "step@1", signal.SIGTERM))
    assert statuses == [143, 143], told
    for text in told:
        assert "Stopped by SIGTERM. The same command again goes on" in text
    assert not (tmp_path / "run/summary.json").exists()

    statuses, (killed, told) = ends(two_workers(forks, run, 0, "step@3"))
    assert statuses == [KILLED, 1] and "Traceback" not in told, told
    assert "Resuming at step" in told and "WROTE" in killed and "WROTE" not in told
    assert "Error: Another of the 2 workers" in told and "Give the same command again" in told
    assert not (tmp_path / "run/summary.json").exists()

    statuses, told = ends(two_workers(forks, run))
    assert statuses == [0, 0], told
    assert "Resuming at step" in told[0] and "WROTE" not in told[1]
    assert (tmp_path / "run/export/saved_model.pb").is_file()
    whole = config(tmp_path / "whole", distribution="multi_worker", **length)
    statuses, told = ends(two_workers(forks, whole))
    assert statuses == [0, 0], told
    check_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.current
def test_workers_that_were_started_differently_are_refused(forks, tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    jobs = []
    for index, seed in enumerate((0, 1)):
        run = config(tmp_path / "run", distribution="multi_worker", seed=seed)
        jobs.append(start(forks, ["train.py", *flags(run)], addresses, index))
    statuses, told = ends(jobs)
    for text in told:
        assert "Error: The workers of this run differ in their flags. Give all of them" in text
    assert statuses == [1, 1]
    assert not (tmp_path / "run").exists()


def test_what_workers_differ_in_is_told(monkeypatch):
    alone = distribution.make_strategy("none")
    assert distribution.gather_from_workers(alone, [1, 2.5]).tolist() == [[1, 2.5]]
    distribution.check_agreement(alone, step=3, length=4)
    table = np.array([[3.0, 4.0, 7.0], [3.0, 5.0, 8.0]])
    monkeypatch.setattr(distribution, "gather_from_workers", lambda strategy, numbers: table)
    with pytest.raises(ValueError, match="differ in their length and seed. .*same flags"):
        distribution.check_agreement(alone, step=3, length=4, seed=7)


def test_a_workdir_that_the_workers_do_not_share_is_told(tmp_path):
    with pytest.raises(ValueError, match="storage that all workers see; .* is not here what"):
        workdir.check_shared(tmp_path, seconds=0)
    (tmp_path / "config.json").touch()
    workdir.check_shared(tmp_path, seconds=0)


@pytest.mark.current
@pytest.mark.parametrize("address", ["taken", "127.0.0.1"])
def test_a_worker_that_cannot_be_reached_at_its_address_is_told(forks, tmp_path, address):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        if address == "taken":
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = config(tmp_path / "run", distribution="multi_worker")
        job = start(forks, ["train.py", *flags(run)], [address])
        status, text = job.wait(), job.output
    assert status == 1 and "Traceback" not in text, text
    assert "Error: This worker could not join the others. Its address in TF_CONFIG" in text


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


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 needs no help here")
def test_upstream_still_adds_up_the_parts_of_a_batch(strategy2):
    """Fails when Keras mends the other cause: it builds with a batch whose parts it adds up."""
    from rlfat_tf.core.compat import keras

    with strategy2.scope():
        net = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
        net.compile("sgd", "mse")
    batches = tf.data.Dataset.from_tensor_slices((tf.ones([9, 2]), tf.ones([9, 1]))).batch(3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="AddN must have the same size"):
        net.fit(batches, epochs=1, verbose=0, shuffle=False)
