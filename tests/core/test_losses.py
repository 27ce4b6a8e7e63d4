"""Per-example losses against NumPy in float64, values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.core import losses
from tests import reference

RNG = np.random.default_rng(0)
LOGITS, OTHER = RNG.normal(0, 3, (2, 7, 4))
LABELS = np.array([0, 1, 2, 3, 3, 0, 2])
ONE_HOT = np.eye(4)[LABELS]
SOFT = 0.9 * ONE_HOT + 0.025
TOLERANCE = {"float64": 1e-10, "float32": 2e-5}


def value_and_gradients(function, *tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
        total = tf.reduce_sum(value)
    return [value, *tape.gradient(total, tensors)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS[:, None], LABELS.astype(np.uint8), ONE_HOT, ONE_HOT.astype(int), SOFT],
    ids=["integers", "column", "uint8", "one-hot", "integer one-hot", "soft"],
)
def test_cross_entropy(labels, dtype):
    logits = tf.constant(LOGITS, dtype)
    found = value_and_gradients(lambda z: losses.cross_entropy(tf.constant(labels), z), logits)
    flat = labels if labels.shape == ONE_HOT.shape else LABELS
    expected = reference.cross_entropy(flat, LOGITS)
    for ours, theirs in zip(found, expected):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_kl_divergence_and_both_its_gradients(dtype):
    found = value_and_gradients(
        losses.kl_divergence, tf.constant(LOGITS, dtype), tf.constant(OTHER, dtype)
    )
    for ours, theirs in zip(found, reference.kl(LOGITS, OTHER)):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(losses.kl_divergence(LOGITS, LOGITS), np.zeros(7), atol=1e-12)


def test_kl_divergence_clips_no_probability():
    # p = (1, 0), q = (e^-40, 1): the divergence is 40, where a clip at 1e-7 gives 16.
    found = losses.kl_divergence(tf.constant([[40.0, 0.0]]), tf.constant([[0.0, 40.0]]))
    np.testing.assert_allclose(found, [40.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_squared_distance_sums_over_the_logits(dtype):
    found = value_and_gradients(
        losses.squared_distance, tf.constant(LOGITS, dtype), tf.constant(OTHER, dtype)
    )
    for ours, theirs in zip(found, reference.squared_distance(LOGITS, OTHER)):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("labels", [LABELS, ONE_HOT], ids=["integers", "one-hot"])
def test_margin(labels):
    true = LOGITS[np.arange(7), LABELS]
    wrong = np.where(ONE_HOT > 0, -np.inf, LOGITS).max(-1)
    for confidence in (50.0, 0.0, 1.5):
        expected = -np.maximum(true - wrong + confidence, 0)
        found = losses.margin(tf.constant(labels), tf.constant(LOGITS), confidence)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_margin_masks_the_true_class_even_if_all_logits_are_negative():
    found = losses.margin(tf.constant([0]), tf.constant([[-1.0, -5.0, -3.0]]))
    np.testing.assert_allclose(found, [-(-1.0 + 3.0 + 50.0)])


def test_margin_ascends_by_lowering_the_true_logit():
    logits = tf.constant([[2.0, 1.0, 0.0]])
    gradient = value_and_gradients(lambda z: losses.margin(tf.constant([0]), z), logits)[1]
    np.testing.assert_array_equal(gradient, [[-1, 1, 0]])


def test_labels_without_their_smoothing():
    mixture, soft = [0, 0.3, 0.7, 0, 0], [0.4, 0.3, 0.2, 0.1, 0]
    rows = np.float32([[0, 0, 1, 0, 0], mixture, soft])
    smoothed = np.float32(0.9) * rows[:2] + np.float32(0.1 / 5)
    np.testing.assert_allclose(losses.without_smoothing(smoothed), rows[:2], rtol=1e-6)
    np.testing.assert_array_equal(losses.without_smoothing(smoothed)[0], rows[0])
    stays = np.float32([*rows, [0.3, 0.25, 0.2, 0.15, 0.1], [0.2] * 5])
    np.testing.assert_array_equal(losses.without_smoothing(stays), stays)
    two = np.float32([[0.95, 0.05], [1, 0]])  # smoothed, or a mixture
    np.testing.assert_array_equal(losses.without_smoothing(two), two)
    for integers in (np.int32([1, 0]), np.int32([[1], [0]]), np.int32([[0, 1], [1, 0]])):
        np.testing.assert_array_equal(losses.without_smoothing(integers), integers)


def test_large_logits_stay_finite():
    logits = tf.constant([[1e4, -1e4, 0.0]])
    np.testing.assert_allclose(losses.cross_entropy(tf.constant([1]), logits), [2e4])
    assert np.all(np.isfinite(losses.kl_divergence(logits, -logits)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_logits_are_raised_to_float32(dtype):
    logits = tf.cast(LOGITS, dtype)
    exact = tf.cast(logits, tf.float32)
    for found, expected in [
        (losses.cross_entropy(LABELS, logits), losses.cross_entropy(LABELS, exact)),
        (losses.kl_divergence(logits, -logits), losses.kl_divergence(exact, -exact)),
        (losses.margin(LABELS, logits), losses.margin(LABELS, exact)),
        (losses.squared_distance(logits, -logits), losses.squared_distance(exact, -exact)),
    ]:
        assert found.dtype == tf.float32
        np.testing.assert_array_equal(found, expected)


def test_the_losses_of_attacks():
    clean = tf.Variable(LOGITS)
    other = tf.constant(OTHER)

    def of(name):
        return losses.attack_loss(name, lambda: clean + 0.0, tf.constant(LABELS))(other)

    np.testing.assert_allclose(of("ce"), reference.cross_entropy(LABELS, OTHER)[0])
    np.testing.assert_allclose(of("margin"), losses.margin(LABELS, other))
    with tf.GradientTape() as tape:
        value = of("kl")
    np.testing.assert_allclose(value, reference.kl(LOGITS, OTHER)[0])
    assert tape.gradient(value, clean) is None  # the clean prediction is a constant

    def never():
        raise AssertionError("only KL reads the clean logits")

    losses.attack_loss("ce", never, LABELS)
    with pytest.raises(ValueError, match="Did you mean 'margin'"):
        losses.attack_loss("margn", never, LABELS)


def test_the_lead_of_the_wrong_class():
    expected = [max(np.delete(z, y)) - z[y] for z, y in zip(LOGITS, LABELS)]
    for labels in (LABELS, ONE_HOT):
        np.testing.assert_allclose(losses.negative_margin(labels, tf.constant(LOGITS)), expected)


def test_dlr_by_hand():
    logits = [[1.0, 2.0, 3.0, 5.0], [4.0, 1.0, 0.0, 0.5], [2.0, 2.0, 2.0, 2.0]]
    # -(5 - 3) / (5 - 2); -(1 - 4) / (4 - 0.5); 0 / 0
    np.testing.assert_allclose(losses.dlr([3, 1, 0], logits), [-2 / 3, 3 / 3.5, 0.0], rtol=1e-6)


def test_targeted_dlr_by_hand():
    logits = [[1.0, 2.0, 3.0, 5.0], [4.0, 1.0, 0.0, 0.5], [2.0, 2.0, 2.0, 2.0]]
    # -(5 - 1) / (5 - (2 + 1) / 2); -(1 - 4) / (4 - (0.5 + 0) / 2); 0 / 0
    found = losses.targeted_dlr([3, 1, 0], [0, 0, 1], logits)
    np.testing.assert_allclose(found, [-4 / 3.5, 3 / 3.75, 0.0], rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.dlr, lambda y, z: losses.targeted_dlr(y, (y + 1) % 4, z)])
def test_dlr_sees_neither_shift_nor_scale(loss):
    logits = tf.constant(LOGITS)
    np.testing.assert_allclose(loss(LABELS, 50 * logits - 7), loss(LABELS, logits), rtol=1e-9)


def test_dlr_as_an_attack_loss_falls_back_below_three_classes():
    for classes, expected in ((4, losses.dlr), (2, losses.negative_margin)):
        logits = tf.constant(LOGITS[:, :classes])
        objective = losses.attack_loss("dlr", lambda z=logits: z, LABELS % 2)
        np.testing.assert_allclose(objective(logits), expected(LABELS % 2, logits))


@pytest.mark.parametrize("margin", [0, 1, 5, 10, 15, 17, 20, 30, 40, 50, 59, 80, 1000])
@pytest.mark.parametrize("one_hot", [False, True])
def test_the_gradient_of_the_attacks_cross_entropy_is_right_at_any_margin(margin, one_hot):
    """Against float64; beyond 60 its direction, for there it is a straight line."""
    logits = np.array([[margin, 0.0, -1.0, 0.5], [-2.0, margin, -3.0, -4.0]])
    labels = np.eye(4)[[0, 1]] if one_hot else np.array([0, 1])
    value, gradient = value_and_gradients(
        lambda z: losses.unsaturated_cross_entropy(labels, z), tf.constant(logits, tf.float32)
    )
    others = np.where(np.eye(4)[[0, 1]] > 0, -np.inf, logits)
    shares = np.exp(others - others.max(-1, keepdims=True))
    direction = shares / shares.sum(-1, keepdims=True) - np.eye(4)[[0, 1]]
    ahead = others.max(-1) + np.log(shares.sum(-1)) - margin
    slope = 1 / (1 + np.exp(np.minimum(-ahead, 700)))
    length = -gradient.numpy()[[0, 1], [0, 1]].astype(np.float64)
    np.testing.assert_allclose(gradient / length[:, None], direction, rtol=1e-5, atol=1e-7)
    inside = ahead > -losses.SATURATED
    np.testing.assert_allclose(length[inside], slope[inside], rtol=1e-4)
    assert np.all(length > 0)
    np.testing.assert_allclose(value, np.logaddexp(0, ahead), rtol=1e-4, atol=1e-20)
    usual = losses.cross_entropy(labels, tf.constant(logits, tf.float32))
    np.testing.assert_allclose(value, usual, atol=1e-6)


def test_the_attacks_cross_entropy_of_soft_labels():
    found = value_and_gradients(
        lambda z: losses.unsaturated_cross_entropy(SOFT, z), tf.constant(LOGITS)
    )
    for ours, theirs in zip(found, reference.cross_entropy(SOFT, LOGITS)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_kl_attack_does_not_saturate_either():
    objective = losses.attack_loss("kl", lambda: tf.constant([[50.0, 0.0, 0.0]]), [0])
    _, gradient = value_and_gradients(objective, tf.constant([[40.0, 0.0, -1.0]]))
    expected = np.exp(-40.0) * np.array([[-1 - np.exp(-1), 1, np.exp(-1)]])
    np.testing.assert_allclose(gradient, expected, rtol=1e-3)


def test_marks_turn_a_class_to_leave_into_one_to_reach():
    """Of the target t: log p_t, z_t - max_{j != t} z_j, and what is made of them."""
    marked, z = losses.towards(LABELS), tf.constant(LOGITS)
    classes, are_marked = losses.goal(marked)
    np.testing.assert_array_equal(classes, LABELS)
    assert np.all(are_marked) and not np.any(losses.goal(LABELS)[1])
    value, gradient = value_and_gradients(
        lambda z: losses.unsaturated_cross_entropy(marked, z), tf.constant(LOGITS)
    )
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    np.testing.assert_allclose(value, np.log(p[np.arange(7), LABELS]))
    np.testing.assert_allclose(gradient, ONE_HOT - p, rtol=1e-9, atol=1e-12)
    lead = LOGITS[np.arange(7), LABELS] - np.where(ONE_HOT > 0, -np.inf, LOGITS).max(-1)
    top = -np.sort(-LOGITS, -1)
    np.testing.assert_allclose(losses.negative_margin(marked, z), lead)
    hinge = np.maximum(1.5 - lead, 0)  # Carlini & Wagner's f_6 of a target
    np.testing.assert_allclose(losses.margin(marked, z, 1.5), -hinge)
    np.testing.assert_allclose(losses.dlr(marked, z), lead / (top[:, 0] - top[:, 2]))
    targeted = lead / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2)
    np.testing.assert_allclose(losses.targeted_dlr(marked, LABELS, z), targeted)


def test_the_gradient_towards_a_class_far_behind_is_no_zero():
    z = tf.constant([[200.0, 0.0, -300.0]])
    _, gradient = value_and_gradients(
        lambda z: losses.unsaturated_cross_entropy(losses.towards([2]), z), z
    )
    np.testing.assert_allclose(gradient, [[-1, 0, 1]], atol=1e-6)
