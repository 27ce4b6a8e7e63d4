"""The attack that the flags of train.py describe, and those of validation and test."""

import json

import pytest

import rlfat_tf
from rlfat_tf import attacks
from rlfat_tf.methods import METHODS
from rlfat_tf.run import builders, train
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.training_attack import training_attack, warn_of_short_steps
from tests.runs import config

WITHOUT = {
    "standard": "trains on clean images",
    "feature_scattering": "its attack is FeatureScatter",
    "atld": "against the discriminator",
}


@pytest.mark.parametrize(
    ("flags", "attack"),
    [
        ({"attack": "fgsm_rs", "epsilon": 0.1}, attacks.FGSMRS(epsilon=0.1)),
        (
            {"attack": "n_fgsm", "epsilon": 0.1, "attack_step_size": 0.2},
            attacks.NFGSM(epsilon=0.1, step_size=0.2),
        ),
        (
            {"attack_norm": "l2", "epsilon": 0.5, "attack_random_start": "radial"},
            attacks.L2PGD(epsilon=0.5, steps=1, random_start="radial"),
        ),
        ({}, attacks.LinfPGD(epsilon=0.1, steps=1)),
    ],
)
def test_attacks_of_flags(flags, attack, tmp_path):
    chosen = config(tmp_path, method="rlfat_t", **flags)
    assert training_attack(chosen) == attack
    net = rlfat_tf.models.build("small_cnn", input_shape=(8, 8, 1), num_classes=10)
    robust = METHODS["rlfat_t"](net, **builders.method_arguments(chosen, 4, 8))
    assert (type(robust.attack), robust.attack.loss) == (type(attack), "kl")
    ball = {"norm": attack.norm, "epsilon": attack.epsilon}
    assert robust.eval_attack == attacks.pgd.PGD_IN_NORM[attack.norm](
        epsilon=attack.epsilon, steps=10, loss="ce", random_start="uniform"
    )
    test = train.test_attack(chosen)
    assert {"norm": test.norm, "epsilon": test.epsilon} == ball and test.steps == 20


@pytest.mark.parametrize("method", METHODS)
def test_which_methods_take_them(method, tmp_path):
    for attack in ("fgsm_rs", "n_fgsm"):
        if method in WITHOUT:
            with pytest.raises(
                ValueError, match=f"no use for --attack={attack}:.*{WITHOUT[method]}"
            ):
                config(tmp_path, method=method, attack=attack)
        else:
            made = builders.method_arguments(config(tmp_path, method=method, attack=attack), 4, 8)
            assert type(made["attack"]) is attacks.ATTACKS[attack]
    flags = {"method": method, "attack_norm": "l2", "epsilon": 0.5}
    if METHODS[method].knows_linf_only:
        with pytest.raises(ValueError, match="knows the maximum norm only"):
            config(tmp_path, **flags)
    else:
        made = builders.method_arguments(config(tmp_path, **flags), 4, 8)
        assert made.get("attack", made.get("eval_attack")).norm == "l2"


def test_what_does_not_go_together(tmp_path):
    for flags, message in (
        ({"attack": "n_fgsm", "attack_norm": "l2"}, "--attack=n_fgsm exists in the maximum norm"),
        ({"method": "trades", "attack_random_start": "gaussian"}, "minimum at x' = x"),
    ):
        with pytest.raises(ValueError, match=message):
            config(tmp_path, **{"method": "pgdat", "epsilon": 0.5, **flags})
    with pytest.warns(UserWarning, match="makes no use of --attack_steps: .*--attack=n_fgsm"):
        builders.warn_of_ignored_flags(config(tmp_path, method="pgdat", attack="n_fgsm"))
    with pytest.warns(UserWarning, match=r"10 attack steps of length 0\.0075 .*epsilon=0\.5"):
        warn_of_short_steps(attacks.L2PGD(epsilon=0.5, step_size=0.0075))


def test_an_evaluation_takes_over_the_norm_of_the_run(trained_copy):
    path = trained_copy / "config.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps({**run, "attack_norm": "l2", "epsilon": 0.5}))
    found = EvalConfig(workdir=str(trained_copy)).completed()
    assert (found.norm, found.epsilon) == ("l2", (0.5,))
    given = EvalConfig(workdir=str(trained_copy), norm="linf", epsilon=(0.1,)).completed()
    assert (given.norm, given.epsilon) == ("linf", (0.1,))
    with pytest.raises(ValueError, match="--norm=linf also needs --epsilon.*--epsilon=0.0314"):
        EvalConfig(workdir=str(trained_copy), norm="linf").completed()


def test_the_papers_protocol_is_not_mixed_with_another_one(trained):
    run = str(trained.folder)
    found = EvalConfig(workdir=run, protocol="paper").completed()
    assert found.attacks == "clean,pgd,cw,nattack" and found.completed() == found
    for name, value in (("attacks", "clean,autoattack"), ("steps", 100), ("step_size", 0.5)):
        with pytest.raises(ValueError, match=f"protocol=paper has --{name}=.*received {value}"):
            EvalConfig(workdir=run, protocol="paper", **{name: value}).completed()
    with pytest.raises(ValueError, match="not those of --test_subset=stratified"):
        EvalConfig(
            workdir=run, corruptions="fog", corruption_dir="c", test_subset="stratified",
            test_examples=9,
        )  # fmt: skip
