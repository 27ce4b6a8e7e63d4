"""``keras.Model`` whose ``fit`` and ``evaluate`` are right under every strategy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rlfat_tf.core.compat.stack import KERAS_3, keras
from rlfat_tf.core.types import Strategy

# For a counter that all replicas raise together.
ONLY_FIRST_REPLICA: Any = (
    "only_first_replica" if KERAS_3 else tf.VariableAggregation.ONLY_FIRST_REPLICA
)


def _of_one_replica(spec: Any) -> Any:
    return getattr(spec, "_value_specs", [spec])[0]


def has_several_workers(strategy: Strategy) -> bool:
    """Tells whether a strategy spans several processes that train together."""
    kind = tf.distribute.MultiWorkerMirroredStrategy
    return isinstance(strategy, kind) and strategy.extended._in_multi_worker_mode()


class _Keras3Model(keras.Model):
    """``keras.Model`` whose ``fit`` under a strategy reads no batch ahead.

    Keras 3 takes a batch from the stream to build what is unbuilt, and does not put it back; on
    several replicas it also adds up their parts, which fails when they differ in size. The data
    set's own description of a batch is enough.

    On several machines (``MultiWorkerMirroredStrategy``) Keras 3 reduces the logs of a step along
    their first axis, which numbers do not have: the steps return them as vectors of length 1.
    """

    def _make_function(self, step_function: Any) -> Any:
        if not has_several_workers(self.distribute_strategy):
            return super()._make_function(step_function)

        def step(data: Any) -> dict[str, Any]:
            return {name: tf.reshape(v, [1]) for name, v in step_function(data).items()}

        return super()._make_function(step)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is None or self._distribute_strategy is None:
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)
            return
        spec = tf.nest.map_structure(_of_one_replica, iterator._distributed_dataset.element_spec)
        with self._distribute_strategy.scope():
            self._symbolic_build(data_batch=spec)

    def _get_metrics_result_or_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        # At the end of an epoch Keras reads the metrics of all replicas, but only if the logs name
        # every metric there is. Else it averages the replicas' means, which counts examples
        # wrongly where the replicas hold different numbers of them.
        results = self.get_metrics_result()
        return {name: results.get(name, value) for name, value in logs.items()}


class _Keras2Model(keras.Model):
    """``keras.Model`` whose logs are right on several machines.

    There Keras 2 adds up over the workers what the metrics have aggregated already.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.distribute_reduction_method = "first"


Model: Any = _Keras3Model if KERAS_3 else _Keras2Model


def metrics_with_result(metrics: list[Any]) -> list[Any]:
    """Drops Keras 3's container of compiled metrics while it is unbuilt: it has no result then."""
    return [m for m in metrics if m.name != "compile_metrics" or getattr(m, "built", True)]


def names_in_logs(metrics: list[Any]) -> list[str]:
    """Returns the names of metrics, of which Keras 3 puts the compiled ones into a container."""
    opened = (m.metrics if m.name == "compile_metrics" else [m] for m in metrics)
    return [metric.name for several in opened for metric in several]
