"""What all methods take is checked by the constructor and whenever it is set."""

import pytest

from rlfat_tf import METHODS, PGDAT, attacks
from tests import reference


def test_arguments_are_checked_whenever_they_are_set():
    robust = PGDAT(reference.keras_net())
    for name, value, message in (
        ("attack_bn", "bad", "bad"),
        ("seed", 1.7, "seed to be a whole number; received 1.7"),
        ("weight_decay", -1.0, "weight_decay to be a number of at least 0; received -1.0"),
        ("weight_perturbation", 0.01, "rlfat_tf.AWP; received 0.01"),
        ("regularizer", "lsp", "Expected a regulariser.*received 'lsp'"),
        ("attack", "pgd", "Expected an attack"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            PGDAT(reference.keras_net(), **{name: value})
        with pytest.raises((ValueError, TypeError), match=message):
            setattr(robust, name, value)
    with pytest.raises(TypeError, match="Expected an attack"):
        METHODS["feature_scattering"](reference.keras_net(), attack="pgd")
    still = attacks.LinfPGD(epsilon=0.1, steps=1, loss="kl", random_start="none")
    with pytest.raises(ValueError, match="has no .*gradient to follow"):
        METHODS["feature_scattering"](reference.keras_net(), attack=still)
