"""What a user can get wrong, and that it is said before any weight changes."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import AWP, METHODS, PGDAT, RLFATP, Standard, attacks
from rlfat_tf.core.compat import KERAS_3, dtype_policy, keras
from tests import reference

layers = keras.layers
SHAPE = reference.SHAPE
IMAGES, _, LABELS = reference.images_and_labels()
STOPPED = (ValueError, tf.errors.InvalidArgumentError)


def functional_with(last):
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, last(layers.Flatten()(inputs)))


def nested_softmax():
    inner = keras.Sequential([keras.Input((60,)), layers.Dense(3, activation="softmax")])
    return functional_with(inner)


def softmax_among_branches():
    inputs = keras.Input(SHAPE)
    flat = layers.Flatten()(inputs)
    auxiliary = layers.Dense(3)(flat)
    joint = layers.Add()([layers.Dense(3)(flat), auxiliary])
    return keras.Model(inputs, layers.Softmax()(joint))


SOFTMAX = {
    "sequential": lambda: keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), layers.Dense(3, activation="softmax")]
    ),
    "sequential not built": lambda: keras.Sequential(
        [layers.Flatten(), layers.Dense(3, activation="softmax")]
    ),
    "functional": lambda: functional_with(layers.Dense(3, activation="softmax")),
    "activation layer": lambda: functional_with(
        lambda x: layers.Activation("softmax")(layers.Dense(3)(x))
    ),
    "softmax layer": lambda: functional_with(lambda x: layers.Softmax()(layers.Dense(3)(x))),
    "branches": softmax_among_branches,
    "nested": nested_softmax,
    "nested last": lambda: keras.Sequential([keras.Input(SHAPE), layers.Flatten(), nested_last()]),
    "TensorFlow's function": lambda: functional_with(
        lambda x: (keras.ops if KERAS_3 else tf.nn).softmax(layers.Dense(3)(x))
    ),
    "function": lambda: functional_with(lambda x: keras.activations.softmax(layers.Dense(3)(x))),
}


def nested_last():
    return keras.Sequential([keras.Input((60,)), layers.Dense(3), layers.Softmax()])


@pytest.mark.parametrize("build", SOFTMAX.values(), ids=SOFTMAX)
def test_a_softmax_at_the_end(build):
    with pytest.raises(ValueError, match="ends in a softmax, but logits are needed"):
        PGDAT(build())


@pytest.mark.parametrize("name", ["sigmoid", "hard_sigmoid", "tanh"])
def test_a_bound_for_each_class_at_the_end(name):
    endings = [
        layers.Dense(3, activation=name),
        lambda x: layers.Activation(name)(layers.Dense(3)(x)),
        lambda x: getattr(keras.activations, name)(layers.Dense(3)(x)),
    ]
    for last in endings if name != "hard_sigmoid" else endings[:2]:
        with pytest.raises(ValueError, match=f"ends in a {name}, which is one value"):
            PGDAT(functional_with(last))


def test_a_softmax_inside_is_fine():
    attention = functional_with(
        lambda x: layers.Dense(3)(layers.Multiply()([x, layers.Dense(60, "softmax")(x)]))
    )
    PGDAT(attention)
    PGDAT(functional_with(layers.Dense(3, activation="relu")))
    log_softmax = (keras.ops if KERAS_3 else tf.nn).log_softmax  # as good as logits
    PGDAT(functional_with(lambda x: log_softmax(layers.Dense(3)(x))))


class Subclassed(keras.Model):
    """Its layers cannot be listed, so only its values tell what it ends in."""

    def __init__(self, activation=None, units=3, **kwargs):
        super().__init__(**kwargs)
        self.flatten = layers.Flatten()
        self.last = layers.Dense(units, activation=activation)

    def call(self, inputs):
        return self.last(self.flatten(inputs))


HIDDEN_SOFTMAX = {
    "subclassed": lambda: Subclassed("softmax"),
    "bfloat16": lambda: Subclassed("softmax", dtype="bfloat16"),
    "lambda": lambda: functional_with(lambda x: layers.Lambda(tf.nn.softmax)(layers.Dense(3)(x))),
}


@pytest.mark.parametrize("build", HIDDEN_SOFTMAX.values(), ids=HIDDEN_SOFTMAX)
def test_a_softmax_that_only_the_values_tell(build):
    model = build()
    model(IMAGES)
    stops(compiled(RLFATP, model), one_batch(IMAGES, LABELS), "ends in a softmax, but logits are")


@pytest.mark.parametrize("count", [1, 8])
def test_logits_of_a_subclassed_model_are_fine(count):
    for activation in (None, "relu"):
        robust = compiled(PGDAT, Subclassed(activation))
        robust.fit(one_batch(IMAGES[:count], LABELS[:count]), shuffle=False, verbose=0)


def test_one_logit():
    with pytest.raises(ValueError, match="one output, but a logit for each class.*Dense\\(2\\)"):
        PGDAT(functional_with(layers.Dense(1, activation="sigmoid")))
    with pytest.raises(ValueError, match="one output, but a logit for each class"):
        compiled(PGDAT, Subclassed(units=1)).fit(one_batch(IMAGES, LABELS), verbose=0)


def test_several_outputs():
    inputs = keras.Input(SHAPE)
    flat = layers.Flatten()(inputs)
    model = keras.Model(inputs, [layers.Dense(3)(flat), layers.Dense(2)(flat)])
    with pytest.raises(ValueError, match="one output, the logits.*received 2 outputs"):
        PGDAT(model)


def test_logits_of_a_wrong_rank():
    model = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(3, 1)])
    with pytest.raises(ValueError, match=r"logits of shape \[batch, classes\]"):
        PGDAT(model)


def test_no_keras_model():
    with pytest.raises(TypeError, match="Expected a Keras model.*received function"):
        PGDAT(lambda x: x)


@pytest.mark.parametrize(
    ("attack", "received"), [("pgd", "'pgd'"), (attacks.LinfPGD, "LinfPGD"), (0.1, "0.1")]
)
def test_what_is_no_attack(attack, received):
    for argument in ("attack", "eval_attack"):
        message = rf"with its arguments, such as .*LinfPGD\(.*; received {received}\.$"
        with pytest.raises(TypeError, match=message):
            PGDAT(reference.keras_net(), **{argument: attack})


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_float16(policy):
    with dtype_policy(policy):
        model = keras.Sequential(
            [keras.Input(SHAPE), layers.Flatten(), layers.Dense(3, dtype="float32")]
        )
    with pytest.raises(ValueError, match="float16.*mixed_bfloat16"):
        PGDAT(model)


@pytest.mark.parametrize(
    "loss", ["sparse_categorical_crossentropy", keras.losses.MeanSquaredError()]
)
def test_a_loss_given_to_compile(loss):
    with pytest.raises(ValueError, match="RLFATP defines its own objective. Leave the loss out"):
        RLFATP(reference.keras_net()).compile(optimizer="adam", loss=loss)


def test_an_optimizer_that_scales_the_loss():
    optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD())
    with pytest.raises(ValueError, match="scales the loss"):
        PGDAT(reference.keras_net()).compile(optimizer=optimizer)


def test_an_empty_model_and_one_without_a_list_of_layers():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    PGDAT(keras.Sequential())
    PGDAT(Own())


def compiled(method=PGDAT, model=None, **kwargs):
    robust = method(model or reference.keras_net(), attack=attacks.FGSM(epsilon=0.1), **kwargs)
    robust.compile(optimizer=keras.optimizers.SGD(0.1))
    return robust


def stops(robust, data, message, *, evaluation=True):
    """Both fit and evaluate stop, and no weight has changed."""
    before = robust.get_weights()
    with pytest.raises(STOPPED, match=message):
        robust.fit(data, shuffle=False, verbose=0)
    if evaluation:
        with pytest.raises(STOPPED, match=message):
            robust.evaluate(data, verbose=0)
    for old, new in zip(before, robust.get_weights()):
        np.testing.assert_array_equal(old, new)


def one_batch(images, *labels):
    """As tf.data, so that Keras does not convert what is given."""
    return tf.data.Dataset.from_tensors((images, *labels))


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (255 * IMAGES, r" \(divide 8-bit"),
        (IMAGES - 0.5, r" \(divide 8-bit"),
        (np.where(IMAGES > 0.9, np.nan, IMAGES), "; received pixels that are NaN"),
    ],
)
def test_images_out_of_range(images, reason):
    stops(compiled(), one_batch(images, LABELS), rf"Expected images in \[0, 1\]{reason}")


def test_8_bit_images():
    data = one_batch((255 * IMAGES).astype(np.uint8), LABELS)
    stops(compiled(), data, r"float images in \[0, 1\]; received uint8.*/ 255")


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS - 1, 3 + 0 * LABELS])
def test_labels_out_of_range(labels):
    stops(compiled(), one_batch(IMAGES, labels), r"Expected labels in 0 \.\.\. 2")


def test_labels_of_a_wrong_shape():
    data = one_batch(IMAGES, np.eye(4, dtype=np.float32)[LABELS])
    stops(compiled(), data, "one-hot labels with 3 columns.*received 4")
    data = one_batch(IMAGES, np.zeros((8, 3, 1), np.float32))
    stops(compiled(), data, "Expected labels of shape")


def test_unsigned_labels_and_the_last_class_are_fine():
    data = one_batch(IMAGES, np.full(8, 2, np.uint8))
    compiled().fit(data, shuffle=False, verbose=0)


def test_missing_labels():
    data = tf.data.Dataset.from_tensors(IMAGES)
    stops(compiled(), data, r"batches of \(images, labels\); received images only")


@pytest.mark.parametrize("eager", [False, True])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(eager):
    robust = compiled(RLFATP)
    robust.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=eager)
    weights = robust.get_weights()
    robust.set_weights([*weights[:-2], np.full_like(weights[-2], 3e38), weights[-1]])
    data = one_batch(IMAGES, LABELS)
    stops(robust, data, "The loss is not finite", evaluation=False)


def test_momentum_of_batch_normalisation():
    def model(momentum):
        norm = layers.BatchNormalization(momentum=momentum)
        return keras.Sequential([keras.Input(SHAPE), norm, layers.Flatten(), layers.Dense(3)])

    with pytest.warns(UserWarning, match="momentum above 0.9.*attack_bn='batch'"):
        PGDAT(model(0.99))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        PGDAT(model(0.9))
        PGDAT(model(0.99), attack_bn="batch")


def test_augmentation_inside_of_the_model():
    def model():
        flip = keras.Sequential([layers.RandomFlip(), layers.RandomTranslation(0.1, 0.1)])
        inputs = keras.Input(SHAPE)
        return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(flip(inputs))))

    match = r"contains random augmentation \(RandomFlip, RandomTranslation\).*--augment"
    with pytest.warns(UserWarning, match=match):
        RLFATP(model())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        Standard(model())  # compares nothing and attacks nothing
        RLFATP(keras.Sequential([layers.Flatten(), layers.Dropout(0.1), layers.Dense(3)]))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("rlfat_p", {"num_blocks": 0}, "num_blocks to be an integer of at least 1; received 0"),
        ("rlfat_t", {"num_blocks": 1.5}, "num_blocks"),
        ("rbsat_p", {"block_shuffle": "images"}, "Did you mean 'image'"),
        ("trades", {"attack_bn": "test"}, "Unknown attack_bn 'test'"),
    ],
)
def test_arguments_of_the_methods(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        METHODS[name](reference.keras_net(), **arguments)


def test_more_blocks_than_pixels_are_refused_by_the_first_step():
    stops(compiled(RLFATP, num_blocks=6), one_batch(IMAGES, LABELS), "num_blocks <= 5")


def test_an_activity_regulariser_in_the_attacked_net():
    """It is a loss of the forward passes of training, and must not leak out of the attack's."""
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(5, activity_regularizer="l2"),
            layers.Dense(3),
        ]
    )
    robust = PGDAT(model, attack=attacks.LinfPGD(steps=2))
    robust.compile(optimizer="sgd")
    logs = robust.fit(one_batch(IMAGES, LABELS), shuffle=False, verbose=0).history
    assert np.isfinite(logs["loss"][0]) and logs["loss"][0] > logs["adv_loss"][0]


def test_two_classes_are_not_smoothed_until_nothing_is_left_of_them():
    """The paper's half of every label for the wrong classes is all of it for the one there is."""
    method, net = METHODS["feature_scattering"], functional_with(layers.Dense(2))
    robust = method(net)
    robust.compile(optimizer="sgd")
    with pytest.raises(ValueError, match="of 2 classes leaves none.*label_smoothing=0.1"):
        robust.train_on_batch(IMAGES, LABELS % 2)
    assert METHODS["atld"].mass_of_wrong_classes == method.mass_of_wrong_classes == 0.5
    smoothed = method(net, label_smoothing=0.1).smoothed([0, 1], tf.zeros([2, 2]))
    np.testing.assert_allclose(smoothed, [[0.95, 0.05], [0.05, 0.95]], rtol=1e-6)


def test_without_an_attack_of_evaluation_there_is_clean_accuracy_only():
    robust = PGDAT(reference.keras_net(seed=1), attack=attacks.FGSM(epsilon=0.1))
    robust.eval_attack = None
    robust.compile(optimizer="sgd", metrics=["accuracy"])
    expected = np.mean(np.argmax(robust.model(IMAGES), -1) == LABELS)
    found = robust.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
    assert found == {"accuracy": pytest.approx(expected)}
    history = robust.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS), verbose=0).history
    assert "val_accuracy" in history and "val_adv_accuracy" not in history


def test_a_classifier_of_vectors_is_trained():
    net = keras.Sequential([keras.Input((60,)), layers.Dense(3)])
    robust = PGDAT(net, attack=attacks.FGSM(epsilon=0.1))
    robust.compile(optimizer="sgd", metrics=["accuracy"])
    history = robust.fit(IMAGES.reshape(-1, 60), LABELS, verbose=0).history
    assert np.isfinite(history["loss"]).all()


class OwnNorm(layers.BatchNormalization):
    """A user's subclass, whose name does not tell what it is."""


def test_a_subclass_of_batch_normalisation_is_one():
    def after(kind):
        net = keras.Sequential(
            [keras.Input(SHAPE), layers.Flatten(), kind(momentum=0.5), layers.Dense(3)]
        )
        net.layers[-1].set_weights([np.full((60, 3), 0.1, np.float32), np.zeros(3, np.float32)])
        attack = attacks.FGSM(epsilon=0.1)
        robust = PGDAT(net, attack=attack, attack_bn="batch", decay_exclude="batch_norm")
        robust.compile(optimizer="sgd")
        robust.train_on_batch(IMAGES, LABELS)
        return net.get_weights()

    for own, theirs in zip(after(OwnNorm), after(layers.BatchNormalization)):
        np.testing.assert_array_equal(own, theirs)


def test_a_step_that_fails_eagerly_leaves_the_weights_as_they_were():
    class Failing(PGDAT):
        calls = 0

        def objective(self, logits, batch):
            type(self).calls += 1
            if self.calls % 2 == 0:  # at the moved weights
                raise KeyboardInterrupt
            return super().objective(logits, batch)

    net = reference.keras_net(seed=1)
    before = net.get_weights()
    robust = Failing(net, attack=attacks.FGSM(epsilon=0.1), weight_perturbation=AWP(0.5))
    robust.compile(optimizer="sgd", run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        robust.train_on_batch(IMAGES, LABELS)
    for weight, expected in zip(net.get_weights(), before):
        np.testing.assert_array_equal(weight, expected)
