"""What methods fill into the attack of training, make of it for evaluation, and refuse."""

import pytest

from rlfat_tf import ATLD, METHODS, PGDAT, TRADES, FeatureScattering, LocalGlobal, attacks
from rlfat_tf.methods.attack_defaults import completed, of_evaluation
from tests import reference

ONE_STEP = [
    attacks.FGSMRS(epsilon=0.1),
    attacks.NFGSM(epsilon=0.1),
    attacks.LinfPGD(epsilon=0.1, steps=1),
]


@pytest.mark.parametrize("attack", ONE_STEP)
def test_an_attack_of_one_step(attack):
    robust = TRADES(reference.keras_net(), attack=attack)
    assert robust.attack == attack.replace(
        loss="kl", **({"random_start": "uniform"} if "steps" in attack.get_config() else {})
    )
    assert robust.attack.random_start == "uniform"
    # Validation never takes it over.
    wanted = attacks.LinfPGD(epsilon=0.1, steps=10, loss="ce", random_start="uniform")
    assert robust.eval_attack == wanted


def test_validation_by_the_same_steps_in_the_same_ball():
    attack = attacks.L2PGD(epsilon=0.5, steps=3, loss="kl", random_start="radial")
    assert of_evaluation(attack) == attack.replace(loss="ce", random_start="uniform")
    one = of_evaluation(attacks.FGSM(norm="l2", epsilon=0.5, eot=2))
    assert one == attacks.L2PGD(epsilon=0.5, steps=10, eot=2, loss="ce", random_start="uniform")


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"steps": 1}, False),
        ({"steps": 2}, False),
        ({"steps": 1, "random_start": "gaussian"}, True),
        ({"steps": 2, "random_start": "gaussian"}, False),
        ({"steps": 2, "random_start": "none"}, True),
        ({"steps": 1, "random_start": "gaussian", "loss": "ce"}, False),
    ],
)
def test_kl_from_where_it_has_no_gradient(given, refused):
    attack = attacks.LinfPGD(epsilon=0.1, **given)
    if refused:
        with pytest.raises(ValueError, match=r"minimum at x' = x.*--attack_random_start=uniform"):
            completed(attack, "kl", "gaussian")
    else:
        completed(attack, "kl", "gaussian")
        completed(attack.replace(loss=None), "ce", "uniform")


def test_scores_distance_has_none_at_the_image_either():
    attack = attacks.LinfPGD(epsilon=0.1, steps=2, random_start="none")
    with pytest.raises(ValueError, match=r"\|\|p\(x'\) - p\(x\)\|\|\^2 has its minimum at x' = x"):
        completed(attack, "lse", "uniform")


def test_what_cannot_measure_robustness():
    """An example that has not reached a target may be misclassified all the same."""
    targeted = attacks.Targeted(attack=attacks.LinfPGD(epsilon=0.1, steps=2), target=1)
    robust = PGDAT(reference.keras_net(), attack=targeted)
    assert robust.attack.target == 1 and robust.eval_attack.norm == "linf"
    with pytest.raises(ValueError, match="still correctly classified is robust; .* its target"):
        robust.eval_attack = targeted


def test_the_norms_of_the_methods():
    attack = attacks.L2PGD(epsilon=0.5)
    know_linf_only = {ATLD, FeatureScattering, LocalGlobal}
    assert {m for m in METHODS.values() if m.knows_linf_only is not None} == know_linf_only
    for method in (FeatureScattering, LocalGlobal):
        with pytest.raises(ValueError, match=f"{method.__name__} knows the maximum norm only: "):
            method(reference.keras_net(), attack=attack)
    robust = PGDAT(reference.keras_net(), attack=attack)
    assert robust.eval_attack.norm == "l2"
    with pytest.raises(ValueError, match=r"may be 0\.3 away"):
        robust.eval_attack = ONE_STEP[1]
