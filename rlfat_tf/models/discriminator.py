"""The discriminator of ATLD: tells natural logits from adversarial ones, and their class.

The released network is a WRN-28-5 that sees the K logits as an image of one pixel: of every 3x3
kernel only the centre has an effect, so that it is the residual network of dense layers below.
(Qian et al., "Improving Model Robustness with Latent Distribution Locally and Globally", 2021, and
the authors' code.)
"""

from __future__ import annotations

from collections.abc import Sequence

from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Model, Tensor
from rlfat_tf.models.common import batch_norm


def latent_discriminator(
    *, num_classes: int, widths: Sequence[int] = (80, 160, 320), units_per_stage: int = 4
) -> Model:
    """Builds the discriminator.

    Args:
        num_classes: K, the number of logits that it sees and of classes that it names.
        widths: Of its stages.
        units_per_stage: Residual units, of two dense layers each, in a stage.

    Returns:
        A model from logits [batch, K] to a pair: one logit [batch, 1], above 0 for natural, and
        class logits [batch, K].
    """

    def dense(x: Tensor, width: int, name: str, taps: int = 9) -> Tensor:
        # Drawn like the kernels whose centre it is: N(0, 2 / (taps * width)).
        initializer = keras.initializers.VarianceScaling(
            2.0 / taps, "fan_out", "untruncated_normal"
        )
        layer = keras.layers.Dense(width, use_bias=False, kernel_initializer=initializer, name=name)
        return layer(x)

    def normalised(x: Tensor, name: str) -> Tensor:
        return keras.layers.ReLU(name=f"{name}_relu")(batch_norm(x, epsilon=1e-5, name=name))

    inputs = keras.Input((num_classes,), name="logits", dtype="float32")
    x = dense(inputs, 16, "stem")
    for stage, width in enumerate(widths, start=1):
        for unit in range(1, units_per_stage + 1):
            name = f"stage{stage}_unit{unit}"
            active = normalised(x, f"{name}_bn1")
            if x.shape[-1] != width:
                x = dense(active, width, f"{name}_shortcut", taps=1)
            branch = normalised(dense(active, width, f"{name}_dense1"), f"{name}_bn2")
            x = keras.layers.Add(name=f"{name}_add")([x, dense(branch, width, f"{name}_dense2")])
    features = normalised(x, "bn")
    natural = keras.layers.Dense(1, name="natural", dtype="float32")(features)
    classes = keras.layers.Dense(num_classes, name="classes", dtype="float32")(features)
    return keras.Model(inputs, [natural, classes], name="discriminator")
