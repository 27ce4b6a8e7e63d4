"""The attacks of one step along the sign of the gradient; in training they cost one pass.

Each is :class:`rlfat_tf.attacks.PGD` with one step, and differs in where that step starts:

    FGSM      x
    FGSM-RS   clip_{[0, 1]}(x + U(-epsilon, epsilon))
    N-FGSM    clip_{[0, 1]}(x + U(-2 epsilon, 2 epsilon)), and its end is not projected on the ball
"""

from __future__ import annotations

from rlfat_tf.attacks.arguments import fixed, fixed_length, start_kind, step_length
from rlfat_tf.attacks.pgd import PGD
from rlfat_tf.core.compat import keras


@keras.saving.register_keras_serializable("rlfat_tf")
class FGSM(PGD):
    """The fast gradient sign method: one step of length epsilon from the image itself.

    (Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015.)
    """

    steps: int = fixed(1)
    step_size: float = step_length(
        "Length of the step. Default: epsilon.", derive=lambda attack: attack.epsilon
    )
    random_start: str | None = start_kind("none", "Where the step starts, with the names of PGD.")


@keras.saving.register_keras_serializable("rlfat_tf")
class FGSMRS(PGD):
    """FGSM from a random start: one step from a uniform point of the ball, back into the ball.

    (Wong, Rice & Kolter, "Fast is better than free: Revisiting adversarial training", ICLR 2020.)
    Training with it may overfit catastrophically: within an epoch the classifier withstands this
    attack and no other.
    """

    norm: str = fixed("linf")
    steps: int = fixed(1)
    step_size: float = step_length(
        "Length of the step. Default: 1.25 * epsilon.", derive=lambda attack: 1.25 * attack.epsilon
    )
    random_start: str | None = fixed("uniform")
    clip_start: bool = fixed(True)


@keras.saving.register_keras_serializable("rlfat_tf")
class NFGSM(PGD):
    """Noise-FGSM: one step of length epsilon from an image with much noise; for training only.

    (de Jorge et al., "Make Some Noise: Reliable and Efficient Single-Step Adversarial Training",
    NeurIPS 2022.) The end is clipped to [0, 1] and not projected on the ball of radius epsilon: an
    example may be ``reach`` = start_radius + step_size away from its image, 3 epsilon by default.
    """

    norm: str = fixed("linf")
    steps: int = fixed(1)
    step_size: float = step_length(
        "Length of the step. Default: epsilon.", derive=lambda attack: attack.epsilon
    )
    random_start: str | None = fixed("uniform")
    clip_start: bool = fixed(True)
    start_radius: float = step_length(
        "Greatest noise added to a pixel at the start. Default: 2 * epsilon.",
        derive=lambda attack: 2 * attack.epsilon,
    )
    # No example leaves the ball of this radius: projected on it, each stays as it is.
    reach: float = fixed_length(lambda attack: attack.start_radius + attack.step_size)
