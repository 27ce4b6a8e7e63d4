"""The fast paths train networks that are worth the same: three seeds each, on digits.

python -m pytest -m slow -s tests/test_fast_paths.py
"""

import numpy as np
import pytest

import rlfat_tf
from rlfat_tf import data, models
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.models import common

SEEDS = (0, 1, 2)
EPSILON = 0.1


def accuracies(precision, seed):
    """Clean and adversarial test accuracy in percent of a small net after PGDAT."""
    digits = data.load("digits")
    keras.utils.set_random_seed(seed)
    with compat.dtype_policy(precision):
        net = models.build("wrn-10-1", input_shape=(8, 8, 1), num_classes=10)
    attack = rlfat_tf.attacks.LinfPGD(epsilon=EPSILON, steps=5)
    robust = rlfat_tf.RLFATP(net, attack=attack, seed=seed)
    robust.compile(optimizer=keras.optimizers.Adam(2e-3), metrics=["accuracy"])
    batches = data.training_batches(digits.train, batch_size=64, seed=seed, augment="none")
    robust.fit(batches, steps_per_epoch=200, verbose=0)
    test = data.evaluation_batches(digits.test, batch_size=120)
    found = robust.evaluate(test, return_dict=True, verbose=0)
    return 100 * found["accuracy"], 100 * found["adv_accuracy"]


@pytest.mark.slow
def test_accuracy_is_that_of_float32_with_kerass_layers(monkeypatch):
    results = {}
    with monkeypatch.context() as patch:
        patch.setattr(common, "FusedBatchNormalization", keras.layers.BatchNormalization)
        results["Keras's layers, float32"] = [accuracies("float32", seed) for seed in SEEDS]
    for precision in ("float32", "mixed_bfloat16"):
        results[f"fused, {precision}"] = [accuracies(precision, seed) for seed in SEEDS]
    for name, found in results.items():
        print(f"{name}: clean / adversarial %:", np.round(found, 1).tolist())
    baseline, *others = (np.mean(found, 0) for found in results.values())
    assert baseline[1] > 50
    for other in others:
        # One seed differs from the next by two points and more.
        np.testing.assert_allclose(other, baseline, atol=4)
