"""The settings of an evaluation reach its attacks."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.evaluation import evaluate, suite
from rlfat_tf.run.eval_config import EvalConfig
from tests import reference

AVERAGING = ("fgsm", "mim", "pgd", "cw", "transfer", "fast", "apgd_ce", "apgd_dlr", "apgd_t")
SOURCE = type("Source", (), {"name": "net", "logits_fn": None})()


@pytest.mark.parametrize("name", AVERAGING)
def test_passes_of_attacks_that_average(name, recwarn):
    assert suite.make(name, suite.Settings(source=SOURCE)).eot == 1
    assert suite.make(name, suite.Settings(source=SOURCE, eot=7)).eot == 7
    assert not recwarn


def test_every_other_attack_warns():
    for name in set(suite.EVALUATION_ATTACKS) - {*AVERAGING}:
        with pytest.warns(UserWarning, match=f"{name} does not average.*eot=7 changes nothing"):
            suite.make(name, suite.Settings(eot=7))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            suite.make(name, suite.Settings(eot=1))


def test_passes_of_autoattack():
    with pytest.warns(UserWarning, match="--autoattack=rand"):
        standard = suite.make("autoattack", suite.Settings(eot=7))
    assert [getattr(part, "eot", 1) for part in standard.components.values()] == [1, 1, 1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for eot, passes in ((None, 20), (7, 7), (1, 1)):
            rand = suite.make("autoattack", suite.Settings(version="rand", eot=eot))
            assert [part.eot for part in rand.components.values()] == [passes, passes]
        settings = suite.Settings(version="custom", custom=("apgd_t",), eot=7)
        assert suite.make("autoattack", settings).components["apgd_t"].eot == 7
    with pytest.warns(UserWarning, match="^fab_t, square of autoattack do not average"):
        several = ("apgd_t", "fab_t", "square")
        suite.make("autoattack", suite.Settings(version="custom", custom=several, eot=7))


@pytest.mark.parametrize("steps, size", [(20, 0.01), (10, 0.01), (5, 0.05), (1, 0.25)])
def test_the_steps_reach_the_border_of_the_ball_however_few_they_are(steps, size):
    assert suite.Settings(epsilon=0.1, steps=steps).step_size == pytest.approx(size)
    assert suite.Settings(epsilon=0.1, steps=steps, step_size=0.02).step_size == 0.02
    assert suite.make("pgd", suite.Settings(epsilon=0.5, steps=1)).step_size == 1.0


@pytest.mark.parametrize("steps", [10, 20, 100])
def test_the_euclidean_steps_reach_what_is_within_reach_of_a_linear_classifier(steps):
    random = np.random.default_rng(0)
    direction = random.standard_normal(3072).astype(np.float32)
    images = random.uniform(0.4, 0.6, (4, 32, 32, 3)).astype(np.float32)

    def linear(points):
        score = tf.linalg.matvec(tf.reshape(points, [-1, 3072]), direction)
        return tf.stack([-score, score], -1)

    attack = suite.make("pgd", suite.Settings(norm="l2", epsilon=0.5, steps=steps))
    gained = linear(images)[:, 1] - linear(attack(linear, images, np.ones(4, int)))[:, 1]
    assert np.all(gained > 0.995 * 0.5 * np.linalg.norm(direction))


def test_the_flag():
    config = EvalConfig(workdir="w", attacks="pgd", eot=5)
    assert suite.make("pgd", suite.Settings(**config.settings())).eot == 5
    assert EvalConfig(workdir="w").settings()["eot"] is None
    with pytest.raises(ValueError, match="--eot to be an integer of at least 1; received 0"):
        EvalConfig(workdir="w", eot=0)
    with pytest.raises(ValueError, match="eot to be an integer of at least 1; received 0"):
        suite.make("square", suite.Settings(eot=0))


def test_the_report_names_the_passes():
    images, _, labels = reference.images_and_labels(4)
    net = reference.keras_net()
    reports = [
        evaluate(net, (images, labels), attacks="pgd", steps=2, epsilon=0.05, checked=False, eot=n)
        for n in (None, 3)
    ]
    texts = [report["attacks"]["pgd"]["attack"] for report in reports]
    assert "eot=1" in texts[0] and "eot=3" in texts[1]
    accuracies = [report["worst_case_accuracy"] for report in reports]
    assert np.ptp(accuracies) == 0  # of a deterministic net
