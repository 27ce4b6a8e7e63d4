"""Every classifier on the examples of every other, and several as one source."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks, evaluation
from rlfat_tf.attacks.ensemble import Ensemble
from rlfat_tf.attacks.pixels import EightBit
from rlfat_tf.evaluation.classifier import Classifier
from tests import reference

IMAGES, _, _ = reference.images_and_labels(90, seed=1)
FLAT = IMAGES.reshape(len(IMAGES), -1)
WEIGHTS = {
    name: np.random.default_rng(seed).normal(size=(FLAT.shape[1], 2)).astype(np.float32)
    for name, seed in (("a", 0), ("b", 1))
}
WEIGHTS["b"] += WEIGHTS["a"]  # they have something in common
LABELS = np.argmax((FLAT - 0.5) @ (WEIGHTS["a"] + WEIGHTS["b"]), -1).astype(np.int32)
STEP = attacks.FGSM(epsilon=0.05)


def linear(name, sign=1.0):
    """A linear classifier; with sign -1 its gradient points the wrong way, its logits are right."""

    def logits(images):
        flat = tf.reshape(images, [-1, FLAT.shape[1]]) - 0.5
        found = flat @ WEIGHTS[name]
        return tf.stop_gradient((1 - sign) * found) + sign * found

    return logits


def right(name, images):
    return np.argmax((images.reshape(len(images), -1) - 0.5) @ WEIGHTS[name], -1) == LABELS


def made_on(name):
    """FGSM of a linear classifier of two classes: every pixel towards the other class."""
    weights = WEIGHTS[name]
    towards = np.sign((weights[:, 1] - weights[:, 0])[None] * np.where(LABELS == 0, 1, -1)[:, None])
    return np.clip(IMAGES + 0.05 * towards.reshape(IMAGES.shape), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def found():
    models = {name: linear(name) for name in WEIGHTS}
    return evaluation.transfer_matrix(models, (IMAGES, LABELS), STEP, batch_size=32)


def test_the_matrix_is_that_of_the_definition(found):
    assert found["names"] == ["a", "b"] and found["examples"] == 90
    for target in WEIGHTS:
        clean = right(target, IMAGES)
        assert found["clean"][target] == pytest.approx(clean.mean())
        for source in WEIGHTS:
            robust = clean & right(target, made_on(source))
            assert found["robust"][source][target] == pytest.approx(robust.mean())
            success = 1 - robust.sum() / clean.sum()
            assert found["success"][source][target] == pytest.approx(success)
    assert found["robust"]["a"]["a"] < found["robust"]["b"]["a"] < found["clean"]["a"]
    assert found["warnings"] == [] and "all examples" in found["convention"]


def test_the_diagonal_is_what_an_evaluation_finds(found):
    report = evaluation.evaluate(
        linear("a"), (IMAGES, LABELS), attacks={"fgsm": STEP}, checked=False
    )
    assert report["worst_case_accuracy"] == pytest.approx(found["robust"]["a"]["a"])


def test_masked_gradients_are_a_finding():
    models = {"honest": linear("a"), "masked": linear("a", sign=-1.0)}
    with pytest.warns(UserWarning, match="made on honest leave .* of masked robust"):
        found = evaluation.transfer_matrix(models, (IMAGES, LABELS), STEP)
    assert [w["check"] for w in found["warnings"]] == ["black-box"]
    assert found["robust"]["honest"]["masked"] == pytest.approx(found["robust"]["honest"]["honest"])
    assert found["robust"]["masked"]["masked"] == pytest.approx(found["clean"]["masked"])


def test_an_ensemble_has_the_mean_of_the_logits():
    both = evaluation.ensemble([linear(name) for name in WEIGHTS])
    expected = (FLAT - 0.5) @ (WEIGHTS["a"] + WEIGHTS["b"]) / 2
    np.testing.assert_allclose(both.logits_fn(IMAGES), expected, atol=1e-5)
    transfer = attacks.Transfer(attack=STEP, source=both)
    report = evaluation.evaluate(
        linear("a"), (IMAGES, LABELS), attacks={"transfer": transfer}, checked=False
    )
    weights = WEIGHTS["a"] + WEIGHTS["b"]
    WEIGHTS["mean"] = weights
    robust = right("a", IMAGES) & right("a", made_on("mean"))
    del WEIGHTS["mean"]
    assert report["worst_case_accuracy"] == pytest.approx(robust.mean())
    assert "mean of logits, logits" in report["attacks"]["transfer"]["attack"]


def test_what_does_not_fit_is_refused():
    data = IMAGES, LABELS
    with pytest.raises(ValueError, match="at least two models"):
        evaluation.transfer_matrix({"a": linear("a")}, data, STEP)
    with pytest.raises(TypeError, match="Expected an attack"):
        evaluation.transfer_matrix({"a": linear("a"), "b": linear("b")}, data, "pgd")
    for models in ([linear("a"), linear("b")], {1: linear("a"), 2: linear("b")}):
        with pytest.raises(TypeError, match=r"Expected models by name, .*; received [\[{]"):
            evaluation.transfer_matrix(models, data, STEP)
    more = Classifier(lambda images: tf.reshape(images, [len(images), -1])[:, :3], "three")
    with pytest.raises(ValueError, match="same classes; received {'a': 2, 'b': 3}"):
        evaluation.transfer_matrix({"a": linear("a"), "b": more}, data, STEP)
    with pytest.raises(ValueError, match="same classes; received {'logits': 2, 'three': 3}"):
        evaluation.ensemble([linear("a"), more]).logits_fn(tf.constant(IMAGES[:1]))
    sizes = [Classifier(more.logits_fn, str(side), (side, side, 1)) for side in (8, 9)]
    with pytest.raises(ValueError, match=r"same images.*'8': '\(8, 8, 1\)', '9'"):
        evaluation.ensemble(sizes)
    with pytest.raises(ValueError, match="at least one classifier"):
        evaluation.ensemble([])
    assert evaluation.ensemble([more]) is more


def blind(images):
    return tf.stop_gradient(linear("b")(images))


class Parts(Ensemble):
    """FGSM, then the same towards the least likely class."""

    components = {"away": STEP, "towards": attacks.Targeted(attack=STEP, target="least_likely")}


@pytest.mark.parametrize(
    "attack, changes, message",
    [
        (Parts.components["towards"], {}, "away from the label; .* failures are no robustness"),
        (attacks.Targeted(attack=STEP), {}, "Hand over the attack within it"),
        (Parts(), {}, "failures are no robustness"),
        (EightBit(attack=STEP), {}, r"images of 8-bit pixels, n / 255, .* of a level: 0\.\d+\.$"),
        (STEP, {"models": {"a": linear("a"), "b": blind}}, "b gives no gradient .* FGSM need"),
        (STEP, {"batch_size": None}, "batch_size to be a number; received None"),
        (STEP, {"seed": 0.5}, "A seed is an integer .* received 0.5"),
    ],
)
def test_what_cannot_be_transferred_is_refused_before_any_work(attack, changes, message):
    arguments = {"models": {"a": linear("a"), "b": linear("b")}, **changes}
    with pytest.raises(ValueError, match=message):
        evaluation.transfer_matrix(data=(IMAGES, LABELS), attack=attack, **arguments)


def test_models_of_several_float_types_go_together(found):
    def double(images):
        return tf.cast(linear("b")(images), tf.float64)

    both = evaluation.ensemble([linear("a"), double])
    expected = (FLAT - 0.5) @ (WEIGHTS["a"] + WEIGHTS["b"]) / 2
    assert both.logits_fn(IMAGES).dtype == tf.float64
    np.testing.assert_allclose(both.logits_fn(IMAGES), expected, atol=1e-5)
    models = {"a": linear("a"), "b": double}
    assert evaluation.transfer_matrix(models, (IMAGES, LABELS), STEP) == found


STOPPING = {
    "mim": attacks.MIM(epsilon=0.3, steps=3),
    "apgd": attacks.APGD(epsilon=0.3, steps=5),
    "square": attacks.Square(epsilon=0.3, queries=60),
    "spsa": attacks.SPSA(epsilon=0.3, steps=5, samples=20, learning_rate=0.05),
    "autoattack": attacks.AutoAttack(
        epsilon=0.3, version="custom", attacks=("apgd_ce", "fab_t"), budget=0.05
    ),
}


@pytest.mark.parametrize("attack", STOPPING.values(), ids=STOPPING)
def test_what_the_source_alone_gets_wrong_is_attacked_for_the_others(attack):
    """The source prefers class 0, so that it misclassifies many images of class 1 as they are."""
    target = linear("a")

    def biased(images):
        return target(images) + [3.0, 0.0]

    correct = np.argmax(target(IMAGES), -1) == LABELS
    alone = correct & (np.argmax(biased(IMAGES), -1) != LABELS)
    assert alone.sum() > 10
    source = Classifier(biased, "biased")
    found = attacks.Transfer(attack=attack, source=source)(target, IMAGES, LABELS, seed=0)
    assert (np.abs(found - IMAGES).max((1, 2, 3))[alone] > 0.01).all()
    if type(attack) is not attacks.MIM:
        return
    models = {"biased": source, "target": target}
    matrix = evaluation.transfer_matrix(models, (IMAGES, LABELS), attack, batch_size=90)
    still = np.mean(correct & (np.argmax(target(found), -1) == LABELS))
    assert matrix["robust"]["biased"]["target"] == still
    assert matrix["robust"]["target"]["target"] == still  # the bias changes no gradient's sign


def test_an_attack_that_goes_to_the_end_keeps_it():
    end = attacks.MIM(epsilon=0.3).to_the_end()
    assert not end.stops and not end.replace(epsilon=0.1).stops and end.replace(epsilon=0.1).steps
    assert attacks.MIM(epsilon=0.3).stops and end == attacks.MIM(epsilon=0.3)
    pgd = attacks.LinfPGD(epsilon=0.3)
    assert pgd.to_the_end() is pgd
    wrapped = attacks.Targeted(attack=attacks.MIM(epsilon=0.3), target=1).to_the_end()
    for again in (wrapped, wrapped.replace(epsilon=0.1)):
        assert not again.stops and not again.attack.stops
    grid = EightBit(attack=pgd)
    assert grid.to_the_end() is grid
    assert not attacks.Targeted(attack=pgd, target=1).to_the_end().stops
    for nearest in (attacks.FABT(epsilon=0.3), attacks.CWL2(), attacks.NAttack(epsilon=0.3)):
        assert nearest.to_the_end() is nearest
        with pytest.warns(UserWarning, match="no further than the border.*use PGD, MIM or APGD"):
            attacks.Transfer(attack=nearest, source=Classifier(linear("a"), "a"))
