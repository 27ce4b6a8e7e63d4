"""Every method's loss and weight gradient against hand-written NumPy on given x' and RBS draws."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import METHODS, attacks
from rlfat_tf.core import losses, random, transforms
from rlfat_tf.core.compat import keras
from rlfat_tf.methods import base
from rlfat_tf.methods.steps import ATTACK_DRAW, SHUFFLE_DRAW, TRAIN
from tests import reference

TOLERANCE = {"float64": 1e-6, "float32": 1e-4}
SHUFFLED = ("rbsat_p", "rbsat_t", "rlfat_p", "rlfat_t")
IMAGES, ADVERSARIAL, LABELS = reference.images_and_labels()
FIXED = attacks.LinfPGD(epsilon=0.1, steps=2, random_start="none", loss="ce")


def drawn_shuffle(seed, k=2, mode="batch", count=8):
    """RBS in NumPy with the draw that a step of this seed makes."""
    seed = seed.fold(SHUFFLE_DRAW)
    rows, columns = (
        transforms.draw_blocks(size, k, mode, seed.fold(axis), count)
        for axis, size in ((1, reference.SHAPE[0]), (2, reference.SHAPE[1]))
    )
    return lambda images: reference.shuffle_blocks(images, rows, columns)


def seed_that_shuffles(k=2, mode="batch"):
    """A seed whose RBS is not the identity: the loss must see it."""
    for number in range(20):
        seed = random.as_seed(number)
        if np.any(drawn_shuffle(seed, k, mode)(IMAGES) != IMAGES):
            return seed
    raise AssertionError("twenty identities in a row")


def check(robust, expected, seed, *, labels=LABELS, training=True, rtol=1e-6):
    """Compares loss, terms and weight gradient of the batch's mean loss."""
    model = robust.model
    dtype = model.compute_dtype
    with tf.GradientTape() as tape:
        result = robust.batch_objective(
            tf.constant(IMAGES, dtype),
            tf.constant(ADVERSARIAL, dtype),
            tf.constant(labels),
            seed,
            training=training,
        )
        loss = tf.reduce_mean(result.loss)
    gradients = tape.gradient(loss, model.trainable_variables)
    per_example, terms, expected_gradients = expected
    assert result.loss.dtype == dtype
    np.testing.assert_allclose(result.loss, per_example, rtol=rtol)
    assert set(result.terms) == set(terms) == set(robust.terms)
    for name, values in terms.items():
        np.testing.assert_allclose(result.terms[name], values, rtol=rtol, atol=rtol * 1e-2)
    assert len(gradients) == len(expected_gradients)
    scale = max(np.abs(g).max() for g in expected_gradients)
    for ours, theirs in zip(gradients, expected_gradients):
        # A bias in front of batch normalisation has the gradient zero.
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * scale)


def test_every_method_is_here():
    assert set(reference.METHODS) < set(METHODS)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch-norm"])
@pytest.mark.parametrize("name", reference.METHODS)
def test_loss_and_gradient(name, batch_norm, dtype):
    model = reference.keras_net(batch_norm=batch_norm, dtype=dtype, seed=1)
    seed = seed_that_shuffles()
    expected = reference.objective(
        name, reference.Net(model), IMAGES, ADVERSARIAL, LABELS, drawn_shuffle(seed)
    )
    check(METHODS[name](model), expected, seed, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["rlfat_p", "rlfat_t"])
def test_loss_and_gradient_in_inference_mode(name):
    model = reference.keras_net(batch_norm=True, dtype="float64", seed=1)
    seed = seed_that_shuffles()
    expected = reference.objective(
        name, reference.Net(model), IMAGES, ADVERSARIAL, LABELS, drawn_shuffle(seed), training=False
    )
    check(METHODS[name](model), expected, seed, training=False)


@pytest.mark.parametrize("name", reference.METHODS)
def test_one_hot_and_soft_labels(name):
    model = reference.keras_net(dtype="float64", seed=2)
    seed = seed_that_shuffles()
    one_hot = np.eye(3)[LABELS]
    soft = 0.8 * one_hot + 0.2 / 3
    for labels in (one_hot, soft):
        expected = reference.objective(
            name, reference.Net(model), IMAGES, ADVERSARIAL, labels, drawn_shuffle(seed)
        )
        check(METHODS[name](model), expected, seed, labels=labels)


@pytest.mark.parametrize("mode", transforms.BLOCK_SHUFFLES)
@pytest.mark.parametrize("name", SHUFFLED)
def test_block_shuffle_arguments_reach_the_loss(name, mode):
    model = reference.keras_net(dtype="float64", seed=3)
    seed = seed_that_shuffles(3, mode)
    shuffle = drawn_shuffle(seed, 3, mode)
    expected = reference.objective(name, reference.Net(model), IMAGES, ADVERSARIAL, LABELS, shuffle)
    check(METHODS[name](model, num_blocks=3, block_shuffle=mode), expected, seed)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rlfat_p", {"eta": 3.0}),
        ("rlfat_t", {"eta": 0.25, "trades_lambda": 2.0}),
        ("rbsat_t", {"trades_lambda": 0.0}),
        ("trades", {"trades_lambda": 1.5}),
    ],
)
def test_weights_of_the_terms(name, arguments, monkeypatch):
    model = reference.keras_net(dtype="float64", seed=3)
    seed = seed_that_shuffles()
    monkeypatch.setitem(reference.ETA, name, arguments.get("eta", 0.0))
    expected = reference.objective(
        name,
        reference.Net(model),
        IMAGES,
        ADVERSARIAL,
        LABELS,
        drawn_shuffle(seed),
        lam=arguments.get("trades_lambda", 6.0),
    )
    check(METHODS[name](model, **arguments), expected, seed)


def test_identities_between_methods():
    model = reference.keras_net(dtype="float64", seed=3)
    seed = seed_that_shuffles()

    def loss(name, adversarial=ADVERSARIAL, **arguments):
        robust = METHODS[name](model, **arguments)
        x, x_adv = tf.constant(IMAGES), tf.constant(adversarial)
        return robust.batch_objective(x, x_adv, tf.constant(LABELS), seed, training=True).loss

    np.testing.assert_allclose(loss("rlfat_p", num_blocks=1), loss("pgdat"))
    np.testing.assert_allclose(loss("rlfat_t", num_blocks=1), loss("trades"))
    np.testing.assert_allclose(loss("rlfat_p", eta=0.0), loss("rbsat_p"))
    np.testing.assert_allclose(loss("rlfat_t", eta=0.0), loss("rbsat_t"))
    np.testing.assert_allclose(loss("trades", IMAGES), loss("standard"), atol=1e-12)
    np.testing.assert_allclose(loss("pgdat", IMAGES), loss("standard"))


def test_which_logits_a_method_reports():
    model = reference.keras_net(seed=3)
    net, seed = reference.Net(model), seed_that_shuffles()
    shuffle = drawn_shuffle(seed)
    clean, whole = net.forward(IMAGES)[0], net.forward(ADVERSARIAL)[0]
    shuffled = net.forward(shuffle(ADVERSARIAL))[0]
    expected = {
        "standard": (clean, None),
        "pgdat": (None, whole),
        "trades": (clean, whole),
        "rbsat_p": (None, shuffled),
        "rbsat_t": (clean, shuffled),
        "rlfat_p": (None, whole),
        "rlfat_t": (clean, whole),
    }
    for name, pair in expected.items():
        result = METHODS[name](model).batch_objective(
            tf.constant(IMAGES), tf.constant(ADVERSARIAL), tf.constant(LABELS), seed, training=True
        )
        for ours, theirs in zip((result.clean_logits, result.adversarial_logits), pair):
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def step_seed(robust, step=0):
    return random.replica_seed(robust.seed, TRAIN, step)


def moved(model, expected_gradients, before, rate=0.1):
    """Checks that SGD has moved the trainable weights by -rate times the gradient."""
    for variable, old, gradient in zip(model.trainable_variables, before, expected_gradients):
        np.testing.assert_allclose(
            np.asarray(variable), old - rate * gradient, rtol=1e-4, atol=1e-5
        )


def weights_of(model):
    return [np.array(v) for v in model.trainable_variables]


@pytest.mark.parametrize("name", reference.METHODS)
def test_a_train_step_is_one_step_of_sgd_on_the_attacked_batch(name):
    """The attack too is NumPy's here: all of Algorithm 1 but the random numbers."""
    model = reference.keras_net(seed=5)
    start = "gaussian" if "kl" in METHODS[name].attack_loss else "none"
    attack = None
    if name != "standard":
        attack = attacks.LinfPGD(epsilon=0.1, steps=2, step_size=0.06, random_start=start)
    robust = METHODS[name](model, attack=attack, seed=3)
    robust.compile(optimizer=keras.optimizers.SGD(0.1))
    net, before, seed = reference.Net(model), weights_of(model), step_seed(robust)
    adversarial = IMAGES
    if attack is not None:
        clean = net.forward(IMAGES, training=False)[0] if start == "gaussian" else None
        delta = np.zeros_like(IMAGES)
        if start == "gaussian":
            draw = seed.fold(ATTACK_DRAW).fold(0)
            delta = random.normal(draw, IMAGES.shape, 1e-3).numpy()
        adversarial = reference.pgd(
            net, IMAGES, LABELS, start=delta, epsilon=0.1, step_size=0.06, steps=2, reference=clean
        )
    shuffle = drawn_shuffle(seed)
    loss, terms, gradients = reference.objective(name, net, IMAGES, adversarial, LABELS, shuffle)
    logs = robust.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0).history
    moved(model, gradients, before)
    np.testing.assert_allclose(logs["loss"], [loss.mean()], rtol=1e-4)
    for term, values in terms.items():
        np.testing.assert_allclose(logs[term], [values.mean()], rtol=1e-3, atol=1e-6)


def test_sample_weights_and_class_weights():
    sample = np.linspace(0, 2, 8).astype(np.float32)
    by_class = {0: 0.5, 1: 2.0, 2: 1.0}
    for kwargs, weights in [
        ({"sample_weight": sample}, sample),
        ({"class_weight": by_class}, [by_class[c] for c in LABELS]),
    ]:
        model = reference.keras_net(batch_norm=True, seed=6)
        robust = METHODS["rlfat_p"](model, attack=FIXED)
        robust.compile(optimizer=keras.optimizers.SGD(0.1))
        adversarial = robust.attack(lambda x, m=model: m(x, training=False), IMAGES, LABELS)
        net, before, shuffle = (
            reference.Net(model),
            weights_of(model),
            drawn_shuffle(step_seed(robust)),
        )
        loss, terms, gradients = reference.objective(
            "rlfat_p", net, IMAGES, adversarial, LABELS, shuffle, weights=weights
        )
        logs = robust.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0, **kwargs).history
        moved(model, gradients, before)
        np.testing.assert_allclose(logs["loss"], [loss.mean()], rtol=1e-4)
        expected = (terms["adv_loss"] * np.asarray(weights)).mean()
        np.testing.assert_allclose(logs["adv_loss"], [expected], rtol=1e-4)


def test_weight_decay_is_coupled():
    model = reference.keras_net(seed=6)
    robust = METHODS["pgdat"](model, attack=FIXED, weight_decay=0.3)
    robust.compile(optimizer=keras.optimizers.SGD(0.1))
    adversarial = robust.attack(model, IMAGES, LABELS)
    net, before = reference.Net(model), weights_of(model)
    loss, _, gradients = reference.objective("pgdat", net, IMAGES, adversarial, LABELS, None)
    gradients = [g + 0.3 * w for g, w in zip(gradients, before)]
    penalty = 0.15 * sum(np.square(w).sum() for w in before)
    logs = robust.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0).history
    moved(model, gradients, before)
    np.testing.assert_allclose(logs["loss"], [loss.mean() + penalty], rtol=1e-4)
    np.testing.assert_allclose(logs["adv_loss"], [loss.mean()], rtol=1e-4)


def test_regularisers_of_the_classifier_count_once():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(reference.SHAPE),
            layers.Flatten(),
            layers.Dense(5, kernel_regularizer="l2", activity_regularizer="l2"),
            layers.Dense(3),
        ]
    )
    robust = METHODS["rlfat_p"](model, attack=FIXED)
    robust.compile(optimizer=keras.optimizers.SGD(0.0))
    logs = robust.fit(IMAGES, LABELS, batch_size=8, verbose=0).history
    penalty = logs["loss"][0] - logs["adv_loss"][0] - 0.5 * logs["alignment_loss"][0]
    kernel = 0.01 * np.square(model.get_weights()[0]).sum()
    assert kernel - 1e-4 < penalty < 2 * kernel + 1.0


@pytest.mark.parametrize("name", ["standard", "pgdat", "trades", "rlfat_p", "rlfat_t"])
def test_smoothed_labels_in_every_cross_entropy_and_nowhere_else(name):
    model = reference.keras_net(dtype="float64", seed=1)
    seed, net, shuffle = (
        seed_that_shuffles(),
        reference.Net(model),
        drawn_shuffle(seed_that_shuffles()),
    )
    rows = 0.6 * np.eye(reference.CLASSES)[LABELS] + 0.4 / reference.CLASSES
    expected = reference.objective(name, net, IMAGES, ADVERSARIAL, rows, shuffle)
    check(METHODS[name](model, label_smoothing=0.4), expected, seed)
    halves = np.full([8, reference.CLASSES], 0.5) * [1, 1, 0]  # soft rows are smoothed alike
    expected = reference.objective(
        name, net, IMAGES, ADVERSARIAL, 0.6 * halves + 0.4 / reference.CLASSES, shuffle
    )
    check(METHODS[name](model, label_smoothing=0.4), expected, seed, labels=halves)


def test_the_attack_of_a_smoothed_objective_ascends_the_hard_loss():
    model = reference.keras_net(seed=1)
    plain, smooth = (METHODS["pgdat"](model, attack=FIXED, label_smoothing=s) for s in (0, 0.4))
    seed = random.as_seed(0)
    found = [m.adversarial_examples(IMAGES, LABELS, seed).numpy() for m in (plain, smooth)]
    np.testing.assert_array_equal(*found)


def test_smoothing_is_that_of_keras():
    logits = np.random.default_rng(0).normal(size=(8, reference.CLASSES))
    rows = np.eye(reference.CLASSES)[LABELS]
    smoothed = losses.smooth_labels(LABELS, logits, 0.25)
    theirs = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.25, reduction="none"
    )
    np.testing.assert_allclose(
        losses.cross_entropy(smoothed, logits), theirs(rows, logits), rtol=1e-6
    )
    # The other convention: delta for the wrong classes together.
    np.testing.assert_allclose(smoothed, reference.smooth(LABELS, 0.25 * 2 / 3), rtol=1e-12)


def test_the_loss_raises_narrow_logits():
    assert losses.as_float(tf.zeros([2], tf.bfloat16)).dtype == tf.float32


def test_an_own_method_needs_only_its_equation():
    class Smoothed(base.AdversarialModel):
        terms = ("smoothed_loss",)

        def objective(self, logits, batch):
            loss = 2.0 * losses.cross_entropy(batch.labels, logits(batch.shuffle(batch.images)))
            return base.Objective(loss, {"smoothed_loss": loss})

    model = reference.keras_net(seed=1)
    robust = Smoothed(model, attack=FIXED)
    robust.compile(optimizer="sgd", metrics=["accuracy"])
    expected = 2 * reference.cross_entropy(LABELS, reference.Net(model).forward(IMAGES)[0])[0]
    logs = robust.fit(IMAGES, LABELS, batch_size=8, verbose=0).history
    np.testing.assert_allclose(logs["smoothed_loss"], [expected.mean()], rtol=1e-5)
    assert set(logs) == {"loss", "smoothed_loss"}
    with pytest.raises(TypeError, match="AdversarialModel does not implement objective"):
        base.AdversarialModel(model).batch_objective(None, None, None, random.as_seed(0), True)
