"""Logs mean what they say: every number of fit and evaluate, computed again outside."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import METHODS, attacks
from rlfat_tf.core import random, transforms
from rlfat_tf.core.compat import KERAS_3, keras
from rlfat_tf.methods.steps import SHUFFLE_DRAW, TEST, TRAIN
from tests import reference

COUNT, BATCH, SEED = 12, 4, 7
IMAGES, _, LABELS = reference.images_and_labels(COUNT, seed=3)
VALID, _, VALID_LABELS = reference.images_and_labels(11, seed=4)  # the last batch holds 3


@keras.saving.register_keras_serializable("tests")
class Shift(attacks.Attack):
    """An attack whose result is known: all pixels up by `amount`."""

    amount: float = 0.0

    def run(self, logits_fn, images, labels, seed, unroll):
        return tf.minimum(images + self.amount, 1.0)


def shifted(images, amount):
    return np.minimum(images + np.float32(amount), 1)


def shuffle_of(robust, count, *step):
    """RBS in NumPy with the draw of that step."""
    seed = random.as_seed(robust.seed).fold(*step).fold(SHUFFLE_DRAW)
    blocks = [
        transforms.draw_blocks(size, 2, "batch", seed.fold(axis), count)
        for axis, size in ((1, reference.SHAPE[0]), (2, reference.SHAPE[1]))
    ]
    return lambda images: reference.shuffle_blocks(images, *blocks)


def accuracy(net, images, labels):
    return np.mean(net.forward(images, training=False)[0].argmax(-1) == labels)


def expected_logs(name, robust, images, labels, amount, steps):
    """Means over all examples of what a method logs, except the accuracies."""
    net, sums = reference.Net(robust.model), {}
    for i, step in enumerate(steps):
        x, y = images[i * BATCH : (i + 1) * BATCH], labels[i * BATCH : (i + 1) * BATCH]
        shuffle = shuffle_of(robust, len(x), *step)
        loss, terms, _ = reference.objective(name, net, x, shifted(x, amount), y, shuffle)
        for key, values in {"loss": loss, **terms}.items():
            sums[key] = sums.get(key, 0.0) + values.sum()
    return {key: total / len(images) for key, total in sums.items()}


@pytest.mark.parametrize("name", reference.METHODS)
def test_one_epoch_with_fixed_weights(name):
    model = reference.keras_net(seed=8)
    standard = name == "standard"
    robust = METHODS[name](
        model,
        attack=None if standard else Shift(amount=0.2),
        eval_attack=None if standard else Shift(amount=0.4),
        seed=SEED,
    )
    robust.compile(optimizer=keras.optimizers.SGD(0.0), metrics=["accuracy"])
    monitored = ["val_accuracy", "val_loss", *(f"val_{term}" for term in robust.terms)]
    monitored += [] if standard else ["val_adv_accuracy"]  # in mode="auto"
    logs = robust.fit(
        IMAGES,
        LABELS,
        batch_size=BATCH,
        shuffle=False,
        epochs=2,
        validation_data=(VALID, VALID_LABELS),
        validation_batch_size=BATCH,
        callbacks=[keras.callbacks.EarlyStopping(name, patience=9) for name in monitored],
        verbose=0,
    ).history
    net = reference.Net(model)
    has_clean = name in ("standard", "trades", "rbsat_t", "rlfat_t")
    keys = {"loss", *robust.terms} | ({"accuracy"} if has_clean else set())
    adversarial_keys = set() if standard else {"adv_accuracy"}
    valid_keys = {"loss", "accuracy", *robust.terms} | adversarial_keys
    assert set(logs) == keys | adversarial_keys | {"val_" + key for key in valid_keys}

    for epoch in range(2):  # the second shows that the running means are reset
        steps = [(TRAIN, 3 * epoch + i) for i in range(3)]
        expected = expected_logs(name, robust, IMAGES, LABELS, 0.2, steps)
        if has_clean:
            expected["accuracy"] = accuracy(net, IMAGES, LABELS)
        if not standard:
            seen = shifted(IMAGES, 0.2)
            if name in ("rbsat_p", "rbsat_t"):
                parts = zip(np.split(seen, 3), steps)
                seen = np.concatenate([shuffle_of(robust, BATCH, *s)(x) for x, s in parts])
            expected["adv_accuracy"] = accuracy(net, seen, LABELS)
        for key, value in expected.items():
            np.testing.assert_allclose(logs[key][epoch], value, rtol=2e-4, atol=1e-6, err_msg=key)

        steps = [(TEST,)] * 3
        expected = expected_logs(name, robust, VALID, VALID_LABELS, 0.4, steps)
        expected["accuracy"] = accuracy(net, VALID, VALID_LABELS)
        if not standard:
            expected["adv_accuracy"] = accuracy(net, shifted(VALID, 0.4), VALID_LABELS)
        for key, value in expected.items():
            found = logs["val_" + key][epoch]
            np.testing.assert_allclose(found, value, rtol=2e-4, atol=1e-6, err_msg=key)


def test_evaluate_counts_every_example_once_and_says_the_same_twice():
    model = reference.keras_net(seed=8)
    robust = METHODS["standard"](model, eval_attack=attacks.LinfPGD(epsilon=0.2, steps=2))
    robust.compile(metrics=["accuracy"])
    logs = robust.evaluate(VALID, VALID_LABELS, batch_size=4, return_dict=True, verbose=0)
    assert set(logs) == {"loss", "clean_loss", "accuracy", "adv_accuracy"}
    net = reference.Net(model)
    clean = reference.cross_entropy(VALID_LABELS, net.forward(VALID)[0])[0]
    np.testing.assert_allclose(logs["loss"], clean.mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["clean_loss"], clean.mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["accuracy"] * 11, accuracy(net, VALID, VALID_LABELS) * 11)
    assert abs(logs["adv_accuracy"] * 11 - round(logs["adv_accuracy"] * 11)) < 1e-4
    assert logs["adv_accuracy"] < logs["accuracy"]
    again = robust.evaluate(VALID, VALID_LABELS, batch_size=4, return_dict=True, verbose=0)
    assert again == logs


@pytest.mark.parametrize(
    ("name", "attacked", "names"),
    [
        ("standard", False, ["loss", "clean_loss", "accuracy", "top_2"]),
        ("standard", True, ["loss", "clean_loss", "adv_accuracy", "accuracy", "top_2"]),
        ("pgdat", True, ["loss", "adv_loss", "adv_accuracy", "accuracy", "top_2"]),
        ("pgdat", False, ["accuracy", "top_2"]),
        ("trades", True, ["loss", "clean_loss", "kl_loss", "adv_accuracy", "accuracy", "top_2"]),
    ],
)
def test_the_list_that_evaluate_returns_fits_the_names(name, attacked, names):
    robust = METHODS[name](reference.keras_net(seed=8))
    robust.eval_attack = Shift(amount=0.4) if attacked else None
    top = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2")
    robust.compile(optimizer=keras.optimizers.SGD(0.0), metrics=[top, "accuracy"])
    robust.fit(IMAGES, LABELS, batch_size=6, verbose=0)  # of other logs; its means are reset
    for values in (
        robust.evaluate(VALID, VALID_LABELS, batch_size=11, verbose=0),
        robust.test_on_batch(VALID, VALID_LABELS),
    ):
        assert sorted(robust.metrics_names) == sorted(names)
        logs = robust.evaluate(VALID, VALID_LABELS, batch_size=11, return_dict=True, verbose=0)
        assert dict(zip(robust.metrics_names, values)) == pytest.approx(logs)
        assert len(values) == len(logs) == len(names)


def test_validation_leaves_training_alone():
    def trained(**validation):
        model = reference.keras_net(batch_norm=True, seed=8)
        robust = METHODS["rlfat_t"](model, attack=attacks.LinfPGD(epsilon=0.1, steps=1))
        robust.compile(optimizer=keras.optimizers.SGD(0.1))
        robust.fit(IMAGES, LABELS, batch_size=6, shuffle=False, epochs=2, verbose=0, **validation)
        return model.get_weights()

    for ours, theirs in zip(trained(), trained(validation_data=(VALID, VALID_LABELS))):
        np.testing.assert_array_equal(ours, theirs)


def test_sample_weights_of_an_evaluation():
    robust = METHODS["standard"](reference.keras_net(seed=8))
    robust.compile()
    weights = np.linspace(0, 2, 11).astype(np.float32)
    logs = robust.evaluate(
        VALID, VALID_LABELS, sample_weight=weights, batch_size=11, return_dict=True, verbose=0
    )
    clean = reference.cross_entropy(VALID_LABELS, reference.Net(robust.model).forward(VALID)[0])[0]
    assert set(logs) == {"loss", "clean_loss"}
    np.testing.assert_allclose(logs["loss"], (weights * clean).mean(), rtol=1e-5)


@pytest.mark.parametrize("labels", ["column", "one-hot"])
def test_accuracy_of_other_kinds_of_labels(labels):
    given = LABELS[:, None] if labels == "column" else np.eye(3, dtype=np.float32)[LABELS]
    robust = METHODS["trades"](reference.keras_net(seed=8), attack=Shift(amount=0.2))
    robust.compile(optimizer=keras.optimizers.SGD(0.0), metrics=["accuracy"])
    logs = robust.fit(IMAGES, given, batch_size=12, verbose=0).history
    net = reference.Net(robust.model)
    np.testing.assert_allclose(logs["accuracy"], [accuracy(net, IMAGES, LABELS)])
    np.testing.assert_allclose(logs["adv_accuracy"], [accuracy(net, shifted(IMAGES, 0.2), LABELS)])


def test_the_train_function_is_traced_once_and_the_objective_runs_in_python_once(monkeypatch):
    robust = METHODS["rlfat_p"](reference.keras_net(), attack=Shift(amount=0.2))
    robust.compile(optimizer="sgd", metrics=["accuracy"])
    robust.fit(IMAGES, LABELS, batch_size=4, verbose=0)
    calls = []
    original = type(robust).objective

    def counted(self, logits, batch):
        calls.append(batch)
        return original(self, logits, batch)

    monkeypatch.setattr(type(robust), "objective", counted)
    robust.fit(IMAGES, LABELS, batch_size=4, epochs=3, verbose=0)
    assert not calls  # the graph of the first fit serves
    fresh = METHODS["rlfat_p"](reference.keras_net(), attack=Shift(amount=0.2))
    fresh.compile(optimizer="sgd", metrics=["accuracy"])
    fresh.fit(IMAGES, LABELS, batch_size=4, epochs=3, verbose=0)
    # Keras 2 traces the very first batch twice: once to create the optimizer's variables.
    assert len(calls) == (1 if KERAS_3 else 2)


def test_every_step_draws_anew():
    class Recorder(METHODS["rlfat_p"]):
        def objective(self, logits, batch):
            shuffled.append(batch.shuffle(batch.images).numpy())
            adversarial.append(batch.adversarial.numpy())
            return super().objective(logits, batch)

    def run(seed):
        shuffled.clear(), adversarial.clear()
        attack = attacks.LinfPGD(epsilon=0.1, steps=1, step_size=1e-3)
        robust = Recorder(reference.keras_net(), attack=attack, seed=seed)
        robust.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
        same = np.repeat(IMAGES[:1], 24, axis=0)
        robust.fit(same, np.zeros(24, int), batch_size=4, verbose=0)
        return np.stack(shuffled), np.stack(adversarial)

    shuffled, adversarial = [], []
    shuffles, attacked = run(1)
    assert len({x.tobytes() for x in shuffles}) > 2
    assert len({x.tobytes() for batch in attacked for x in batch}) == 24
    again = run(1)
    np.testing.assert_array_equal(again[0], shuffles)
    np.testing.assert_array_equal(again[1], attacked)
    assert np.any(run(2)[1] != attacked)


def test_defaults_of_the_attacks():
    net = reference.keras_net()
    for name in reference.METHODS:
        method = METHODS[name]
        robust = method(net)
        if name == "standard":
            assert robust.attack is None and robust.eval_attack is None
            continue
        smooth = name in ("trades", "rbsat_t", "rlfat_t")
        expected = attacks.LinfPGD(
            epsilon=8 / 255,
            steps=10,
            loss="kl" if smooth else "ce",
            random_start="gaussian" if smooth else "uniform",
        )
        assert robust.attack == expected
        assert robust.eval_attack == expected.replace(loss="ce", random_start="uniform")
        own = attacks.L2PGD(epsilon=1.0, loss="margin", random_start="none")
        assert method(net, attack=own).attack == own
        assert method(net, eval_attack=own).eval_attack == own
    with pytest.raises(ValueError, match="Use eval_attack"):
        METHODS["standard"](net, attack=attacks.LinfPGD())
