"""Evaluating batch by batch: packing, interruption and batch size change nothing."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.attacks.base import Attack, Bounded
from rlfat_tf.evaluation.classifier import as_classifier
from rlfat_tf.evaluation.progress import FILE, EvaluationProgress
from rlfat_tf.evaluation.recognition import KnownClassifiers
from rlfat_tf.evaluation.runner import AttackRunner
from tests import reference

IMAGES, _, _ = reference.images_and_labels(40, seed=1)
NET = reference.keras_net(seed=4)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
LABELS[::7] = (LABELS[::7] + 1) % 3  # some are wrong from the start
WEAK = attacks.LinfPGD(epsilon=0.03, steps=2)
STRONG = attacks.LinfPGD(epsilon=0.06, steps=4, restarts=2, keep="best")


class Two(Attack):
    """Two attacks, one after the other, as AutoAttack is."""

    components = {"weak": WEAK, "strong": attacks.LinfPGD(epsilon=0.06, steps=4)}


ATTACKS = {"strong": STRONG, "two": Two()}


def runner(folder=None, **changes):
    arguments = {"batch_size": 8, "seed": 3, "keep": 10, **changes}
    known = KnownClassifiers(folder and folder / "classifiers", IMAGES)
    progress = EvaluationProgress(folder, {"seed": arguments["seed"]}, known)
    return AttackRunner(as_classifier(NET), IMAGES, LABELS, progress=progress, **arguments)


@functools.lru_cache
def undisturbed(name):
    """An attack run once from beginning to end, to compare with; it must stay as it is."""
    one = runner(keep=40)
    return one, one.attack(name, ATTACKS[name], one.clean())


def batches(finished):
    """Hears of progress, and keeps what is told between two batches."""
    return lambda standing: standing.passes is None and finished.append(standing)


def test_clean_accuracy():
    right = runner().clean()
    np.testing.assert_array_equal(right, np.arange(40) % 7 != 0)
    np.testing.assert_array_equal(runner(batch_size=3).clean(), right)


@pytest.mark.parametrize("name", ATTACKS)
def test_packing_and_batch_size_change_nothing(name):
    one, (robust, record, *_) = undisturbed(name)
    clean = one.clean()
    assert 0 < robust.sum() < clean.sum()
    # In smaller batches; and unpacked, all examples in one.
    for size, given in ((3, clean), (40, np.ones(40, bool))):
        other = runner(batch_size=size, keep=40)
        again, *_ = other.attack(name, ATTACKS[name], given)
        np.testing.assert_array_equal(again & clean, robust)
        np.testing.assert_allclose(other.kept[name][clean], one.kept[name][clean], atol=1e-6)
    if name != "two":
        assert record["broken"] == record["examples"] - robust.sum()
        assert record["median_l2"] > 0


def test_parts_see_what_the_parts_before_them_left():
    one, (robust, record, prediction, size) = undisturbed("two")
    weak, strong = record["components"]["weak"], record["components"]["strong"]
    assert weak["examples"] == one.clean().sum()
    assert strong["examples"] == weak["examples"] - weak["broken"]
    assert strong["broken"] == strong["examples"] - robust.sum()
    found, broken = one.kept["two"], one.clean() & ~robust
    np.testing.assert_array_equal(prediction, np.argmax(NET(found), -1))
    np.testing.assert_array_equal((prediction != LABELS) & one.clean(), broken)
    lengths = np.abs(found - IMAGES).max((1, 2, 3))
    np.testing.assert_allclose(size[broken], lengths[broken], atol=1e-6)
    assert broken.any() and np.all(np.isnan(size[~broken]))


def test_another_seed_draws_anew():
    arguments = {"batch_size": 40, "keep": 40}
    found = []
    for seed in (0, 1):
        one = runner(seed=seed, **arguments)
        one.attack("name", WEAK, one.clean())
        found.append(one.kept["name"])
    assert not np.allclose(*found)


class Killed(BaseException):
    """Stands for a kill between two batches."""


@pytest.mark.parametrize("after", [1, 6])
def test_a_killed_evaluation_goes_on_where_it_was(tmp_path, after):
    whole, (expected, record, *arrays) = undisturbed("two")
    calls = []

    def on_progress(standing):
        batches(calls)(standing)
        if len(calls) == after:
            raise Killed

    first = runner(tmp_path, on_progress=on_progress)
    with pytest.raises(Killed):
        first.attack("two", Two(), first.clean())
    second = runner(tmp_path, on_progress=batches(calls))
    robust, resumed, *outcome = second.attack("two", Two(), second.clean())
    np.testing.assert_array_equal(robust, expected)
    np.testing.assert_allclose(second.kept["two"], whole.kept["two"][:10], atol=1e-6)
    for found, once in zip(outcome, arrays):
        np.testing.assert_array_equal(found, once)
    for part, once in record["components"].items():
        again = resumed["components"][part]
        assert {**again, "seconds": 0} == {**once, "seconds": 0}
    third = runner(tmp_path, on_progress=batches(calls))
    before = len(calls)
    third.attack("two", Two(), third.clean())
    assert len(calls) == before, "what is done is not done again"


def test_states_of_other_seeds_and_attacks_do_not_meet(tmp_path):
    one = runner(tmp_path)
    robust, *_ = one.attack("name", WEAK, one.clean())
    calls = []
    for seed, attack in ((4, WEAK), (3, WEAK.replace(steps=3))):
        other = runner(tmp_path, seed=seed, on_progress=batches(calls))
        before = len(calls)
        other.attack("name", attack, other.clean())
        assert len(calls) > before
    stored = [json.loads(path.read_text()) for path in tmp_path.glob(f"*/{FILE}")]
    assert sorted(state["identity"]["seed"] for state in stored) == [3, 4]
    assert sorted(len(state["attacks"]) for state in stored) == [1, 2]


@pytest.mark.parametrize("shift", [0.2, 3.0])
def test_points_outside_of_the_ball_do_not_count(shift):
    class Leaky(Bounded):
        def run(self, logits_fn, images, labels, seed, unroll):
            return images + shift

    one = runner()
    with pytest.raises(RuntimeError, match="left its ball"):
        one.attack("leaky", Leaky(norm="linf", epsilon=0.1), one.clean())


def test_no_example_left_to_attack():
    one = runner()
    robust, record, *_ = one.attack("name", WEAK, np.zeros(40, bool))
    assert not robust.any()
    assert record["examples"] == 0 and record["median_l2"] is None


def test_progress_is_told():
    told = []
    one = runner(on_progress=batches(told))
    robust, *_ = one.attack("name", WEAK, one.clean())
    assert [standing.done for standing in told] == [8, 16, 24, 32, 34]
    assert {standing.total for standing in told} == {34}
    assert told[-1].robust == robust.sum() and told[-1].attack is WEAK


def test_the_classifier_is_traced_once_per_attack():
    traces = []

    def logits_fn(images):
        traces.append(tf.executing_eagerly())
        return NET(images)

    progress = EvaluationProgress(None, {}, KnownClassifiers(None, IMAGES))
    one = AttackRunner(
        as_classifier(logits_fn), IMAGES, LABELS, batch_size=7, seed=0, progress=progress
    )
    one.clean()
    assert traces == [False]
    one.attack("name", WEAK, np.arange(40) < 31)
    assert traces == [False] * 3, "once in the attack's loop and once for the second look"


def test_what_is_no_number_is_not_found():
    class Broken(Bounded):
        def run(self, logits_fn, images, labels, seed, unroll):
            return images * float("nan")

    one = runner()
    robust, record, prediction, size = one.attack(
        "broken", Broken(norm="linf", epsilon=0.1), one.clean()
    )
    np.testing.assert_array_equal(prediction, one.clean_predictions())
    assert np.all(np.isnan(size))
    np.testing.assert_array_equal(robust, one.clean())
    assert record["broken"] == 0


def test_pictures_that_were_not_kept_are_made_again(tmp_path):
    expected, _ = undisturbed("two")
    assert np.abs(expected.kept["two"][:10] - IMAGES[:10]).max() > 0.02
    without = runner(tmp_path, keep=0)
    _, first, *_ = without.attack("two", Two(), without.clean())
    told = []
    for keep in (4, 10):
        later = runner(tmp_path, keep=keep, on_progress=batches(told))
        _, record, *_ = later.attack("two", Two(), later.clean())
        np.testing.assert_allclose(later.kept["two"], expected.kept["two"][:keep], atol=1e-6)
        assert record == first and told == [], "nothing is evaluated again"


def test_pictures_of_an_evaluation_that_was_killed_without_them(tmp_path):
    def stop(standing):
        if standing.passes is None:
            raise Killed

    expected, _ = undisturbed("strong")
    first = runner(tmp_path, keep=0, batch_size=4, on_progress=stop)
    with pytest.raises(Killed):
        first.attack("strong", STRONG, first.clean())
    second = runner(tmp_path)
    second.attack("strong", STRONG, second.clean())
    np.testing.assert_allclose(second.kept["strong"], expected.kept["strong"][:10], atol=1e-6)


def test_progress_of_another_version_is_refused_in_words(tmp_path):
    one = runner(tmp_path)
    one.clean()
    (path,) = tmp_path.glob(f"*/{FILE}")
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "version": 1}))
    with pytest.raises(ValueError, match=r"without the classes predicted .* Delete the folder"):
        runner(tmp_path)


@pytest.mark.parametrize("name", [FILE, "*.npz", "classifiers/*.npz"])
def test_damaged_progress_is_one_sentence(tmp_path, name):
    def once():
        known = KnownClassifiers(tmp_path / "classifiers", IMAGES)
        known.name_of(as_classifier(NET))
        one = runner(tmp_path)
        one.attack("name", WEAK, one.clean())

    once()
    (path,) = [p for p in tmp_path.rglob(name) if "/" in name or p.parent.name != "classifiers"]
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(ValueError, match=r"is damaged.* Delete the folder"):
        once()


class Mine(Attack):
    """An attack of one's own, whose code changes between two evaluations."""

    epsilon: float = 0.1
    shift = 0.0

    def run(self, logits_fn, images, labels, seed, unroll):
        return tf.clip_by_value(images + self.shift, 0, 1)


def test_changed_code_of_an_attack_is_another_attack(tmp_path, monkeypatch):
    found = []
    told = []
    for shift in (0.02, 0.1, 0.02):
        one = runner(tmp_path, keep=40, on_progress=batches(told))
        monkeypatch.setattr(Mine, "shift", shift)
        one.attack("mine", Mine(), one.clean())
        found.append((float(np.abs(one.kept["mine"] - IMAGES).max()), len(told)))
    assert found == [(pytest.approx(0.02), 5), (pytest.approx(0.1), 10), (pytest.approx(0.02), 10)]
