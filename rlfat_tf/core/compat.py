"""The only module that knows which Keras runs: Keras 2.15 (with TensorFlow Addons) or Keras 3."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from rlfat_tf.core.errors import unknown

MINIMUM_KERAS_3 = (3, 10)


def _version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _import_keras() -> tuple[Any, str]:
    """Returns TensorFlow's own Keras and its version, or says what is wrong with it."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ImportError(
            f"rlfat_tf needs Keras on TensorFlow, but KERAS_BACKEND is {backend!r}. "
            "Unset KERAS_BACKEND or set it to 'tensorflow' before Python starts."
        )
    # tf.keras is the Keras that belongs to this TensorFlow: Keras 2.15, or Keras 3, whose own
    # package is the same code with every submodule loaded.
    version = str(getattr(tf.keras, "__version__", "2.15"))  # 2.15's lazy module names none
    if _version_tuple(version)[0] < 3:
        return tf.keras, version
    import keras as keras_3

    if keras_3.backend.backend() != "tensorflow":
        raise ImportError(
            f"rlfat_tf needs Keras on TensorFlow, but keras.json sets the backend "
            f"{keras_3.backend.backend()!r}. Set KERAS_BACKEND=tensorflow before Python starts."
        )
    if _version_tuple(version) < MINIMUM_KERAS_3:
        raise ImportError(
            f"rlfat_tf needs Keras 3.10 or newer (or Keras 2.15), but Keras {version} is "
            "installed: older releases of Keras 3 train wrongly on several replicas. "
            "Run: pip install --upgrade keras"
        )
    return keras_3, version


keras, KERAS_VERSION = _import_keras()
KERAS_3 = _version_tuple(KERAS_VERSION)[0] >= 3


def _remember_what_saving_skips() -> None:
    """Lets Keras 3 cache what every saving looks up.

    Keras 3 (3.15 for one) stores the answer under another name than it asks for. So each saving of
    a model with an optimizer makes an optimizer to look at, of which some 60 kB stay for good.
    """
    saving = getattr(getattr(keras, "src", None), "saving", None)
    library: Any = getattr(saving, "saving_lib", None)
    look_up = getattr(library, "get_attr_skipset", None)
    if look_up is not None and not hasattr(look_up, "cache_info"):
        library.get_attr_skipset = functools.cache(look_up)


if KERAS_3:
    _remember_what_saving_skips()

# For a counter that all replicas raise together.
ONLY_FIRST_REPLICA: Any = (
    "only_first_replica" if KERAS_3 else tf.VariableAggregation.ONLY_FIRST_REPLICA
)


def _of_one_replica(spec: Any) -> Any:
    return getattr(spec, "_value_specs", [spec])[0]


def has_several_workers(strategy: Any) -> bool:
    """Tells whether a strategy spans several processes that train together."""
    kind = tf.distribute.MultiWorkerMirroredStrategy
    return isinstance(strategy, kind) and strategy.extended._in_multi_worker_mode()


class _Keras3Model(keras.Model):  # type: ignore[name-defined]
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


class _Keras2Model(keras.Model):  # type: ignore[name-defined]
    """``keras.Model`` whose logs are right on several machines.

    There Keras 2 adds up over the workers what the metrics have aggregated already.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.distribute_reduction_method = "first"


Model: Any = _Keras3Model if KERAS_3 else _Keras2Model


def layers_of(model: Any) -> list[Any]:
    """Returns every layer inside a model, nested models opened."""
    return list(model._flatten_layers(include_self=False, recursive=True))


def last_layer(model: Any) -> Any:
    """Returns the layer or operation that a model's output comes from; None if unknown."""
    outputs = getattr(model, "outputs", None)
    if outputs:
        return outputs[0]._keras_history[0]
    return model.layers[-1] if isinstance(model, keras.Sequential) and model.layers else None


def input_shape(model: Any) -> Any:
    """Returns the shape of a batch that a model takes; None if it is not built.

    A subclassed model tells it by what it was built on, which is one tensor's shape or it is
    unknown too.
    """
    shape = getattr(model, "input_shape", None)
    if shape is not None:
        return shape
    if KERAS_3:
        shapes = list((getattr(model, "_build_shapes_dict", None) or {}).values())
        shape = shapes[0] if len(shapes) == 1 else None
    else:
        shape = getattr(model, "_build_input_shape", None)
    if shape is None or not all(size is None or isinstance(size, int) for size in shape):
        return None
    return (None, *shape[1:])


def part_of(model: Any, layer: str | None = None) -> Any:
    """Returns a model from the same inputs to a layer's output; it shares all weights.

    Args:
        model: A functional or Sequential model.
        layer: The layer's name; None for what feeds the last layer.

    Raises:
        ValueError: If the model's layers cannot be seen, or none has that name.
    """
    if not getattr(model, "outputs", None):
        raise ValueError(
            f"The layers of {model.name!r} cannot be seen: an embedding needs a functional or "
            "Sequential model."
        )
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    if layer is not None:
        names = [each.name for each in model.layers]
        if layer not in names:
            raise unknown("layer", layer, names)
        return keras.Model(inputs, model.get_layer(layer).output)
    last = last_layer(model)
    if isinstance(last, keras.Model):
        raise ValueError(
            f"The last layer of {model.name!r} is a model itself. Name the layer of the embedding."
        )
    return keras.Model(inputs, last.input)


def batch_norm_layers(model: Any) -> list[Any]:
    """Returns the batch-normalisation layers of a model, nested models opened."""
    return [layer for layer in layers_of(model) if "BatchNormalization" in type(layer).__name__]


def variables_of(model: Any) -> list[Any]:
    """Returns every variable that a model's state consists of, in a fixed order."""
    return list(model.variables)


def optimizer_variables(optimizer: Any) -> list[Any]:
    """Returns the variables of a built optimizer, the step counter included."""
    variables = optimizer.variables
    return list(variables() if callable(variables) else variables)


def build_optimizer(optimizer: Any, variables: list[Any]) -> None:
    """Creates an optimizer's variables now, so that they can be restored before the first step."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:  # legacy Keras 2 optimizers, which TensorFlow Addons' are
        optimizer._create_all_weights(variables)


def averaged_variables(optimizer: Any) -> list[Any]:
    """Returns the moving averages that an optimizer with ``use_ema`` keeps of the weights."""
    return list(optimizer._model_variables_moving_average)


def metrics_with_result(metrics: list[Any]) -> list[Any]:
    """Drops Keras 3's container of compiled metrics while it is unbuilt: it has no result then."""
    return [m for m in metrics if m.name != "compile_metrics" or getattr(m, "built", True)]


def is_loss_scaling(optimizer: Any) -> bool:
    """Tells whether an optimizer scales the loss, which float16 needs."""
    return "LossScale" in type(optimizer).__name__


def compute_dtypes(model: Any) -> set[str]:
    """Returns the names of the dtypes that a model's layers compute in."""
    return {str(layer.compute_dtype) for layer in [model, *layers_of(model)]}


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Builds layers under a dtype policy such as ``"mixed_bfloat16"``, and restores the old."""
    old = keras.config.dtype_policy() if KERAS_3 else keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(old)


def synchronized_batch_norm() -> bool:
    """Tells whether batch statistics must be shared: more than one replica in this scope."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1
