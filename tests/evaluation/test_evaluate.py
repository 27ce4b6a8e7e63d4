"""The report of an evaluation: what it counts, what it refuses, that it adds up."""

import re

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks, data, evaluation
from rlfat_tf.attacks.pixels import EightBit
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.examples import as_arrays
from rlfat_tf.evaluation.plan import make_plan
from rlfat_tf.evaluation.report import plots
from rlfat_tf.evaluation.report.writing import show, write_report
from rlfat_tf.evaluation.runner import AttackRunner
from tests import reference
from tests.evaluation.test_classifier import Foreign

IMAGES, _, _ = reference.images_and_labels(30, seed=1)
NET = reference.keras_net(seed=4)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
LABELS[::7] = (LABELS[::7] + 1) % 3
WEAK = attacks.LinfPGD(epsilon=0.03, steps=2)
BATCHES = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(7)
FIVE = evaluation.Classifier(lambda x: tf.zeros([len(x), 5]), "five")
SEVEN = evaluation.Classifier(lambda x: tf.reshape(x, [-1, 7 * 7 * 3])[:, :3], "seven")
STRONG = attacks.LinfPGD(epsilon=0.03, steps=10, keep="best")


def test_the_figures_add_up():
    report = evaluation.evaluate(
        NET, (IMAGES, LABELS), attacks={"weak": WEAK, "strong": STRONG}, checked=False
    )
    assert report["examples"] == 30 and report["epsilon"] == 0.03
    assert report["clean_accuracy"] == pytest.approx(25 / 30)
    low, high = report["clean_interval"]
    assert low < 25 / 30 < high
    shares = {name: result["robust_accuracy"] for name, result in report["attacks"].items()}
    assert list(shares) == ["weak", "strong"]
    assert report["worst_case_accuracy"] <= min(shares.values()) <= report["clean_accuracy"]
    broken = report["attacks"]["strong"]["broken"]
    assert shares["strong"] == pytest.approx((25 - broken) / 30)
    assert "steps=10" in report["attacks"]["strong"]["attack"]
    assert report["warnings"] == []


def test_the_worst_case_never_rises_when_an_attack_is_added():
    """Not by a stronger one, which lowers it, and not by a weaker one after that."""
    chosen, shares = {}, [1.0]
    for name, epsilon in {"weak": 0.02, "strong": 0.1, "weakest": 0.01}.items():
        chosen[name] = attacks.FGSM(epsilon=epsilon)
        report = evaluation.evaluate(NET, (IMAGES, LABELS), attacks=chosen, checked=False)
        shares.append(report["worst_case_accuracy"])
    assert shares[0] > shares[1] > shares[2] == shares[3]
    assert report["attacks"]["weakest"]["robust_accuracy"] > shares[3]


def test_several_epsilons_make_a_curve():
    report = evaluation.evaluate(
        NET, (IMAGES, LABELS), attacks="fgsm,pgd", epsilon=[0.02, 0.15], steps=5, checked=False
    )
    assert [point["epsilon"] for point in report["curve"]] == [0.02, 0.15]
    first, second = report["curve"]
    assert report["attacks"] == first["attacks"] and report["epsilon"] == 0.02
    assert report["worst_case_accuracy"] == first["worst_case_accuracy"]
    for name in ("fgsm", "pgd"):
        assert (
            second["attacks"][name]["robust_accuracy"] < first["attacks"][name]["robust_accuracy"]
        )


@pytest.mark.parametrize(
    "given",
    [
        lambda: (IMAGES, LABELS),
        lambda: (IMAGES, np.eye(3)[LABELS]),
        lambda: (IMAGES, LABELS[:, None]),
        lambda: data.Arrays(IMAGES, LABELS),
        lambda: BATCHES,
    ],
    ids=["pair", "one-hot", "column", "Arrays", "batches"],
)
def test_any_kind_of_data(given):
    images, labels = as_arrays(given())
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == np.float32 and labels.dtype == np.int32


def test_8_bit_images_are_scaled():
    images, _ = as_arrays((np.full((1, 2, 2, 1), 51, np.uint8), [0]))
    np.testing.assert_allclose(images, 0.2)


def test_autoattack_reads_like_the_literature(tmp_path):
    attack = evaluation.AutoAttack(epsilon=0.03, budget=0.01)
    report = attack.evaluate(NET, (IMAGES, LABELS), report_dir=tmp_path, checked=False)
    result = report["attacks"]["autoattack"]
    assert list(result["components"]) == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert report["worst_case_accuracy"] == result["robust_accuracy"]
    given = [part["examples"] for part in result["components"].values()]
    assert given[0] == 25 and given == sorted(given, reverse=True)
    adversarial = attack(NET, IMAGES, LABELS, seed=0)
    right = np.argmax(NET(adversarial), -1) == LABELS
    assert abs(right.mean() - result["robust_accuracy"]) < 0.1
    again = attack.evaluate(NET, (IMAGES, LABELS), report_dir=tmp_path, checked=False)
    assert again == report, "finished attacks are not run again, seconds included"


def test_what_numpy_counts_and_names_is_as_pythons(tmp_path):
    report = evaluation.evaluate(
        NET, (IMAGES[:4], LABELS[:4]), attacks="", targeted="b", seed=np.int64(1),
        class_names=np.array(["a", "b", "c"]), batch_size=4.0, report_dir=tmp_path, checked=False,
    )  # fmt: skip
    assert report["seed"] == 1 and type(report["seed"]) is int
    assert {type(each["name"]) for each in report["classes"]} == {str}


def test_every_norm_has_its_own_default_radius():
    pair = IMAGES[:4], LABELS[:4]
    for norm, epsilon in (("linf", 8 / 255), ("l2", 0.5)):
        report = evaluation.evaluate(NET, pair, attacks="fgsm", norm=norm, checked=False)
        assert (report["norm"], report["epsilon"]) == (norm, epsilon)
        assert f"epsilon={epsilon}," in report["attacks"]["fgsm"]["attack"]
        ((radius, made),) = make_plan("pgd,mim,square", None, norm, {})  # without running them
        assert radius == epsilon
        assert all((each.norm, each.epsilon) == (norm, epsilon) for each in made.values())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"attacks": "pgd,autoatack"}, "Did you mean 'autoattack'"),
        ({"attacks": "pgd,pgd"}, "there twice"),
        ({"attacks": "nattack", "norm": "l2"}, "exists in the norm linf only"),
        ({"attacks": "transfer"}, "--source_model"),
        ({"epsilon": 8}, "Did you mean 8/255"),
        ({"epsilon": [0.1, 0.1]}, "several different ones"),
        ({"batch_size": 0}, "batch_size to be an integer of at least 1; received 0"),
        ({"batch_size": None}, "batch_size to be a number; received None"),
        ({"report_dir": __file__}, "Expected report_dir to be a folder; .* is a file"),
        ({"seed": 1.7}, "A seed is an integer .*; received 1.7"),
        (
            {"attacks": "autoattack", "version": "custom", "custom": "apgd_ce,square"},
            "a tuple of names, .*; received 'apgd_ce,square'",
        ),
        (
            {"data": (IMAGES * 255, LABELS)},
            r"Expected images in \[0, 1\] .divide 8-bit images by 255",
        ),
        ({"data": (IMAGES, LABELS + 1)}, "Expected labels in 0 ... 2"),
        ({"data": (IMAGES, LABELS + 0.7)}, "labels that are whole numbers.* received 2.7"),
        ({"data": (IMAGES, np.array(["a", "b", "c"])[LABELS])}, "received strings, for instance"),
        ({"data": (IMAGES, None)}, "received images only"),
        ({"data": (IMAGES, LABELS, LABELS)}, "received weights of the examples as well"),
        ({"data": BATCHES.map(lambda x, y: (x, y, y))}, "received weights of the examples as well"),
        ({"data": BATCHES.map(lambda x, y: {"image": x, "label": y})}, "as_supervised=True"),
        ({"data": {"image": IMAGES, "label": LABELS}}, "as_supervised=True"),
        ({"data": BATCHES.unbatch()}, r"received single ones, .*dataset.batch\(128\)"),
        ({"data": BATCHES.map(lambda x, y: ((x, x), y))}, "tuple of several inputs"),
        ({"data": BATCHES.map(lambda x, y: (255 * x, y))}, "divide 8-bit images by 255"),
        ({"data": (IMAGES, LABELS[:3])}, "as many labels"),
        ({"data": (IMAGES[:0], LABELS[:0])}, "at least one"),
        (
            {"data": (np.zeros([8, 3, 32, 32], np.float32), LABELS[:8])},
            r"looks like \[batch, channels, height, width\].*transpose\(x, \[0, 3, 1, 2\]\)",
        ),
        ({"data": (IMAGES[..., 0], LABELS)}, r"images\[..., None\]"),
        ({"data": (IMAGES[:, 1:], LABELS)}, r"takes images of shape .*; received images of shape"),
        ({"data": BATCHES.repeat()}, "a data set that ends"),
        ({"attack": "pgd"}, "setting of an evaluation: 'attack'. Did you mean 'attacks'"),
        ({"attacks": {"mine": WEAK}, "epsilon": 0.1, "steps": 5}, "received epsilon, steps beside"),
    ],
)
def test_what_is_refused_before_any_work(changes, message):
    arguments = {"data": (IMAGES, LABELS), "attacks": "fgsm", **changes}
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(NET, **arguments)


def end(*outputs, **named):
    """A network with these outputs, of one hidden layer."""
    entry = keras.Input(reference.SHAPE)
    hidden = keras.layers.Flatten()(entry)
    found = {name: layer(hidden) for name, layer in named.items()}
    return keras.Model(entry, found or [layer(hidden) for layer in outputs], name="net")


DENSE = keras.layers.Dense


@pytest.mark.parametrize(
    "model, message",
    [
        (
            lambda: end(DENSE(1, activation="sigmoid")),
            "The model 'net' has one output, but",
        ),
        (
            lambda: keras.Model(
                inputs := [keras.Input(reference.SHAPE), keras.Input(reference.SHAPE)],
                NET(keras.layers.Add()(inputs)),
            ),
            "Expected a classifier with one input, the images; .* has 2",
        ),
        (lambda: end(DENSE(3), DENSE(3)), "Expected one output, the logits.* received 2 outputs"),
        (lambda: end(a=DENSE(3), b=DENSE(3)), r"received the entries \['a', 'b'\]"),
        (lambda: end(keras.layers.Reshape((1, 1, 60))), r"End the model in Flatten\(\)"),
        (
            lambda: lambda x: tf.numpy_function(lambda a: a[:, 0, :3, 0], [x], tf.float32),
            "State it",
        ),
    ],
)
def test_models_without_logits_are_refused_in_words(model, message):
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(model(), (IMAGES, LABELS), attacks="square", checked=False)


def test_a_dictionary_with_logits_is_a_classifier():
    net = end(logits=DENSE(3), features=DENSE(5))
    expected = float((np.argmax(net(IMAGES)["logits"], -1) == LABELS).mean())
    report = evaluation.evaluate(net, (IMAGES, LABELS), attacks="", checked=False)
    assert report["clean_accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"attacks": ["pgd"]}, r"'pgd,autoattack', or as attack objects .* received \['pgd'\]"),
        ({"attacks": WEAK}, r"attack objects by name.* received LinfPGD\(epsilon=0.03"),
        ({"attacks": {"pgd": "pgd"}}, "attack objects by name"),
        ({"attacks": {1: WEAK}}, "attack objects by name, .* received {1: LinfPGD"),
        ({"attacks": {"weak": WEAK, 1: WEAK}}, "attack objects by name"),
        ({"attacks": {"": WEAK}}, "attack objects by name"),
        ({"data": data.from_arrays(IMAGES, LABELS, IMAGES, LABELS)}, "Pass data.test"),
        ({"data": IMAGES}, r"Expected \(images, labels\).*; received ndarray"),
    ],
)
def test_what_is_of_a_wrong_kind(changes, message):
    with pytest.raises(TypeError, match=message):
        evaluation.evaluate(NET, **{"data": (IMAGES, LABELS), **changes})


def test_no_attack_for_accuracy():
    with pytest.raises(TypeError, match="Expected an attack, such as .* received 'pgd'"):
        evaluation.clean_and_adversarial_accuracy(NET, BATCHES, "pgd")


def test_a_model_without_gradients_is_evaluated_by_black_boxes_only(tmp_path):
    blind = Foreign(break_gradients=True).save(tmp_path / "blind")
    with pytest.raises(ValueError, match="gives no gradient .* nattack, spsa, transfer, square"):
        evaluation.evaluate(blind, (IMAGES, LABELS), attacks="square,pgd")
    labels = np.argmax(blind.logits_fn(tf.constant(IMAGES)), -1)
    report = evaluation.evaluate(
        blind, (IMAGES, labels), attacks="square", epsilon=0.1, budget=0.02, checked=False
    )
    assert report["clean_accuracy"] == 1
    assert report["attacks"]["square"]["robust_accuracy"] < 1


@pytest.mark.parametrize(
    "attack, message",
    [
        (attacks.Targeted(attack=attacks.FGSM(), target=12), r"classes 0 \.\.\. 2; received 12"),
        (
            attacks.Transfer(attack=WEAK, source=SEVEN),
            r"source of late that takes images of shape \[6, 5, 2\].*seven does not",
        ),
        (
            attacks.Transfer(attack=WEAK, source=FIVE),
            "a source of late with the 3 classes of the evaluated classifier; five has 5",
        ),
    ],
)
def test_attacks_that_do_not_fit_are_refused_before_the_first_one(attack, message, monkeypatch):
    monkeypatch.setattr(AttackRunner, "attack", lambda *_, **__: pytest.fail("an attack ran"))
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(NET, (IMAGES, LABELS), attacks={"pgd": WEAK, "late": attack})


def test_the_attack_and_not_its_name_says_whether_it_needs_gradients():
    no_gradients = evaluation.Classifier(lambda x: tf.stop_gradient(NET(x)), "blind")
    square = attacks.Square(epsilon=0.1, queries=5)
    transfer = attacks.Transfer(attack=WEAK, source=evaluation.as_classifier(NET))
    chosen = {"pgd": square, "autoattack": transfer}
    report = evaluation.evaluate(no_gradients, (IMAGES, LABELS), attacks=chosen, checked=False)
    assert set(report["attacks"]) == {"pgd", "autoattack"}
    for needing in (attacks.AutoAttack(), EightBit(attack=WEAK)):
        with pytest.raises(ValueError, match="gives no gradient .* which mine need"):
            evaluation.evaluate(no_gradients, (IMAGES, LABELS), attacks={"mine": needing})


def test_unbounded_attacks_report_their_norm_and_not_the_worst_case():
    report = evaluation.evaluate(
        NET, (IMAGES[:8], LABELS[:8]), attacks="fgsm,cw_l2", epsilon=0.0, checked=False
    )
    assert report["worst_case_accuracy"] == report["clean_accuracy"]
    assert [result["bounded"] for result in report["attacks"].values()] == [True, False]
    assert report["attacks"]["cw_l2"]["robust_accuracy"] < report["clean_accuracy"]
    assert report["attacks"]["cw_l2"]["median_l2"] > 0


def test_the_attack_and_not_its_name_says_whether_it_is_bounded():
    chosen = {
        "mine": attacks.CWL2(steps=60, binary_search_steps=2, learning_rate=0.1, initial_const=10)
    }
    pair = IMAGES[:8], LABELS[:8]
    report = evaluation.evaluate(NET, pair, attacks=chosen, checked=False)
    assert report["attacks"]["mine"]["robust_accuracy"] < report["clean_accuracy"]
    assert report["attacks"]["mine"]["bounded"] is False
    assert report["worst_case_accuracy"] is report["worst_case_interval"] is None
    chosen = {**chosen, "cw_l2": attacks.FGSM(epsilon=0.03)}
    report = evaluation.evaluate(NET, pair, attacks=chosen, checked=False)
    assert report["attacks"]["cw_l2"]["bounded"] is True
    assert report["worst_case_accuracy"] == report["attacks"]["cw_l2"]["robust_accuracy"]


def test_without_a_bounded_attack_there_is_no_worst_case(tmp_path):
    report = evaluation.evaluate(NET, (IMAGES, LABELS), attacks="", checked=False)
    assert report["worst_case_accuracy"] is report["worst_case_interval"] is None
    assert re.search(r"worst case +no bounded untargeted attack ran", show(report))
    page = write_report(report, tmp_path, {"attacks": plots.attack_bars(report)})
    assert "\N{EN DASH}<small>no bounded untargeted attack ran</small>" in page.read_text(
        encoding="utf-8"
    )
    assert '"worst_case_accuracy": null' in (tmp_path / "report.json").read_text(encoding="utf-8")
    curve = [{**report, "epsilon": epsilon} for epsilon in (0.1, 0.2)]
    assert plots.robustness_curve(curve).axes[0].get_lines() == []


@pytest.mark.parametrize(
    "others, norm, epsilon",
    [
        ({"l2": attacks.L2PGD(epsilon=0.03, steps=1)}, None, None),
        ({"half": attacks.FGSM(epsilon=0.015)}, "linf", None),
        ({"cw_l2": attacks.CWL2(steps=1, binary_search_steps=1)}, "linf", 0.03),
    ],
)
def test_norm_and_epsilon_are_those_that_all_attacks_share(others, norm, epsilon, tmp_path):
    report = evaluation.evaluate(
        NET, (IMAGES, LABELS), attacks={"one": attacks.FGSM(epsilon=0.03), **others},
        checked=norm is None,  # the checks can do without a norm; with one, others run them
    )  # fmt: skip
    assert (report["norm"], report["epsilon"]) == (norm, epsilon)
    assert (norm or "several norms") in show(report).splitlines()[0]
    text = write_report(report, tmp_path).read_text(encoding="utf-8")
    assert ("Several norms, by attack" in text) == (norm is None)


def test_a_reduced_budget_is_a_warning():
    settings = {"attacks": "autoattack", "budget": 0.01, "version": "custom", "epsilon": 0.03}
    # Without gradients, so that the checks of the model take no time.
    blind = evaluation.Classifier(lambda x: tf.stop_gradient(NET(x)), "blind")
    with pytest.warns(UserWarning, match="autoattack runs with 0.01 times .*#reduced-budget"):
        report = evaluation.evaluate(blind, (IMAGES, LABELS), custom=("square",), **settings)
    assert "reduced-budget" in [found["check"] for found in report["warnings"]]


def test_transfer_from_the_same_network_is_the_white_box_attack():
    same = reference.keras_net(seed=4)
    other = evaluation.as_classifier(reference.keras_net(seed=9))
    results = {}
    for name, source, chosen in (
        ("same", evaluation.as_classifier(same), "pgd,transfer"),
        ("other", other, "transfer"),
    ):
        report = evaluation.evaluate(
            NET, (IMAGES, LABELS), attacks=chosen, epsilon=0.1, source=source, checked=False
        )
        results[name] = {k: v["robust_accuracy"] for k, v in report["attacks"].items()}
    assert abs(results["same"]["transfer"] - results["same"]["pgd"]) < 0.1
    assert results["other"]["transfer"] > results["same"]["transfer"]
