"""Names for what flows through the library, so that a signature says what it takes.

TensorFlow and Keras build much of their interface at run time, so to a type checker these are
``Any``: they are for readers, and for tools that show signatures. Where a function takes NumPy
arrays as well as tensors, its docstring says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from typing_extensions import TypeAlias  # typing has it from Python 3.10 on

Tensor: TypeAlias = Any  # tf.Tensor, or what TensorFlow makes one of
Array: TypeAlias = Any  # np.ndarray
Shape: TypeAlias = Any  # sizes of axes, None where unknown; a tuple, a list, a tensor
DType: TypeAlias = Any  # tf.DType
Images: TypeAlias = Any  # float32 [batch, height, width, channels] in [0, 1]
Labels: TypeAlias = Any  # integers [batch], or one-hot rows [batch, classes]
Logits: TypeAlias = Any  # float32 [batch, classes], before any softmax
Model: TypeAlias = Any  # keras.Model
Layer: TypeAlias = Any  # keras.layers.Layer
Optimizer: TypeAlias = Any  # keras.optimizers.Optimizer
Strategy: TypeAlias = Any  # tf.distribute.Strategy
Logs: TypeAlias = Any  # what Keras hands to callbacks: metrics by name, or None

LogitsFn: TypeAlias = Callable[[Images], Logits]
LossFn: TypeAlias = Callable[[Logits], Tensor]  # to one loss per example, [batch]
Report: TypeAlias = Mapping[str, Any]  # what JSON can hold, for instance the results of evaluate
