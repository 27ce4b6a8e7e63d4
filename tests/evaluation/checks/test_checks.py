"""Every fault, planted in a trained net, gives its own warning; sound nets give none."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf import attacks, data
from rlfat_tf.core import norms
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.checks import results as checks
from rlfat_tf.evaluation.checks.model import _correct
from rlfat_tf.evaluation.classifier import as_classifier

ROOT = Path(__file__).resolve().parents[3]
DIGITS = data.load("digits")
IMAGES, LABELS = DIGITS.test.images[:150], DIGITS.test.labels[:150].astype(np.int32)
EPSILON = 0.15


def train(method, epochs, **arguments):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, strides=2),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10),
        ]
    )
    model = method(net, **arguments)
    model.compile(keras.optimizers.Adam(0.01))
    batches = data.training_batches(DIGITS.train, batch_size=64, seed=0, augment="none")
    model.fit(batches, steps_per_epoch=22, epochs=epochs, verbose=0)
    return net


@pytest.fixture(scope="module")
def standard():
    return train(rlfat_tf.Standard, 4)


@pytest.fixture(scope="module")
def robust():
    return train(rlfat_tf.PGDAT, 10, attack=attacks.LinfPGD(epsilon=EPSILON, steps=3))


def check(model, images=IMAGES, labels=LABELS, *, epsilon=EPSILON, norm="linf"):
    """Returns the checks that find something, and their findings."""
    classifier = as_classifier(model)
    clean = np.argmax(classifier.logits_fn(tf.constant(images)), -1) == labels
    found = checks.check_model(classifier, images, labels, clean, epsilon=epsilon, norm=norm)
    return [finding.check for finding in found], found


@pytest.mark.parametrize(
    "net, norm, epsilon",
    [("standard", "linf", EPSILON), ("robust", "linf", EPSILON), ("robust", "l2", 1.0)],
)
def test_sound_nets_give_no_warning(request, net, norm, epsilon):
    assert check(request.getfixturevalue(net), norm=norm, epsilon=epsilon) == ([], [])


def test_a_linear_classifier_is_sound_in_the_euclidean_ball():
    """Twenty steps from a start at a right angle to the gradient reach as far as one along it."""
    random = np.random.default_rng(0)
    weights = np.outer(random.standard_normal(3072), [-1, 1]).astype(np.float32)
    images = random.uniform(0.4, 0.6, (32, 32, 32, 3)).astype(np.float32)

    def linear(points):
        return tf.reshape(points - 0.5, [-1, 3072]) @ weights

    labels = np.argmax(linear(images), -1)
    assert check(linear, images, labels, epsilon=0.25, norm="l2") == ([], [])


def test_a_model_that_scales_twice_is_found(standard):
    """Even one that has learned to live with it: what its first layer receives tells."""
    shape = standard.input_shape[1:]
    net = keras.models.clone_model(standard)
    kernel, *others = standard.get_weights()
    net.set_weights([255 * kernel, *others])
    twice = keras.Sequential([keras.Input(shape), keras.layers.Rescaling(1 / 255), net])
    names, findings = check(twice)
    assert names == ["another-range"] and "scale images of 0 to 255 itself" in findings[0].message


def test_images_that_were_divided_twice_are_told_from_a_model_of_another_range(standard):
    dark = IMAGES / 255
    names, findings = check(standard, dark)
    assert names == ["another-range"]
    assert "divided by 255 twice. Divide them once." in findings[0].message


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, ValueError])
def test_a_model_that_refuses_other_ranges_by_python_has_no_image_right_there(standard, error):
    def look(images):
        if images.max() > 1:
            raise error("pixels in [0, 1], please")
        return images

    @tf.function
    def logits(images):
        seen = tf.numpy_function(look, [images], tf.float32)
        return standard(tf.ensure_shape(seen, images.shape))

    assert _correct(logits, IMAGES, LABELS) > 0 == _correct(logits, IMAGES * 255, LABELS)


class Halved(keras.Model):
    """A user's own, which holds its network as ``model`` and shows it other images than it gets."""

    def __init__(self, net):
        super().__init__()
        self.model = net

    def call(self, images, training=None):
        return self.model(images[:, ::2, ::2], training=training)


def test_a_model_that_holds_another_is_tried_as_a_whole(robust):
    large = IMAGES.repeat(2, axis=1).repeat(2, axis=2)
    assert check(Halved(robust), large) == ([], [])


def test_the_robust_net_is_robust(standard, robust):
    attack = tf.function(attacks.LinfPGD(epsilon=EPSILON, keep="best"))
    shares = [
        np.mean(np.argmax(net(attack(net, IMAGES, LABELS)), -1) == LABELS)
        for net in (standard, robust)
    ]
    assert shares[1] > shares[0] + 0.2


# Faults by name: from the net to a faulty classifier, and what is seen, by a word of the message.


def softmax(net):
    return lambda images: tf.nn.softmax(net(images))


def overflow(net):
    return lambda images: tf.exp(100 * net(images))


def wants_bytes(net):
    return lambda images: net(images / 255)


def wants_both_signs(net):
    return lambda images: net((images + 1) / 2)


def noise(net):
    layer = keras.layers.GaussianNoise(0.1)
    return lambda images: net(layer(images, training=True))


def dropout(net):
    layer = keras.layers.Dropout(0.2)
    return lambda images: net(layer(images, training=True))


def noise_with_a_seed(net):
    return lambda images: net(images + tf.random.stateless_normal(tf.shape(images), [1, 2], 0, 0.1))


def batch_norm_in_training(net):
    copy = keras.models.clone_model(net)  # whose moving statistics will move
    copy.set_weights(net.get_weights())
    return lambda images: copy(images, training=True)


def log_of_nothing(net):
    return lambda images: net(tf.where(images > 0, tf.exp(tf.math.log(images)), 0.0))


def far_apart(net):
    return lambda images: 1e4 * net(images)


def quantised(net):
    return lambda images: net(tf.sigmoid(1e4 * (images - 0.53)))


def rugged(net):
    """Images, multiples of 1/16, pass unchanged; between them the slope has the wrong sign."""
    wave = 32 * np.pi
    return lambda images: net(images + 4 * tf.sin(wave * images) / wave)


def remembers(net, radius, images=IMAGES):
    """Beyond a distance from all test images it answers as at the nearest of them."""
    known, answers = tf.constant(images), net(images)

    def logits(images):
        distances = tf.reduce_max(tf.abs(images[:, None] - known), [2, 3, 4])
        remembered = tf.gather(answers, tf.argmin(distances, -1))
        far = tf.reduce_min(distances, -1, keepdims=True) > radius
        return tf.where(far, remembered, net(images))

    return logits


def remembers_all(net):
    return remembers(net, 0.05)


def remembers_beyond_epsilon(net):
    return remembers(net, 1.05 * EPSILON)


FAULTS = [
    (overflow, {"non-finite-logits"}, "NaN or infinite"),
    (softmax, {"softmax-outputs"}, "sum to 1"),
    (wants_bytes, {"another-range"}, r"scaled to \[0, 255\]"),
    (wants_both_signs, {"another-range"}, r"scaled to \[-1, 1\]"),
    (noise, {"randomised-predictions"}, "version 'rand'"),
    (dropout, {"randomised-predictions"}, "of the range of the logits"),
    (noise_with_a_seed, {"batch-dependence"}, "its place"),
    (batch_norm_in_training, {"batch-dependence"}, "training=False"),
    (log_of_nothing, {"non-finite-gradients"}, "48 of 48"),
    (far_apart, {"zero-gradients"}, "4[5678] of 48 .* exactly 1 in float32.* trust them"),
    (quantised, {"zero-gradients"}, "48 of 48 .* without gradients only .square"),
    (rugged, {"more-steps", "unbounded-attack"}, "20 steps leaves .* with one step"),
    (remembers_all, {"unbounded-attack"}, "leaves 48 of 48"),
    (
        remembers_beyond_epsilon,
        {"larger-epsilon", "unbounded-attack"},
        r"leaves \d+ of 48 .* epsilon 0.15 and 4[5678] at twice",
    ),
]


@pytest.mark.parametrize(
    "fault, expected, message", FAULTS, ids=lambda x: getattr(x, "__name__", "")
)
def test_a_fault_gives_its_warning_and_no_other(standard, fault, expected, message):
    names, findings = check(fault(standard))
    assert set(names) == expected and len(names) == len(expected)
    assert re.search(message, findings[0].message)
    assert all(f.page == f"docs/evaluation_checks.md#{f.check}" for f in findings)


def test_without_gradients_or_right_examples_the_rest_is_checked(standard):
    def rounded(images):
        return standard(tf.round(16 * images) / 16)

    assert not as_classifier(rounded).has_gradients(IMAGES[:1])
    assert check(rounded) == ([], [])
    assert check(softmax(rounded))[0] == ["softmax-outputs"]
    never = standard(IMAGES).numpy().argmin(-1).astype(np.int32)
    assert check(standard, labels=never) == ([], [])


def test_one_example_and_an_epsilon_of_the_attacks_own(standard):
    assert check(standard, IMAGES[:1], LABELS[:1], epsilon=None, norm="l2") == ([], [])


def test_examples_are_taken_evenly_because_data_may_be_sorted():
    images = np.linspace(0, 1, 1000, dtype=np.float32)[:, None, None, None]

    def logits(images):  # the second half is broken
        return tf.concat([tf.zeros_like(images[:, 0, 0]), tf.sqrt(0.5 - images[:, 0, 0])], -1)

    _, findings = check(logits, images, np.zeros(1000, np.int32))
    assert "24 of 48 clean images" in findings[0].message


@pytest.mark.parametrize("worst", [-0.01, 1.01, 255.0, np.nan, np.inf])
def test_images_out_of_range(standard, worst):
    images = IMAGES.copy()
    assert checks.images_in_range(images) is None
    images[3, 2, 1, 0] = worst
    finding = checks.images_in_range(images)
    assert finding.check == "images-out-of-range" and f"{worst:g}" in finding.message
    names, findings = check(standard, images, epsilon=8.0)
    assert names == ["images-out-of-range"] and findings == [finding]
    assert finding.to_dict() == {
        "check": finding.check, "message": finding.message, "page": finding.page
    }  # fmt: skip


@pytest.mark.parametrize(
    "norm, epsilon, hint",
    [
        ("linf", 8 / 255, None),
        ("linf", 0.3, None),
        ("linf", 0.5, "meant in units of 0 to 255, or the radius of the other norm"),
        ("linf", 0.0, None),
        ("linf", None, None),
        ("linf", 8 / 255 / 255, "divided by 255 twice?"),
        ("linf", 8.0, "units of 0 to 255"),
        ("l2", 0.5, None),
        ("l2", 3.0, None),
        ("l2", 0.1, None),
        ("l2", 0.5 / 255, "divided by 255 twice"),
        ("l2", 8 / 255, "divided by 255 twice, or the radius of the other norm"),
        ("l2", 128.0, "units of 0 to 255?"),
    ],
)
def test_the_unit_of_epsilon(norm, epsilon, hint):
    finding = checks.epsilon_unit(epsilon, norm)
    assert (finding is None) == (hint is None)
    if hint:
        assert hint in finding.message and finding.page.endswith("#epsilon-unit")


def test_a_strange_epsilon_is_reported_with_what_else_is_found(standard):
    assert check(softmax(standard), epsilon=8.0)[0] == ["epsilon-unit", "softmax-outputs"]


@pytest.mark.parametrize("norm, other", [("linf", "l2"), ("l2", "linf")])
def test_the_usual_radius_of_the_other_norm_is_found(norm, other):
    usual = norms.get(norm).usual_epsilon
    assert checks.epsilon_unit(usual, norm) is None
    assert "the radius of the other norm" in checks.epsilon_unit(usual, other).message


def test_a_reduced_budget_is_not_autoattack():
    whole, half = attacks.AutoAttack(), attacks.AutoAttack(budget=0.5)
    assert checks.check_attacks({"autoattack": whole, "pgd": attacks.LinfPGD()}) == []
    (found,) = checks.check_attacks({"autoattack": whole, "quick": half})
    assert found.check == "reduced-budget" and found.message.startswith("quick runs with 0.5 times")
    (found,) = checks.check_attacks({"autoattack": whole, "mine": attacks.Fast()})
    assert found.check == "not-autoattack" and found.message.startswith("mine is two parts of")


def test_every_check_has_its_section_and_every_section_its_check():
    page = (ROOT / "docs/evaluation_checks.md").read_text()
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    anchors = [heading.lower().replace(" ", "-") for heading in headings]
    sources = (ROOT / "rlfat_tf/evaluation/checks").glob("*.py")
    named = {
        name
        for source in sources
        for name in re.findall(r'finding\(\s*"([^"]+)"', source.read_text())
    }
    assert len(named) > 10 and sorted(named) == sorted(anchors)
    links = re.findall(r"\]\(#([^)]+)\)", page)
    assert links and set(links) <= set(anchors)


def test_outputs_of_a_sigmoid_for_each_class_are_found(standard):
    names, (found,) = check(lambda x: tf.sigmoid(standard(x)))
    assert names == ["softmax-outputs"] and "sigmoid for each class" in found.message


def test_probabilities_in_bfloat16_are_found(standard):
    names, _ = check(lambda x: tf.nn.softmax(tf.cast(standard(x), tf.bfloat16)))
    assert names == ["softmax-outputs"]


def test_random_numbers_of_numpy_are_found(standard):
    """A graph keeps the one draw that was made when it was traced."""
    numbers = np.random.default_rng(0)
    names, (found,) = check(lambda x: standard(x) + numbers.normal(size=10).astype(np.float32))
    assert names == ["randomised-predictions"] and "by Python or NumPy" in found.message


def test_steps_that_cannot_reach_the_border_are_found():
    short = attacks.MIM(epsilon=0.3, steps=5, step_size=0.03)
    wrapped = attacks.Targeted(attack=short, target=1)
    whole = {"pgd": attacks.LinfPGD(epsilon=0.3, steps=10), "square": attacks.Square(epsilon=0.3)}
    found = checks.check_attacks({"mim": short, "towards": wrapped, **whole})
    assert [(each.check, each.message[:11]) for each in found] == [
        ("short-steps", "mim takes 5"), ("short-steps", "towards tak"),
    ]  # fmt: skip
