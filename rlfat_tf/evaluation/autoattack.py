"""AutoAttack that evaluates: ``AutoAttack(epsilon=8 / 255).evaluate(model, test)``."""

from __future__ import annotations

from typing import Any

from rlfat_tf import attacks
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.evaluate import evaluate


@keras.saving.register_keras_serializable("rlfat_tf", name="EvaluatingAutoAttack")
class AutoAttack(attacks.AutoAttack):
    """:class:`rlfat_tf.attacks.AutoAttack`, which reads like the literature."""

    def evaluate(self, model: Any, data: Any, **options: Any) -> dict[str, Any]:
        """Evaluates a model by this attack alone: :func:`rlfat_tf.evaluation.evaluate`."""
        return evaluate(model, data, attacks={"autoattack": self}, **options)
