"""Attacks around attacks as the attacks of a model: completed, saved, refused."""

import numpy as np
import pytest

import rlfat_tf
from rlfat_tf.attacks import FGSMRS, EightBit, LinfPGD, Targeted, Transfer
from rlfat_tf.attacks.wrapping import innermost
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation import AutoAttack, as_classifier, evaluate, transfer_matrix
from rlfat_tf.methods.attack_defaults import of_evaluation
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(4, seed=1)
PGD = LinfPGD(epsilon=0.1, steps=2, loss="ce", random_start="uniform")


@pytest.mark.parametrize(
    "attack",
    [
        EightBit(attack=PGD),
        Targeted(attack=PGD, target="random"),
        Targeted(attack=EightBit(attack=PGD), target=1),
        AutoAttack(epsilon=0.1),
        EightBit(attack=AutoAttack(epsilon=0.1)),
    ],
)
def test_a_saved_model_keeps_them(attack, tmp_path):
    trains = "attack" if innermost(attack) == PGD else "eval_attack"
    robust = rlfat_tf.PGDAT(reference.keras_net(), **{"attack": PGD, trains: attack})
    robust.save(tmp_path / "model.keras")
    loaded = getattr(rlfat_tf.load(tmp_path / "model.keras"), trains)
    assert repr(loaded) == repr(attack) and type(innermost(loaded)) is type(innermost(attack))
    packed = keras.saving.serialize_keras_object(attack)
    assert repr(keras.saving.deserialize_keras_object(packed)) == repr(attack)


def test_what_a_method_fills_in_reaches_the_attack_within():
    net = reference.keras_net()
    trained = rlfat_tf.TRADES(net, attack=EightBit(attack=LinfPGD(epsilon=0.1))).attack
    bare = rlfat_tf.TRADES(net, attack=LinfPGD(epsilon=0.1)).attack
    assert repr(innermost(trained)) == repr(bare) and isinstance(trained, EightBit)
    one_step = rlfat_tf.PGDAT(net, attack=EightBit(attack=FGSMRS(epsilon=0.1))).eval_attack
    expected = rlfat_tf.PGDAT(net, attack=FGSMRS(epsilon=0.1)).eval_attack
    assert repr(innermost(one_step)) == repr(expected) and isinstance(one_step, EightBit)
    aimed = Targeted(attack=LinfPGD(epsilon=0.1, steps=3), target="random")
    assert repr(of_evaluation(aimed)) == repr(of_evaluation(LinfPGD(epsilon=0.1, steps=3)))
    with pytest.raises(ValueError, match="has its minimum at x' = x"):
        rlfat_tf.TRADES(net, attack=EightBit(attack=LinfPGD(random_start="none")))


def test_refusals():
    net = reference.keras_net()
    aimless = Targeted(attack=LinfPGD(epsilon=0.1, steps=1))
    for refused in (
        lambda: rlfat_tf.PGDAT(net, attack=aimless),
        lambda: rlfat_tf.Standard(net, eval_attack=aimless),
        lambda: evaluate(net, (IMAGES, LABELS), attacks={"t": aimless}),
    ):
        with pytest.raises(ValueError, match="goes towards the labels, which are the true classes"):
            refused()
    with pytest.raises(ValueError, match="an attack away from the label; .*target=None"):
        transfer_matrix({"a": net, "b": net}, (IMAGES, LABELS), attack=aimless)
    transfer = Transfer(attack=LinfPGD(steps=1), source=as_classifier(net))
    for name in ("attack", "eval_attack"):
        with pytest.raises(ValueError, match="that can be saved with the model"):
            rlfat_tf.PGDAT(net, **{name: transfer})
    with pytest.raises(ValueError, match="Expected Targeted outside of EightBit"):
        EightBit(attack=Targeted(attack=LinfPGD(), target=1))
    with pytest.raises(ValueError, match="another name for the attack 'clean'"):
        evaluate(net, (IMAGES, LABELS), attacks={"clean": LinfPGD(steps=1)})
    with pytest.raises(ValueError, match="is an attack of training"):
        transfer_matrix(
            {"a": net, "b": net}, (IMAGES, LABELS), attack=rlfat_tf.attacks.NFGSM(epsilon=0.1)
        )


def test_short_steps_of_every_radius_are_found():
    with pytest.warns(UserWarning, match="together shorter than epsilon 0.2"):
        report = evaluate(
            reference.keras_net(), (IMAGES, LABELS), attacks="pgd", epsilon=[0.02, 0.2, 0.3],
            step_size=0.004, steps=10,
        )  # fmt: skip
    assert [found["check"] for found in report["warnings"]].count("short-steps") == 1
    assert np.isfinite(report["clean_accuracy"])
