"""The guard against catastrophic overfitting: what it measures, when it fires, what it does."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import numpy as np
import pytest

from rlfat_tf import PGDAT, Average, OverfittingGuard, Standard, attacks, data, models
from rlfat_tf.core.compat import keras
from rlfat_tf.run import builders, train
from rlfat_tf.run.guard import _ball, careful, check_rollback, is_one_step
from rlfat_tf.run.signals import Interrupted
from tests import reference
from tests.runs import check_same, check_weights, config, metrics

EPSILON = 0.1
ACCURACY = {"test_accuracy": 0.5, "test_adv_accuracy": 0.5}


def one_step_model(**arguments):
    """Trained as by FGSM-RS; labels are those of the first images of the reference."""
    attack = attacks.LinfPGD(epsilon=EPSILON, steps=1, step_size=1.25 * EPSILON)
    robust = PGDAT(reference.keras_net(batch_norm=True), attack=attack, **arguments)
    robust.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
    return robust


@pytest.fixture(scope="module")
def examples():
    images, _, labels = reference.images_and_labels(20, seed=2)
    return data.Arrays(images, labels)


def fgsm_accuracy(model, examples, epsilon):
    """By hand: one step along the sign of the cross entropy's gradient, clipped to [0, 1]."""
    net = reference.Net(model)
    logits, cache = net.forward(examples.images, training=False)
    error = np.exp(logits - logits.max(-1, keepdims=True))
    error /= error.sum(-1, keepdims=True)
    error[np.arange(len(error)), examples.labels] -= 1
    gradient = net.backward(cache, error)[1].reshape(examples.images.shape)
    moved = np.clip(examples.images + epsilon * np.sign(gradient), 0, 1)
    return np.mean(net.forward(moved, training=False)[0].argmax(-1) == examples.labels)


def test_it_measures_both_attacks_on_its_part_of_the_images(examples, strategy2, monkeypatch):
    """Those of the weights, not of their average; on two devices too, and traced once."""
    runs = []
    original = attacks.PGD.run
    monkeypatch.setattr(attacks.PGD, "run", lambda *args: runs.append(1) or original(*args))
    part = examples.take(np.sort(np.random.default_rng(3).permutation(20)[:13]))
    robust = one_step_model(seed=3, average=Average(0.9))
    fgsm = fgsm_accuracy(robust.model, part, EPSILON)
    guard = OverfittingGuard(examples, probe=13, batch_size=8)
    guard.set_model(robust)
    assert [each.eval_attack.steps for each in guard._evaluators] == [10, 1]
    first = guard.measure()
    traced = len(runs)
    robust.begin_average()
    for value in robust._running.values:  # what is shown at the end of an epoch
        value.assign(0 * value)
    robust._show(averages=True)
    assert guard.measure() == first and len(runs) == traced
    assert not robust.model.get_weights()[0].any()
    with strategy2.scope():
        robust = one_step_model(seed=3)
    guard = OverfittingGuard(examples, probe=13, batch_size=8)
    guard.set_model(robust)
    assert 0 < first[0] < fgsm + 1e-6 < 1
    np.testing.assert_allclose([first, guard.measure()], [(first[0], fgsm)] * 2, rtol=1e-6)


def scripted(monkeypatch, *values):
    """Makes the guard measure these accuracies under PGD one after the other, FGSM 0.1 more.

    A value may be both of them.
    """
    measured = iter(values)

    def measure(self):
        found = next(measured)
        return found if isinstance(found, tuple) else (found, found + 0.1)

    monkeypatch.setattr(OverfittingGuard, "measure", measure)
    monkeypatch.setattr(OverfittingGuard, "enough", 1)  # the images are few, the numbers given


class Watch(keras.callbacks.Callback):
    """Notes what every epoch is trained with, and the state at its end, before the guard's word."""

    def __init__(self):
        super().__init__()
        self.trained_with, self.states = [], []

    def on_epoch_begin(self, epoch, logs=None):
        attack = self.model.attack
        self.trained_with.append((attack.steps, attack.step_size / EPSILON, self.model.seed))

    def on_epoch_end(self, epoch, logs=None):
        self.states.append(state_of(self.model))


def state_of(model):
    return [variable.numpy() for variable in model.state]


def check_same_state(one, other):
    for first, second in zip(one, other):
        np.testing.assert_array_equal(first, second)


def fit(robust, guard, examples, epochs):
    watch = Watch()
    batches = data.training_batches(examples, batch_size=10, seed=0, augment="none")
    together = [watch, guard]
    history = robust.fit(
        batches, steps_per_epoch=2, epochs=epochs, callbacks=together, verbose=0
    ).history
    return watch, history


def test_stop_ends_training_with_the_last_good_state(examples, monkeypatch, capsys):
    scripted(monkeypatch, 0.5, 0.6, 0.3)
    robust = one_step_model()
    guard = OverfittingGuard(examples)
    watch, history = fit(robust, guard, examples, epochs=9)
    assert history["probe_adv_accuracy"] == [0.5, 0.6, 0.3]
    assert history["probe_fgsm_accuracy"] == pytest.approx([0.6, 0.7, 0.4])
    check_same_state(state_of(robust), watch.states[1])
    assert np.abs(watch.states[2][0] - watch.states[1][0]).max() > 0
    (sentence,) = guard.progress["overfitted"]
    assert sentence in capsys.readouterr().out
    assert "Epoch 3 has overfitted its attack: of 20 training images 40.0% withstand" in sentence
    assert "training ends" in sentence and guard.progress["stopped"]


def test_rollback_trains_an_epoch_with_care_and_gives_up_in_the_end(examples, monkeypatch):
    scripted(monkeypatch, 0.0, 0.5, 0.1, 0.5, 0.5, 0.1, 0.1, 0.1)
    robust = one_step_model()
    guard = OverfittingGuard(examples, action="rollback")
    guard.attempts = 3
    restored = []
    take_back = guard._take_back

    def note(found):
        take_back(found)
        restored.append(state_of(robust))

    guard._take_back = note
    watch, _ = fit(robust, guard, examples, epochs=20)
    steps, lengths, seeds = zip(*watch.trained_with)
    # Epochs 3, 6, 7 and 8 are taken back; the fourth time it is enough.
    assert steps == (1, 1, 1, 2, 1, 1, 2, 2)
    assert lengths == pytest.approx([1.25, 1.25, 1.25, 0.5, 1.25, 1.25, 0.5, 0.5])
    draws = [sorted(set(seeds), key=seeds.index).index(seed) for seed in seeds]
    assert draws == [0, 0, 0, 1, 1, 1, 2, 3]
    for state, good in zip(restored, (1, 4, 4, 4)):
        check_same_state(state, watch.states[good])
    check_same_state(state_of(robust), watch.states[4])
    assert guard.progress["stopped"] and robust.attack.steps == 1
    assert len(guard.progress["overfitted"]) == 4
    assert "after 3 epochs that were taken back" in guard.progress["overfitted"][-1]


COLLAPSED = (0.1, 0.9)


def test_where_no_epoch_was_good_stop_warns_once_and_goes_on(examples, monkeypatch, capsys):
    """The random weights of the beginning would be the result of the run."""
    scripted(monkeypatch, COLLAPSED, COLLAPSED, 0.5, 0.2, 0.5)
    robust = one_step_model()
    guard = OverfittingGuard(examples)
    with pytest.warns(UserWarning, match="Epoch 1 has overfitted.*No earlier epoch") as warned:
        watch, history = fit(robust, guard, examples, epochs=9)
    assert len([w for w in warned if "has overfitted" in str(w.message)]) == 1
    assert history["probe_adv_accuracy"] == [0.1, 0.1, 0.5, 0.2]
    check_same_state(state_of(robust), watch.states[2])  # of the first good epoch
    (sentence,) = guard.progress["overfitted"]
    assert sentence.startswith("Epoch 4") and "50.0% in the best epoch" in sentence
    assert "Epoch 1" not in capsys.readouterr().out


def test_where_no_epoch_was_good_rollback_begins_again_and_then_goes_on(examples, monkeypatch):
    scripted(monkeypatch, *[COLLAPSED] * 4)
    robust = one_step_model()
    guard = OverfittingGuard(examples, action="rollback")
    guard.attempts = 2
    guard.set_model(robust)
    guard.on_train_begin()
    beginning = state_of(robust)
    with pytest.warns(UserWarning, match="Epoch 3 has overfitted.*No earlier epoch"):
        watch, history = fit(robust, guard, examples, epochs=4)
    assert [steps for steps, _, _ in watch.trained_with] == [1, 2, 2, 1]
    assert len(history["probe_adv_accuracy"]) == 4 and not guard.progress["stopped"]
    assert len(guard.progress["overfitted"]) == 2
    check_same_state(state_of(robust), watch.states[3])
    assert np.abs(watch.states[3][0] - beginning[0]).max() > 0


def test_nothing_is_taken_back_while_the_radius_grows(examples, monkeypatch):
    scripted(monkeypatch, 0.6, 0.1, 0.1)
    robust = one_step_model(epsilon_warmup=6)
    guard = OverfittingGuard(examples)
    guard.set_model(robust)
    guard.on_train_begin()
    fired = []
    for steps in (2, 4, 6):
        robust.optimizer.iterations.assign(steps)
        guard.on_epoch_end(0)
        fired.append(guard.fired)
    assert fired == [False, False, True]


def test_refusals(examples):
    with pytest.raises(ValueError, match="Did you mean 'rollback'"):
        OverfittingGuard(examples, action="rolback")
    with pytest.raises(ValueError, match="at least one image"):
        OverfittingGuard(examples, probe=0)
    guard = OverfittingGuard(examples, action="rollback")
    with pytest.raises(TypeError, match="methods such as rlfat_tf.PGDAT"):
        guard.set_model(reference.keras_net())
    with pytest.raises(ValueError, match="Standard trains on clean images"):
        guard.set_model(Standard(reference.keras_net()))
    with pytest.raises(ValueError, match=r"received LinfPGD\(.*Use stop instead"):
        guard.set_model(PGDAT(reference.keras_net()))
    guard.set_model(one_step_model())
    with pytest.raises(ValueError, match="make another"):
        guard.set_model(one_step_model())


def test_the_ball_of_the_probe_is_that_of_training():
    attack = attacks.L2PGD(epsilon=0.7)
    assert _ball(SimpleNamespace(attack=attack, eval_attack=None)) == {"norm": "l2", "epsilon": 0.7}
    like_atld = SimpleNamespace(attack=None, eval_attack=attacks.LinfPGD(epsilon=0.2))
    assert _ball(like_atld) == {"norm": "linf", "epsilon": 0.2}
    with pytest.raises(ValueError, match="expected one with a norm and an epsilon"):
        _ball(SimpleNamespace(attack=object(), eval_attack=None))


def test_an_attack_of_one_step_may_be_run_by_another():
    inner = attacks.FGSMRS(epsilon=EPSILON, loss="margin")
    assert is_one_step(attacks.EightBit(attack=inner)) and not is_one_step(None)
    check_rollback(attacks.EightBit(attack=inner))
    assert not is_one_step(attacks.EightBit(attack=attacks.LinfPGD(epsilon=EPSILON, steps=2)))
    two_steps = attacks.PGD(epsilon=EPSILON, steps=2, step_size=EPSILON / 2, loss="margin")
    assert careful(inner) == two_steps
    assert careful(attacks.EightBit(attack=inner)) == attacks.EightBit(attack=two_steps)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, "stop"),
        ({"attack_steps": 2}, "off"),
        ({"attack_steps": 2, "guard": "stop"}, "stop"),
        ({"guard": "off"}, "off"),
        ({"guard": "rollback"}, "rollback"),
        ({"method": "feature_scattering"}, "off"),
        ({"method": "standard", "guard": "stop"}, "off"),
    ],
)
def test_what_a_run_does(tmp_path, flags, expected):
    run = config(tmp_path, **{"method": "pgdat", "guard": None, **flags})
    assert builders.guard_action(run) == expected


def test_a_run_refuses_to_roll_back_from_many_steps(tmp_path):
    for flags in ({"method": "pgdat", "attack_steps": 2}, {"method": "atld"}):
        with pytest.raises(ValueError, match="Expected an attack of training with one step"):
            train.run(config(tmp_path, guard="rollback", **flags))


# A run: two steps an epoch, and the second epoch overfits unless something is changed.

RUN = {"method": "pgdat", "epochs": 3, "learning_rate": 0.01}


def linear_network(name, *, input_shape, num_classes, **others):
    layers = keras.layers
    return keras.Sequential(
        [keras.Input(input_shape), layers.Flatten(), layers.Dense(num_classes, name="logits")]
    )


class Killed(BaseException):
    """Ends a run as SIGKILL does: whatever is not on the disk is lost."""


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """Returns a function that trains in a folder of a name; ``at`` is where it is ended first."""
    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: ACCURACY)
    monkeypatch.setattr(models, "build", linear_network)
    ends = []

    def measure(self):
        step, attempts = self.progress["step"], len(self.progress["overfitted"])
        for how in ("probe", "sigterm"):
            if (how, step, attempts) in ends:
                ends.remove((how, step, attempts))
                if how == "probe":
                    raise Killed
                signal.raise_signal(signal.SIGTERM)
                self.during_probe[0].on_test_batch_end(0)
        overfits = step == 4 and attempts == 0
        return (0.1, 0.8) if overfits else (0.3 + step / 100, 0.4)

    monkeypatch.setattr(OverfittingGuard, "measure", measure)

    def run(name, *at, **flags):
        flags = {**RUN, **flags}
        settings = config(tmp_path / name, **flags)
        ends[:] = at
        for _ in at:
            with pytest.raises((Killed, Interrupted)):
                train.run(settings)
        return tmp_path / name, train.run(settings)

    return run


def test_a_run_that_overfits_stops_and_is_finished(guarded, tmp_path, monkeypatch, capsys):
    short, _ = guarded("short", guard="off", epochs=1)
    folder, summary = guarded("run", guard=None)
    assert summary["steps"] == 2 and summary["test_adv_accuracy"] == 0.5
    assert summary["checkpoint"] == "best, epoch 1"
    (sentence,) = summary["overfitted"]
    assert sentence.startswith("Epoch 2 has overfitted")
    assert f"guard            {sentence}" in capsys.readouterr().out
    for name in ("last", "best"):
        check_weights(short, folder, name)
    lines = metrics(folder)
    assert [line["probe_adv_accuracy"] for line in lines] == ["0.32", "0.1"]
    monkeypatch.setattr(train, "train_model", lambda *_: pytest.fail("trained again"))
    assert guarded("run", guard=None)[1] == summary


def test_a_run_that_rolls_back_goes_on_to_the_same_weights_when_killed(guarded):
    """Asked to stop in the probe that finds it, and killed in that of the epoch trained again."""
    flags = {"guard": "rollback", "validation_fraction": 0.0, "train_examples": 64}
    whole, summary = guarded("whole", **flags)
    assert summary["steps"] == 6 and len(summary["overfitted"]) == 1
    ends = (("sigterm", 4, 0), ("probe", 4, 1))  # step, epochs taken back
    folder, _ = guarded("killed", *ends, **flags)
    check_same(whole, folder)
    assert [line["epoch"] for line in metrics(folder)] == ["0", "1", "2"]
    assert [line["probe_fgsm_accuracy"] for line in metrics(folder)] == ["0.4"] * 3


def test_a_good_state_that_is_damaged_or_of_a_later_step_is_made_anew(examples, tmp_path):
    backup = tmp_path / "state.good.npz"
    robust = one_step_model()

    def begin(step):
        guard = OverfittingGuard(examples, backup=backup, progress={**ZERO, "step": step})
        guard.set_model(robust)
        guard.on_train_begin()
        return guard

    ZERO = OverfittingGuard(examples).progress
    begin(4)
    kept = backup.read_bytes()
    begin(6)
    assert backup.read_bytes() == kept
    begin(3)
    assert backup.read_bytes() != kept
    backup.write_bytes(kept[:100])
    with pytest.warns(UserWarning, match="state.good.npz is damaged.*present state instead"):
        begin(3)
    assert len(backup.read_bytes()) == len(kept)
