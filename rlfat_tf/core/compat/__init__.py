"""The only folder that knows which Keras runs: Keras 2.15 (with TensorFlow Addons) or Keras 3.

Whatever the library needs from inside Keras stands here, and importing it changes nothing there.
"""

from rlfat_tf.core.compat.layers import (
    batch_norm_layers,
    channels_last,
    compute_dtypes,
    dtype_policy,
    input_shape,
    is_batch_norm,
    last_layer,
    layers_of,
    part_of,
    produced_by,
    refresh_normalization,
    set_weights,
    symbolic_outputs,
    synchronized_batch_norm,
    variables_of,
)
from rlfat_tf.core.compat.model import (
    ONLY_FIRST_REPLICA,
    Model,
    has_several_workers,
    metrics_with_result,
    names_in_logs,
)
from rlfat_tf.core.compat.optimizers import (
    accumulates,
    batches_seen,
    build_optimizer,
    impossible_on_replicas,
    is_loss_scaling,
    optimizer_variables,
    scaled_loss,
    updates_made,
)
from rlfat_tf.core.compat.saving import (
    frugal_saving,
    loads_again,
    serving_archive,
    write_archive,
)
from rlfat_tf.core.compat.stack import KERAS_3, KERAS_VERSION, keras

__all__ = [
    "KERAS_3",
    "KERAS_VERSION",
    "ONLY_FIRST_REPLICA",
    "Model",
    "accumulates",
    "batch_norm_layers",
    "batches_seen",
    "build_optimizer",
    "channels_last",
    "compute_dtypes",
    "dtype_policy",
    "frugal_saving",
    "has_several_workers",
    "impossible_on_replicas",
    "input_shape",
    "is_batch_norm",
    "is_loss_scaling",
    "keras",
    "refresh_normalization",
    "last_layer",
    "layers_of",
    "loads_again",
    "metrics_with_result",
    "names_in_logs",
    "optimizer_variables",
    "part_of",
    "produced_by",
    "scaled_loss",
    "serving_archive",
    "set_weights",
    "symbolic_outputs",
    "synchronized_batch_norm",
    "updates_made",
    "variables_of",
    "write_archive",
]
