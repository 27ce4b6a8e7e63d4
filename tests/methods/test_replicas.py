"""Two replicas together do what one does alone at the same global batch.

What couples the examples of a batch is the exception: each replica couples its own.
"""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import LSP, METHODS, GradAlign, attacks
from rlfat_tf.core import random
from rlfat_tf.core.compat import keras
from rlfat_tf.methods.objective import Objective, global_batch_size
from rlfat_tf.methods.steps import ATTACK_DRAW, TRAIN
from rlfat_tf.models.discriminator import latent_discriminator
from tests import reference

IMAGES, ADVERSARIAL, LABELS = reference.images_and_labels(24, seed=1)
WHOLE = [tf.constant(a[:8]) for a in (IMAGES, ADVERSARIAL, LABELS)]
VALID, _, VALID_LABELS = reference.images_and_labels(12, seed=2)  # batches of 8 and 4


@pytest.fixture(scope="module")
def mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def batches(images, labels, drop_remainder):
    data = tf.data.Dataset.from_tensor_slices((images, labels.astype(np.int64)))
    return data.batch(8, drop_remainder=drop_remainder)


def make(name, batch_norm, **kwargs):
    net = reference.keras_net(batch_norm=batch_norm, synchronized=batch_norm, seed=3)
    if name == "atld":
        kwargs["discriminator"] = small_discriminator()
    robust = METHODS[name](net, **reference.needed(name), **kwargs)
    robust.compile(optimizer=keras.optimizers.SGD(0.2), metrics=["accuracy"])
    return robust


def small_discriminator():
    model = latent_discriminator(num_classes=3, widths=(8,), units_per_stage=1)
    rng = np.random.default_rng(7)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) * (-1) ** rng.integers(0, 2, w.shape)
                       if w.ndim == 2 else rng.uniform(0.5, 1.5, w.shape)
                       for w in model.get_weights()])  # fmt: skip
    return model


def on_replicas(mirrored, function):
    """Runs a function of (x, x', labels) on halves of eight examples.

    Returns its results, each a pair: of the first replica and of the second.
    """
    halves = [
        mirrored.experimental_distribute_values_from_function(
            lambda context, a=a: a[4 * context.replica_id_in_sync_group :][:4]
        )
        for a in WHOLE
    ]
    found = tf.function(lambda: mirrored.run(function, args=tuple(halves)))()
    return [mirrored.experimental_local_results(result) for result in found]


def outcome(robust, x, x_adv, labels, seed=None):
    """Per-example losses, then the loss and weight gradients of the batch that these are of."""
    seed = seed or random.replica_seed(robust.seed, TRAIN, 0)
    with tf.GradientTape() as tape:
        if x_adv is None:
            x_adv = robust.adversarial_examples(x, labels, seed.fold(ATTACK_DRAW))
        result = robust.batch_objective(x, x_adv, labels, seed, training=True)
        loss = tf.reduce_sum(result.loss) / global_batch_size(result.loss)
    return x_adv, result, [loss, *tape.gradient(loss, robust.model.trainable_variables)]


def summed(values):
    """What the optimizers make of the replicas' gradients."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def check_close(found, expected):
    scale = max(np.abs(g).max() for g in expected)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale)


CASES = {
    **{name: (name, {}) for name in METHODS},
    "batch-norm": ("rlfat_t", {"block_shuffle": "image"}),
    "first-order": ("local_global", {"variant": "first_order"}),
    "game": ("atld", {"objective_form": "game"}),
    "grad-align": ("pgdat", {"regularizer": GradAlign(epsilon=0.3, weight=5.0)}),
}


@pytest.mark.parametrize("case", CASES)
def test_weight_gradient_on_given_adversarial_images(mirrored, case):
    name, arguments = CASES[case]

    def made():
        return make(name, case == "batch-norm", seed=5, **arguments)

    with mirrored.scope():
        robust = made()
    found = on_replicas(mirrored, lambda *batch: summed(outcome(robust, *batch)[2]))
    check_close([of_both[0] for of_both in found], outcome(made(), *WHOLE)[2])


def test_the_scale_of_atld_is_that_of_the_global_batch(mirrored):
    def scale(robust, *batch):
        _, result, _ = outcome(robust, *batch)
        distance = tf.square(result.adversarial_logits - result.clean_logits)
        return [result.terms["divergence_loss"] / tf.reduce_mean(distance, -1)]

    with mirrored.scope():
        robust = make("atld", False)
    ((first, second),) = on_replicas(mirrored, lambda *batch: scale(robust, *batch))
    alone = make("atld", False)
    (expected,) = scale(alone, *WHOLE)
    np.testing.assert_allclose(np.concatenate([first, second]), expected, rtol=1e-5)
    np.testing.assert_allclose(expected, expected[0], rtol=1e-5)
    halves = [scale(alone, *(a[i : i + 4] for a in WHOLE))[0][0] for i in (0, 4)]
    assert np.ptp([*halves, expected[0]]) > 1e-3  # a half's own would be another one


@pytest.mark.parametrize("reading", [None, "neighborhood", "laplacian", "relative"])
def test_terms_that_couple_examples_are_means_over_the_replicas(mirrored, reading):
    """Sinkhorn's plan in Feature Scattering (no reading), and LSP."""
    if reading is None:
        name, arguments, given = "feature_scattering", {}, False
    else:
        lsp = {"regularizer": LSP(reading=reading, neighbors=3)}
        name, arguments, given = "pgdat", lsp, True

    def of(robust, x, x_adv, labels, seed=None):
        x_adv, result, gradients = outcome(robust, x, x_adv if given else None, labels, seed)
        return x_adv, result.loss, gradients

    def together(*batch):
        x_adv, losses, gradients = of(robust, *batch)
        return [x_adv, losses, *summed(gradients)]

    with mirrored.scope():
        robust = make(name, False, seed=5, **arguments)
    x_adv, losses, *gradients = on_replicas(mirrored, together)

    alone, halves = make(name, False, seed=5, **arguments), []
    for i in range(2):
        seed = random.Seed(random.as_seed(5).value, i, 2).fold(TRAIN, 0)
        halves.append(of(alone, *(a[4 * i : 4 * i + 4] for a in WHOLE), seed=seed))
    for i, (expected_adv, expected_losses, _) in enumerate(halves):
        np.testing.assert_allclose(x_adv[i], expected_adv, atol=1e-6)
        np.testing.assert_allclose(losses[i], expected_losses, rtol=1e-5, atol=1e-6)
    mean = [(one + other) / 2 for one, other in zip(halves[0][2], halves[1][2])]
    check_close([of_both[0] for of_both in gradients], mean)
    whole = of(alone, *WHOLE)[2]
    assert abs(float(whole[0]) - float(mean[0])) > 1e-4  # one device couples all of them


# Batch normalisation in training mode inside of the attack is the hardest case: every pass of the
# attack shares its statistics and updates them.
@pytest.mark.parametrize(
    ("name", "batch_norm", "steps", "arguments"),
    [
        ("rlfat_p", True, 1, {"attack_bn": "train"}),
        ("rlfat_t", False, 2, {"block_shuffle": "image", "weight_decay": 0.1}),
        ("local_global", False, 1, {}),
        ("local_global", False, 1, {"variant": "first_order"}),
        ("atld", False, 1, {"discriminator_steps": 1}),
    ],
)
def test_three_steps_of_fit(mirrored, name, batch_norm, steps, arguments):
    attack = attacks.LinfPGD(epsilon=0.1, steps=steps)
    radius = {"epsilon": 0.1, "eval_attack": attack} if name == "atld" else {"attack": attack}

    def trained():
        robust = make(name, batch_norm, seed=4, **radius, **arguments)
        # One case does not know the size of its batches, and validates too.
        special = name == "rlfat_t"
        data = batches(IMAGES, LABELS, drop_remainder=not special)
        valid = batches(VALID, VALID_LABELS, False) if special else None
        logs = robust.fit(data, validation_data=valid, shuffle=False, verbose=0).history
        return robust.get_weights(), logs

    start = make(name, batch_norm).get_weights()
    with mirrored.scope():
        weights, logs = trained()
    one_weights, one_logs = trained()
    for first, ours, theirs in zip(start, weights, one_weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        assert np.any(ours != first) or batch_norm  # the bias in front of it has no gradient
    assert set(logs) == set(one_logs)
    for key, values in one_logs.items():
        np.testing.assert_allclose(logs[key], values, rtol=1e-4, atol=1e-5, err_msg=key)


def test_evaluation_without_an_attack_counts_uneven_shards_right(mirrored):
    def evaluated():
        robust = make("standard", False)
        data = batches(VALID[:11], VALID_LABELS[:11], False)  # the last replica holds 1 of 3
        return robust.evaluate(data, return_dict=True, verbose=0)

    with mirrored.scope():
        logs = evaluated()
    expected = evaluated()
    assert set(logs) == set(expected) == {"loss", "clean_loss", "accuracy"}
    for key, value in expected.items():
        np.testing.assert_allclose(logs[key], value, rtol=1e-5, err_msg=key)


def test_every_example_counts_alike_for_the_discriminator_of_atld(mirrored):
    """On a replica with three of four examples as on the one with the fourth."""

    def made():
        inputs = keras.Input((3,))
        outputs = [keras.layers.Dense(1)(inputs), keras.layers.Dense(3)(inputs)]
        discriminator = keras.Model(inputs, outputs)
        rng = np.random.default_rng(3)
        discriminator.set_weights([rng.normal(size=w.shape) for w in discriminator.get_weights()])
        robust = METHODS["atld"](reference.keras_net(seed=1), discriminator=discriminator)
        robust.compile(optimizer="sgd")
        return robust

    def update(robust, *parts):
        # As in the last batch of a data set, whose size is not known when the step is traced.
        unknown = ([None, 3], [None, 3], [None])
        clean, adversarial, labels = map(tf.compat.v1.placeholder_with_default, parts, unknown)
        result = Objective(tf.zeros_like(labels, tf.float32), {}, clean, adversarial)
        robust.after_update(result, labels)

    logits = np.random.default_rng(4).normal(size=(2, 4, 3)).astype(np.float32)
    batch = (*logits, np.array([0, 1, 2, 2], np.int32))
    parts = slice(0, 3), slice(3, 4)
    with mirrored.scope():
        robust = made()
        values = [
            mirrored.experimental_distribute_values_from_function(
                lambda context, a=a: tf.constant(a[parts[context.replica_id_in_sync_group]])
            )
            for a in batch
        ]
    alone = made()
    before = alone.discriminator.get_weights()
    tf.function(lambda: mirrored.run(lambda *b: update(robust, *b), args=tuple(values)))()
    tf.function(lambda: update(alone, *batch))()
    ours, expected = (r.discriminator.get_weights() for r in (robust, alone))
    for found, wanted, old in zip(ours, expected, before):
        assert np.abs(wanted - old).max() > 1e-4
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_unsynchronised_batch_normalisation_is_warned_of(mirrored):
    with mirrored.scope():
        net = reference.keras_net(batch_norm=True)
        with pytest.warns(UserWarning, match="not synchronised.*synchronized=True.*drop_remainder"):
            METHODS["pgdat"](net)
