"""A quick look at robustness: the two strongest parts of AutoAttack, in fewer steps.

    attack = rlfat_tf.attacks.Fast(epsilon=8 / 255)

It is an upper bound of robust accuracy as any attack is, and not AutoAttack: without FAB and
Square, nothing in it shows that gradients are masked.
"""

from __future__ import annotations

from typing import Any

from rlfat_tf.attacks.apgd import APGD, APGDT
from rlfat_tf.attacks.arguments import count
from rlfat_tf.attacks.base import Attack
from rlfat_tf.attacks.ensemble import Ensemble
from rlfat_tf.core.compat import keras


@keras.saving.register_keras_serializable("rlfat_tf")
class Fast(Ensemble):
    """APGD on cross entropy, then APGD-T on the targets whose borders are nearest.

    With the defaults an example that stays robust costs 50 + 150 gradients and one for each wrong
    class, up to 100, where AutoAttack's costs 1,900 and 5,900 passes more. Rank checkpoints and
    settings by it; report AutoAttack.
    """

    steps: int = count(50, "Number of steps of APGD, and of APGD-T for every target.")
    targets: int = count(3, "Number of target classes, in the order of MALT.")
    eot: int = count(
        1,
        "For randomised classifiers: number of passes over which every loss and gradient is "
        "averaged.",
    )

    @property
    def components(self) -> dict[str, Attack]:
        """The attacks in their order, by name."""
        shared: dict[str, Any] = {
            "norm": self.norm,
            "epsilon": self.epsilon,
            "eot": self.eot,
            "steps": self.steps,
        }
        return {
            "apgd_ce": APGD(**shared, loss="ce"),
            "apgd_t": APGDT(**shared, targets=self.targets, order="malt"),
        }
