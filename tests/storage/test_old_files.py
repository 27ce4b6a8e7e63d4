"""Files that version 0.1 wrote are still read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rlfat_tf
from rlfat_tf.core.compat import KERAS_3, keras

FOLDER = Path(__file__).parent / "written_by_0_1"


@pytest.mark.parametrize("stack", ["current", "addons"])
def test_a_model_is_loaded(stack):
    if (stack == "current") != KERAS_3:
        pytest.skip("Keras 2 and Keras 3 do not read each other's .keras files")
    model = keras.models.load_model(FOLDER / f"{stack}.keras")
    assert type(model) is rlfat_tf.RLFATT and model.attack.epsilon == 0.1
    with np.load(FOLDER / f"{stack}.npz") as expected:
        logits = model.predict(expected["x"], verbose=0)
        np.testing.assert_allclose(logits, expected["logits"], rtol=1e-5, atol=1e-6)
