"""What is set on a method after its steps were compiled acts as if it had been made with it."""

import numpy as np
import pytest

from rlfat_tf import METHODS, attacks
from rlfat_tf.core import compat
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.regularizers import LSP
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(8, seed=3)
ATTACK = attacks.LinfPGD(epsilon=0.1, steps=1)
ANY_METHOD = [
    ("fit", "attack", ATTACK.replace(epsilon=0.3)),
    ("evaluate", "eval_attack", ATTACK.replace(epsilon=0.5, loss="ce", random_start="none")),
    ("evaluate", "eval_attack", attacks.FGSM(epsilon=0.5)),
    ("fit", "attack_bn", "batch"),
    ("fit", "seed", 3),
    ("evaluate", "weight_decay", 0.1),
    ("evaluate", "regularizer", LSP(weight=2.0, neighbors=2)),
]
OF_A_METHOD = {
    "trades": [*ANY_METHOD, ("evaluate", "trades_lambda", 0.5)],
    "rlfat_p": [
        ("evaluate", "eta", 3.0),
        ("evaluate", "num_blocks", 4),
    ],
    "feature_scattering": [("evaluate", "label_smoothing", 0.1)],
    "local_global": [
        ("evaluate", "variant", "first_order"),
    ],
}


def make(name, *, eagerly=False, **arguments):
    given = {} if name == "feature_scattering" else {"attack": ATTACK}
    given.setdefault("eval_attack", ATTACK.replace(loss="ce", random_start="uniform"))
    robust = METHODS[name](reference.keras_net(batch_norm=True, seed=8), **{**given, **arguments})
    robust.compile(optimizer=keras.optimizers.SGD(0.0), metrics=["accuracy"], run_eagerly=eagerly)
    compat.build_optimizer(robust.optimizer, robust.trainable_variables)
    return robust


def logs_of(robust, call):
    """The logs of one epoch or evaluation, after which the model is what it was before."""
    before = robust.get_weights()
    compat.batches_seen(robust.optimizer).assign(0)
    if call == "fit":
        logs = robust.fit(IMAGES, LABELS, batch_size=4, shuffle=False, verbose=0).history
        logs = {name: value for name, (value,) in logs.items()}
    else:
        logs = robust.evaluate(IMAGES, LABELS, batch_size=4, verbose=0, return_dict=True)
    robust.set_weights(before)
    return logs


def functions_of(robust):
    return robust.train_function, robust.test_function


@pytest.fixture(scope="module")
def compiled():
    """One model of each method, and what it logs as it was made."""
    models = {name: make(name) for name in OF_A_METHOD}
    calls = {(name, call) for name in OF_A_METHOD for call, *_ in OF_A_METHOD[name]}
    return models, {(name, call): logs_of(models[name], call) for name, call in calls}


@pytest.mark.parametrize(
    ("method", "call", "attribute", "value"),
    [
        pytest.param(method, *change, id=f"{method}-{change[1]}-{i}")
        for method, changes in OF_A_METHOD.items()
        for i, change in enumerate(changes)
    ],
)
def test_an_attribute_that_is_set_later(compiled, method, call, attribute, value):
    models, before = compiled
    robust, default = models[method], getattr(models[method], attribute)
    functions = functions_of(robust)
    setattr(robust, attribute, value)
    assert all(old is not new for old, new in zip(functions, functions_of(robust)) if old)
    found = logs_of(robust, call)
    setattr(robust, attribute, default)
    expected = logs_of(make(method, eagerly=True, **{attribute: value}), call)  # no second graph
    assert set(found) == set(expected)
    for name, number in expected.items():
        np.testing.assert_allclose(found[name], number, rtol=1e-5, err_msg=name)
    assert found != before[method, call]


def test_an_attack_that_is_set_is_completed_as_the_constructor_does(compiled):
    robust = compiled[0]["trades"]
    kept = robust.attack
    robust.attack = attacks.LinfPGD(epsilon=0.2)
    assert robust.attack == METHODS["trades"](robust.model, attack=robust.attack).attack
    assert (robust.attack.loss, robust.attack.random_start) == ("kl", "gaussian")
    robust.attack = kept
    standard = METHODS["standard"](reference.keras_net())
    with pytest.raises(ValueError, match="Standard has no attack of training"):
        standard.attack = ATTACK


def test_what_cannot_be_set(compiled):
    robust = compiled[0]["trades"]
    with pytest.raises(ValueError, match="Unknown attack_bn 'training'"):
        robust.attack_bn = "training"
    assert robust.attack_bn == "eval"
    with pytest.raises(ValueError, match="trades_lambda"):
        robust.trades_lambda = -1.0
    assert robust.trades_lambda == 6.0
    with pytest.raises(ValueError, match="Unknown layer"):
        robust.regularizer = LSP(layer="nowhere")
    assert robust.regularizer is None
    regularizer = LSP()
    with pytest.raises(AttributeError, match=r"method.regularizer = LSP\(weight=...\)"):
        regularizer.weight = 3.0
    assert regularizer.weight == 1.0
