"""What an attack is told: ranges, defaults, equality, storage; nothing is attacked here."""

import copy
import dataclasses
import inspect
import math
import pickle

import numpy as np
import pytest

from rlfat_tf import attacks
from rlfat_tf.attacks.arguments import choice, count, fields_of, fixed
from rlfat_tf.attacks.base import Averaging, Bounded
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.classifier import Classifier

SOURCES = [Classifier(lambda images, bias=bias: images + bias, "mine") for bias in (0, 1)]
TRANSFER = attacks.Transfer(attack=attacks.MIM(epsilon=0.1, eot=3), source=SOURCES[0])

# Every kind of attack, with arguments away from their defaults.
KINDS = {**attacks.ATTACKS, "feature_scatter": attacks.FeatureScatter, "pgd_any": attacks.PGD}
OTHERS = {
    "fgsm": {"norm": "l2", "epsilon": 0.2, "eot": 2, "random_start": "uniform"},
    "pgd": {"epsilon": 0.1, "steps": 3, "random_start": "none", "restarts": 2, "loss": "dlr"},
    "pgd_l2": {"epsilon": 3, "steps": 3, "step_size": 0.2, "keep": "best"},
    "pgd_any": {"norm": "l2", "steps": 4, "loss": "margin"},
    "mim": {"norm": "l2", "steps": 5, "decay": 0.0, "loss": "margin"},
    "cw_tanh": {"epsilon": 0.1, "confidence": 1.5, "steps": 7},
    "cw_l2": {"binary_search_steps": 2, "learning_rate": 0.1, "initial_const": 10},
    "nattack": {"epsilon": 0.1, "population": 30, "sigma": 0.2, "chunk": 20},
    "spsa": {"epsilon": 0.1, "samples": 8, "delta": 0.1},
    "apgd": {"norm": "l2", "epsilon": 1.0, "loss": "dlr", "rho": 0.5},
    "apgd_t": {"targets": 3, "restarts": 2},
    "fab_t": {"norm": "l2", "alpha_max": 0.0, "eta": 1, "beta": 1},
    "square": {"norm": "l2", "queries": 50, "p_init": 0.1, "rescale_schedule": False},
    "autoattack": {"version": "custom", "attacks": ["fab_t"], "budget": 0.3, "eot": 4},
    "feature_scatter": {"epsilon": 0.1, "regularization": 0.1},
}
EXAMPLES = [kind() for kind in KINDS.values()]
EXAMPLES += [KINDS[name](**arguments) for name, arguments in OTHERS.items()]


@pytest.mark.parametrize("attack", EXAMPLES, ids=repr)
def test_an_attack_is_its_arguments(attack):
    kind, packed = type(attack), keras.saving.serialize_keras_object(attack)
    names = {field.name for field in fields_of(attack) if field.init}
    assert attack.get_config().keys() == names
    copies = [
        kind.from_config(attack.get_config()),
        keras.saving.deserialize_keras_object(packed),
        eval(repr(attack), {kind.__name__: kind}),  # noqa: S307 - the text is our own
        pickle.loads(pickle.dumps(attack)),  # noqa: S301
        copy.deepcopy(attack),
        attack.replace(),
    ]
    for again in copies:
        assert type(again) is kind and again == attack and hash(again) == hash(attack)
        assert repr(again) == repr(attack)
        assert "step_size" not in names or again.step_size == attack.step_size
    for name in names:
        assert f"{name}={getattr(attack, name)!r}" in repr(attack)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(attack, name, getattr(attack, name))
    with pytest.raises(AttributeError, match=f"'{kind.__name__}' object has no attribute 'eps'"):
        _ = attack.eps
    with pytest.raises(
        TypeError, match=f"{kind.__name__} takes .*by keyword: .*; received 0.1, ep"
    ):
        kind(0.1, eps=0.1)
    with pytest.raises(TypeError, match="received eps"):
        attack.replace(eps=0.1)


@pytest.mark.parametrize("name", OTHERS)
def test_every_argument_makes_another_attack(name):
    default = KINDS[name]()
    for argument, value in OTHERS[name].items():
        if name != "autoattack":
            one = default.replace(**{argument: value})
            assert one != default and getattr(one, argument) == value
    parameters = inspect.signature(KINDS[name]).parameters.values()
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    for parameter in parameters:  # the docstring tells of each
        assert f"\n    {parameter.name}: " in KINDS[name].__doc__


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_every_attack_is_stored_under_its_own_name(name):
    packed = keras.saving.serialize_keras_object(KINDS[name]())
    assert packed["registered_name"] == f"rlfat_tf>{KINDS[name].__name__}"


def test_the_defaults_are_the_literatures():
    eot = "For randomised classifiers"
    assert repr(attacks.APGD(epsilon=0.5)) == (
        "APGD(norm='linf', epsilon=0.5, eot=1, steps=100, restarts=1, rho=0.75, loss='ce')"
    )
    assert repr(attacks.APGDT(epsilon=0.5)) == (
        "APGDT(norm='linf', epsilon=0.5, eot=1, steps=100, restarts=1, rho=0.75, targets=9, "
        "order='logits')"
    )
    assert repr(attacks.CWL2()) == (
        "CWL2(confidence=0.0, steps=1000, binary_search_steps=9, learning_rate=0.01, "
        "initial_const=0.001)"
    )
    assert repr(attacks.FABT(epsilon=0.1)) == (
        "FABT(norm='linf', epsilon=0.1, steps=100, restarts=1, targets=9, alpha_max=0.1, "
        "eta=1.05, beta=0.9)"
    )
    assert repr(attacks.NAttack(epsilon=0.03)) == (
        "NAttack(epsilon=0.03, population=300, sigma=0.1, learning_rate=0.008, iterations=200, "
        "test_every=10, chunk=10)"
    )
    assert repr(attacks.SPSA(epsilon=0.03)) == (
        "SPSA(epsilon=0.03, steps=100, samples=128, delta=0.01, learning_rate=0.01, chunk=8)"
    )
    assert repr(attacks.Square(epsilon=0.1)) == (
        "Square(norm='linf', epsilon=0.1, queries=5000, p_init=0.8, restarts=1, "
        "rescale_schedule=True)"
    )
    assert repr(attacks.LinfPGD(epsilon=0.1)) == (
        "LinfPGD(epsilon=0.1, eot=1, steps=10, step_size=0.025, random_start=None, "
        "clip_start=False, restarts=1, keep='last', loss=None)"
    )
    assert eot in attacks.LinfPGD.__doc__


# --- What follows from other arguments ----------------------------------------------------------


def test_every_norm_has_its_own_default_radius():
    for kind in KINDS.values():
        if "norm" in kind().get_config():
            assert kind().epsilon == 8 / 255 and kind(norm="l2").epsilon == 0.5
            assert kind().replace(norm="l2").epsilon == 0.5
            assert kind(epsilon=0.1).replace(norm="l2").epsilon == 0.1
    assert attacks.LinfPGD().epsilon == attacks.SPSA().epsilon == 8 / 255
    assert attacks.L2PGD().epsilon == 0.5
    assert [attack().norm for attack in (attacks.LinfPGD, attacks.L2PGD)] == ["linf", "l2"]


@pytest.mark.parametrize("kind", [attacks.LinfPGD, attacks.PGD, attacks.MIM])
def test_a_step_size_left_open_follows_epsilon_and_steps(kind):
    attack = kind(epsilon=0.1, steps=10)
    stored = kind.from_config(attack.get_config())
    for one in (attack, stored, attack.replace(loss="dlr"), pickle.loads(pickle.dumps(attack))):  # noqa: S301
        assert one.step_size == 2.5 * 0.1 / 10
        assert one.replace(epsilon=0.2).step_size == 2.5 * 0.2 / 10
        assert one.replace(steps=5, epsilon=0.2).replace(steps=20).step_size == 2.5 * 0.2 / 20
    given = kind(epsilon=0.1, steps=10, step_size=0.025)  # the same number, but chosen
    assert given == attack and given.replace(epsilon=0.2, steps=20).step_size == 0.025
    assert given.replace(step_size=None, epsilon=0.2).step_size == 0.05
    assert kind(epsilon=0).step_size == 0 == kind(epsilon=0, step_size=0).step_size


def test_the_step_of_fgsm_is_epsilon():
    assert attacks.FGSM(epsilon=0.2).step_size == 0.2
    assert attacks.FGSM(epsilon=0.2).replace(epsilon=0.1).step_size == 0.1
    assert attacks.FGSM().steps == 1 and attacks.FGSM().random_start == "none"


# --- Kinds --------------------------------------------------------------------------------------


def test_kinds_of_pgd():
    for kind in (attacks.LinfPGD, attacks.L2PGD, attacks.FGSM):
        assert isinstance(kind(), kind) and isinstance(kind(), attacks.PGD)
    assert not isinstance(attacks.L2PGD(), attacks.LinfPGD)
    assert attacks.LinfPGD() != attacks.PGD()  # another class
    with pytest.raises(TypeError, match="received norm"):
        attacks.LinfPGD().replace(norm="l2")
    with pytest.raises(TypeError, match="received steps"):
        attacks.FGSM(steps=3)


def test_what_0_1_stored_is_read():
    names = "norm epsilon steps step_size random_start restarts keep loss eot".split()
    config = dict(zip(names, ["l2", 0.5, 3, 0.1, None, 1, "last", None, 1]))
    packed = {"module": "rlfat_tf.attacks.pgd", "class_name": "PGD", "config": config}
    packed["registered_name"] = "rlfat_tf>PGD"
    attack = keras.saving.deserialize_keras_object(packed)
    assert attack == attacks.PGD(norm="l2", epsilon=0.5, steps=3, step_size=0.1)
    assert attack.replace(epsilon=1.0).step_size == 0.1  # given, as far as the file tells


def test_transfer_is_its_attack_and_its_source():
    assert (TRANSFER.norm, TRANSFER.epsilon, TRANSFER.eot) == ("linf", 0.1, 3)
    assert TRANSFER.replace(epsilon=0.2).attack == TRANSFER.attack.replace(epsilon=0.2)
    assert TRANSFER.replace(source=SOURCES[1]).attack == TRANSFER.attack
    again = attacks.Transfer(attack=attacks.MIM(epsilon=0.1, eot=3), source=SOURCES[0])
    assert again == TRANSFER and hash(again) == hash(TRANSFER)
    assert TRANSFER.replace(source=SOURCES[1]) != TRANSFER
    assert TRANSFER.replace(steps=3) != TRANSFER
    assert "MIM(norm='linf', epsilon=0.1" in repr(TRANSFER) and "source='mine'" in repr(TRANSFER)
    with pytest.warns(UserWarning, match="CWL2 goes no further than the border"):
        unbounded = attacks.Transfer(attack=attacks.CWL2(), source=SOURCES[0])
    assert not hasattr(unbounded, "epsilon")
    for wrong in ({}, {"attack": attacks.MIM()}, {"attack": "mim", "source": SOURCES[0]}):
        with pytest.raises(ValueError, match="Expected the (attack that|classifier on)"):
            attacks.Transfer(**wrong)


def test_an_attack_of_ones_own():
    class Mine(Averaging):
        """Mine."""

        norm: str = fixed("l2")
        way: str = choice("up", ("up", "down"), "Where to.")

    class Further(Mine):
        tries: int = count(3, "How often.")

    assert repr(Mine()) == "Mine(epsilon=0.5, eot=1, way='up')"
    assert repr(Further(tries=4)) == "Further(epsilon=0.5, eot=1, way='up', tries=4)"
    assert "    way: Where to." in Mine.__doc__
    with pytest.raises(ValueError, match="Unknown way 'upp'. Did you mean 'up'"):
        Further(way="upp")
    with pytest.raises(TypeError, match="arguments of Old as annotated fields"):

        class Old(Bounded):
            def __init__(self, *, amount):
                super().__init__(amount=amount)


# --- Ranges -------------------------------------------------------------------------------------

INTEGER = "to be an integer of at least 1; received"
REFUSED = [
    *((kind, {"norm": "l1"}, "Unknown norm 'l1'") for kind in ("pgd_any", "apgd", "square")),
    *((kind, {"steps": 0}, f"steps {INTEGER} 0") for kind in ("pgd", "mim", "apgd", "spsa")),
    *((kind, {"steps": 0}, f"steps {INTEGER} 0") for kind in ("fab_t", "cw_l2", "cw_tanh")),
    *((kind, {"restarts": 1.5}, "restarts to be an integer") for kind in ("pgd", "apgd", "fab_t")),
    *((kind, {"eot": 0}, f"eot {INTEGER} 0") for kind in ("fgsm", "pgd", "mim", "apgd", "apgd_t")),
    ("pgd", {"steps": 2.5}, f"steps {INTEGER} 2.5"),
    ("pgd", {"steps": math.nan}, f"steps {INTEGER} nan"),
    ("pgd", {"steps": math.inf}, f"steps {INTEGER} inf"),
    ("pgd", {"steps": "ten"}, "steps to be a number; received 'ten'"),
    ("pgd", {"steps": None}, "steps to be a number; received None"),
    ("pgd", {"epsilon": "8/255"}, "epsilon to be a number; received '8/255'"),
    ("pgd", {"step_size": -0.1}, "step_size to be a finite number above 0; received -0.1"),
    ("pgd", {"step_size": 0.0}, "step_size to be a finite number above 0; received 0.0"),
    ("mim", {"step_size": math.inf}, "step_size"),
    ("pgd", {"random_start": "uniforms"}, "Did you mean 'uniform'"),
    ("pgd", {"keep": "first"}, "Unknown keep 'first'"),
    ("pgd", {"loss": "cee"}, "Unknown loss 'cee'. Did you mean 'ce'"),
    ("mim", {"loss": "kl"}, "Unknown loss 'kl'. .*Known: ce, dlr, margin"),
    ("mim", {"decay": -1.0}, "decay to be a finite number of at least 0"),
    ("apgd", {"loss": "dlrr"}, "Did you mean 'dlr'"),
    ("apgd", {"loss": "kl"}, "Unknown loss 'kl'"),
    ("apgd", {"rho": 0}, "rho to be a finite number above 0 and at most 1; received 0"),
    ("apgd_t", {"targets": 0}, f"targets {INTEGER} 0"),
    ("fab_t", {"targets": 1.5}, "targets"),
    ("fab_t", {"alpha_max": 1.1}, "alpha_max .* of at least 0 and at most 1; received 1.1"),
    ("fab_t", {"beta": -0.1}, "beta"),
    ("fab_t", {"eta": 0.9}, "eta to be a finite number of at least 1; received 0.9"),
    ("fab_t", {"eta": math.nan}, "eta"),
    ("square", {"queries": 0}, f"queries {INTEGER} 0"),
    ("square", {"p_init": 0}, "p_init .* above 0 and at most 1; received 0"),
    ("square", {"p_init": 1.2}, "p_init"),
    ("spsa", {"samples": 1.5}, "samples"),
    ("spsa", {"chunk": 0}, "chunk"),
    ("spsa", {"delta": 0.0}, "delta to be a finite number above 0; received 0.0"),
    ("spsa", {"learning_rate": -1}, "learning_rate"),
    ("nattack", {"population": 0}, f"population {INTEGER} 0"),
    ("nattack", {"iterations": 1.5}, "iterations"),
    ("nattack", {"test_every": 0}, "test_every"),
    ("nattack", {"sigma": 0.0}, "sigma"),
    ("nattack", {"learning_rate": math.inf}, "learning_rate"),
    ("cw_l2", {"binary_search_steps": 2.5}, "binary_search_steps"),
    ("cw_l2", {"learning_rate": 0}, "learning_rate to be a finite number above 0"),
    ("cw_tanh", {"initial_const": -1.0}, "initial_const"),
    ("cw_tanh", {"confidence": -1}, "confidence .* of at least 0; received -1"),
    ("feature_scatter", {"regularization": 0}, "regularization .* above 0"),
    ("feature_scatter", {"iterations": 0}, f"iterations {INTEGER} 0"),
    ("autoattack", {"version": "standart"}, "Did you mean 'standard'"),
    ("autoattack", {"version": "custom"}, "Expected names of attacks with version='custom'"),
    ("autoattack", {"attacks": ["square"]}, "only there"),
    ("autoattack", {"version": "custom", "attacks": ["sqare"]}, "Did you mean 'square'"),
    ("autoattack", {"budget": 0}, "budget to be a finite number above 0"),
    ("autoattack", {"budget": math.inf}, "budget"),
    ("autoattack", {"version": "rand", "eot": 0}, f"eot {INTEGER} 0"),
    ("autoattack", {"eot": 5}, "'standard' looks at single passes; .* version='rand'"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED)
def test_arguments_out_of_range(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        KINDS[name](**arguments)
    with pytest.raises(ValueError, match=message):
        KINDS[name]().replace(**arguments)


@pytest.mark.parametrize(
    "name", [name for name, kind in KINDS.items() if issubclass(kind, Bounded)]
)
def test_a_radius_out_of_range(name):
    linf = {"norm": "linf"} if "norm" in KINDS[name]().get_config() else {}
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"finite epsilon >= 0; received {wrong}"):
            KINDS[name](epsilon=wrong)
    if KINDS[name] is not attacks.L2PGD:
        for wrong in (8, 8.0, np.float32(8)):
            with pytest.raises(ValueError, match=r"received 8.*Did you mean 8/255\?"):
                KINDS[name](epsilon=wrong, **linf)
    if linf or KINDS[name] is attacks.L2PGD:
        assert KINDS[name](**(linf and {"norm": "l2"}), epsilon=3).epsilon == 3.0


@pytest.mark.parametrize("kind", [attacks.LinfPGD, attacks.MIM, attacks.L2PGD])
def test_a_step_in_units_of_0_to_255_is_refused(kind):
    if kind is attacks.L2PGD:
        assert kind(epsilon=3.0, step_size=2).step_size == 2
        return
    with pytest.raises(ValueError, match="step_size in units of pixels.*Did you mean 2 / 255"):
        kind(epsilon=8 / 255, step_size=2)
