"""Auto-PGD against Algorithm 1 in NumPy, one example at a time, and against closed forms."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks, losses, random
from rlfat_tf.attacks.apgd import APGD, APGDT, checkpoints
from rlfat_tf.compat import keras
from tests import reference

SHAPE = reference.SHAPE
PIXELS = int(np.prod(SHAPE))
IMAGES, _, _ = reference.images_and_labels(8, seed=1)
IMAGES[0, 0], IMAGES[1, 1] = 0, 1
MIDDLE = np.float32(0.3 + 0.4 * IMAGES)  # away from 0 and 1: no clip to the range of pixels
W = np.random.default_rng(3).normal(size=PIXELS).astype(np.float32)
QUICK = [
    APGD(epsilon=0.05, steps=7),
    APGD(norm="l2", epsilon=0.3, steps=7, restarts=2, loss="dlr"),
    APGD(norm="l2", epsilon=0.3, steps=7, loss="margin"),
    APGDT(epsilon=0.05, steps=7, restarts=2),
]


def make_net(classes, seed=0):
    """Flatten, Dense(5), tanh, Dense(classes): what :class:`tests.reference.Net` computes."""
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(5, "tanh")]
    net = keras.Sequential([*layers, keras.layers.Dense(classes)])
    rng = np.random.default_rng(seed)
    net.set_weights([rng.normal(0, 0.6, w.shape) for w in net.get_weights()])
    return net


NETS = {classes: make_net(classes) for classes in (2, 3, 10)}


def right_labels(net):
    return np.argmax(net(IMAGES), -1).astype(np.int32)


def is_right(net, found, labels):
    return np.argmax(net(tf.constant(found)), -1) == labels


def linear(images):
    """Two classes; class 1 leads by 100 + w x, so that it is never misclassified."""
    score = tf.linalg.matvec(tf.reshape(images, [-1, PIXELS]), W) + 100
    return tf.stack([tf.zeros_like(score), score], -1)


ONES = np.ones(8, np.int32)  # its labels
AWAY = -W  # its gradient


def size_of(norm, delta):
    flat = np.asarray(delta, np.float64).reshape(len(delta), -1)
    return np.abs(flat).max(-1) if norm == "linf" else np.sqrt((flat**2).sum(-1))


def spy(logits_fn, seen):
    """Notes what the classifier sees, in a graph too."""

    def note(images):
        seen.append(np.array(images))

    def logits(images):
        with tf.control_dependencies([tf.numpy_function(note, [images], [])]):
            return logits_fn(tf.identity(images))

    return logits


def run(attack, logits_fn, images, labels, seed=0):
    """The attack as one graph, which is many times as fast as step by step."""
    labels = tf.constant(labels, tf.int32)
    call = tf.function(lambda x, y: attack(logits_fn, x, y, seed=seed), autograph=False)
    return call(tf.constant(images), labels).numpy()


def path_of(seen, images, steps):
    """The points of the first start; the images themselves may be looked at at any time."""
    points = [x for x in seen if x.shape != images.shape or np.any(x != images)]
    return np.stack(points[: steps + 1]).reshape(steps + 1, len(images), -1)


# --- Algorithm 1 in NumPy ------------------------------------------------------------------------


def schedule(steps):
    """The paper's recurrence in fractions, with w_0."""
    p, marks = [Fraction(0), Fraction(22, 100)], {0}
    while p[-1] <= 1:
        marks.add(math.ceil(p[-1] * steps))
        p.append(p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)))
    return sorted(marks)


def auto_pgd(f, x, first, *, norm, epsilon, steps, rho=0.75):
    """Algorithm 1 for one example x [pixels].

    ``f(k, x_k)`` returns the loss and its gradient. Returns all x_k, the point of the greatest loss
    and, for each checkpoint, how many of how many steps rose and whether conditions 1 and 2 held.
    """

    def project(point):
        delta = point - x
        if norm == "linf":
            delta = np.clip(delta, -epsilon, epsilon)
        else:
            delta = delta * min(1, epsilon / max(np.linalg.norm(delta), 1e-30))
        return np.clip(x + delta, 0, 1)

    def direction(g):
        return np.sign(g) if norm == "linf" else g / max(np.linalg.norm(g), 1e-30)

    w, eta = schedule(steps), 2 * epsilon
    value, gradient = f(0, first)
    point = last = first
    best = (value, point, gradient)
    path, loss_at, rose = [first], [value], []  # loss_at[k]: of x_k after a return, if there is one
    halved_at, best_at, events = {0: False}, {0: value}, []
    for k in range(1, steps + 1):
        alpha = 1 if k == 1 else 0.75
        z = project(point + eta * direction(gradient))
        new = project(point + alpha * (z - point) + (1 - alpha) * (point - last))
        last, point = point, new
        path.append(point)
        value, gradient = f(k, point)
        rose.append(value > loss_at[-1])
        if value > best[0]:
            best = (value, point, gradient)
        if k in w:
            before = w[w.index(k) - 1]
            count, interval = sum(rose[before:k]), k - before
            one = count < rho * interval
            two = not halved_at[before] and best_at[before] == best[0]
            events.append((count, interval, one, two))
            halved_at[k], best_at[k] = one or two, best[0]
            if one or two:
                eta /= 2
                value, point, gradient = best
        loss_at.append(value)
    return path, best[1], events


def prescribed(values, gradients):
    """A classifier whose losses and gradients at x_0, x_1, ... are what is given [k, batch, ...].

    The first call sees the images; label 1 always leads.
    """
    calls = []

    def play(_):
        calls.append(0)
        k = min(max(len(calls) - 2, 0), len(values) - 1)
        return values[k], gradients[k]

    def logits(images):
        value, gradient = tf.numpy_function(play, [images], [tf.float32, tf.float32])
        slope = tf.reduce_sum(gradient * (images - tf.stop_gradient(images)), [1, 2, 3])
        loss = tf.ensure_shape(value + slope, [None])
        return tf.stack([loss, tf.fill(tf.shape(loss), 1000.0)], -1)

    return logits


@pytest.mark.parametrize(
    ("norm", "epsilon", "steps", "rho"),
    [("linf", 0.1, 100, 0.75), ("l2", 0.3, 100, 0.75), ("linf", 0.1, 23, 0.5)],
)
def test_the_path_on_any_losses_is_numpys(norm, epsilon, steps, rho):
    rng = np.random.default_rng(steps)
    count, shape = 8, (3, 2, 1)
    images = rng.uniform(0, 1, (count, *shape)).astype(np.float32)
    # Walks of integers, some falling and some rising, so that equal losses are equal exactly.
    moves = rng.integers(-2, 3, (steps + 1, count)) + np.linspace(-0.5, 2, count).round()
    moves[:, 7] = 1
    moves[steps // 2, 7] = -300  # it rises and rises, but nowhere near its best
    values = np.cumsum(moves, 0).astype(np.float32)
    gradients = rng.normal(size=(steps + 1, count, *shape)).astype(np.float32)
    attack = APGD(norm=norm, epsilon=epsilon, steps=steps, loss="margin", rho=rho)
    seen = []
    labels = np.ones(count, np.int32)
    found = run(attack, spy(prescribed(values, gradients), seen), images, labels, seed=1)
    path = path_of(seen, images, steps)
    kinds = set()
    for i in range(count):
        expected, _, events = auto_pgd(
            lambda k, _, i=i: (values[k, i], gradients[k, i].ravel().astype(np.float64)),
            images[i].ravel().astype(np.float64),
            path[0, i].astype(np.float64),
            norm=norm,
            epsilon=epsilon,
            steps=steps,
            rho=rho,
        )
        np.testing.assert_allclose(path[:, i], expected, atol=2e-6)
        kinds |= {(bool(one), bool(two)) for _, _, one, two in events}
    assert {(False, False), (True, False), (False, True), (True, True)} <= kinds
    assert size_of(norm, found - images).max() <= epsilon + 1e-6


@pytest.mark.parametrize(("rises", "halves"), [(13, False), (12, False), (11, True)])
def test_condition_1_needs_fewer_rises_than_rho(rises, halves):
    """The third interval of 100 steps has 16 of them, and 0.75 * 16 = 12."""
    moves = [1] * 41 + [-1] * (16 - rises) + [1] * (rises - 1) + [100] + [1] * 43
    values = np.cumsum([0, *moves]).astype(np.float32)[:, None]
    # Up to the checkpoint at 57 the pixel is at its upper border; then the gradient turns.
    gradients = np.where(np.arange(101) < 57, 1, -1).astype(np.float32).reshape(101, 1, 1, 1, 1)
    seen, image = [], np.full((1, 1, 1, 1), 0.5, np.float32)
    attack = APGD(epsilon=0.1, steps=100, loss="margin")
    run(attack, spy(prescribed(values, gradients), seen), image, [1])
    path = path_of(seen, image, 100)[:, 0, 0]
    np.testing.assert_allclose(path[10:58], 0.6, atol=1e-6)
    # x_58 = x_57 + 0.75 * (z - x_57), and z is eta or the diameter away.
    assert path[58] == pytest.approx(0.6 - 0.75 * (0.1 if halves else 0.2), abs=1e-6)


def dlr(label, logits):
    """The difference of logits ratio of one example and its gradient."""
    order = np.argsort(-logits)
    other = next(j for j in order if j != label)
    eye = np.eye(len(logits))
    scale = logits[order[0]] - logits[order[2]]
    value = (logits[other] - logits[label]) / scale
    return value, (eye[other] - eye[label] - value * (eye[order[0]] - eye[order[2]])) / scale


def targeted_dlr(label, logits, target):
    order, eye = np.argsort(-logits), np.eye(len(logits))
    s = logits[order]
    scale = s[0] - (s[2] + s[3]) / 2
    value = (logits[target] - logits[label]) / scale
    d_scale = eye[order[0]] - (eye[order[2]] + eye[order[3]]) / 2
    return value, (eye[target] - eye[label] - value * d_scale) / scale


def loss_of(kind, label, logits, clean):
    if kind == "ce":
        value, gradient = reference.cross_entropy(np.array([label]), logits[None])
        return value[0], gradient[0]
    if kind == "targeted":  # at the class that comes second on the image
        return targeted_dlr(label, logits, [j for j in np.argsort(-clean) if j != label][0])
    if kind == "dlr":
        return dlr(label, logits)
    other = max((j for j in range(len(logits)) if j != label), key=lambda j: logits[j])
    eye = np.eye(len(logits))
    return logits[other] - logits[label], eye[other] - eye[label]


@pytest.mark.parametrize(
    ("norm", "epsilon", "kind"),
    [
        ("linf", 0.02, "ce"),
        ("l2", 0.1, "dlr"),
        ("linf", 0.02, "margin"),
        ("linf", 0.02, "targeted"),
        ("l2", 0.1, "targeted"),
    ],
)
def test_the_path_on_a_net_is_numpys(norm, epsilon, kind):
    # Few steps: near a maximum, rounding decides whether the loss rises.
    classes, steps = 3 if kind == "dlr" else 10, 5
    net = NETS[classes]
    labels, twin = right_labels(net), reference.Net(net)
    ball = {"norm": norm, "epsilon": epsilon, "steps": steps}
    attack = APGDT(**ball, targets=1) if kind == "targeted" else APGD(**ball, loss=kind)
    seen = []
    found = run(attack, spy(net, seen), IMAGES, labels, seed=2)
    path = path_of(seen, IMAGES, steps)
    stood = 0
    for i, label in enumerate(labels):
        wrong = []

        def f(k, x, i=i, label=label, wrong=wrong):
            logits, cache = twin.forward(x[None], training=False)
            wrong.append(np.argmax(logits[0]) != label)
            clean = twin.forward(IMAGES[i : i + 1], training=False)[0][0]
            value, d_logits = loss_of(kind, label, logits[0], clean)
            return value, twin.backward(cache, d_logits[None])[1][0]

        x, first = (v.ravel().astype(np.float64) for v in (IMAGES[i], path[0, i]))
        expected, best, _ = auto_pgd(f, x, first, norm=norm, epsilon=epsilon, steps=steps)
        last = wrong.index(True) if any(wrong) else steps
        np.testing.assert_allclose(path[: last + 1, i], expected[: last + 1], atol=2e-5)
        result = expected[last] if any(wrong) else best
        np.testing.assert_allclose(found[i].ravel(), result, atol=2e-5)
        stood += not any(wrong)
    assert 0 < stood


# --- Checkpoints, start, closed forms ------------------------------------------------------------


def test_checkpoints_by_hand():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    # 4.4, 8.2, 11.4, 14, 16, 17.4, 18.6, 19.8
    assert checkpoints(20) == [5, 9, 12, 14, 16, 18, 19, 20]
    # 1.1, 2.05, 2.85, 3.5, 4, 4.35, 4.65, 4.95
    assert checkpoints(5) == [2, 3, 4, 5]
    assert checkpoints(1) == [1]
    assert checkpoints(50)[0] == 11  # not 12: 0.22 * 50 is 11
    for steps in range(1, 400):
        assert checkpoints(steps) == schedule(steps)[1:]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_start_lies_on_the_border_and_the_first_step_is_two_epsilon(norm):
    seen = []
    attack = APGD(norm=norm, epsilon=0.02, steps=1, loss="margin")
    run(attack, spy(linear, seen), MIDDLE, ONES, seed=4)
    path = path_of(seen, MIDDLE, 1)
    flat = MIDDLE.reshape(8, -1)
    np.testing.assert_allclose(size_of(norm, path[0] - flat), 0.02, rtol=1e-4)
    assert len(np.unique(np.sign(path[0] - flat), axis=0)) == 8  # a draw for each example
    if norm == "linf":
        expected = flat + 0.02 * np.sign(AWAY)  # from anywhere in the ball
    else:
        delta = path[0] - flat + 0.04 * AWAY / np.linalg.norm(W)
        expected = flat + 0.02 * delta / size_of("l2", delta)[:, None]
    np.testing.assert_allclose(path[1], expected, atol=1e-6)


def test_the_start_is_clipped_to_the_range_of_pixels():
    seen = []
    images = np.round(IMAGES)
    attack = APGD(epsilon=0.5, steps=1)
    run(attack, spy(linear, seen), images, ONES)
    start = path_of(seen, images, 1)[0]
    assert start.min() == 0 and start.max() == 1


@pytest.mark.parametrize("loss", ["ce", "dlr", "margin", "targeted"])
def test_linf_reaches_the_corner_of_two_classes(loss):
    ball = {"epsilon": 0.1, "steps": 10}
    attack = APGDT(**ball) if loss == "targeted" else APGD(**ball, loss=loss)
    # Where 100 leads, the cross entropy is 0 in float32.
    found = run(attack, (lambda x: linear(x) / 50) if loss == "ce" else linear, IMAGES, ONES)
    expected = np.clip(IMAGES + 0.1 * np.sign(AWAY).reshape(SHAPE), 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_l2_ends_along_the_weights():
    attack = APGD(norm="l2", epsilon=0.2, steps=60, loss="margin")
    expected = MIDDLE + 0.2 * (AWAY / np.linalg.norm(W)).reshape(SHAPE)
    np.testing.assert_allclose(run(attack, linear, MIDDLE, ONES), expected, atol=1e-3)


def test_halving_finds_a_maximum_inside_the_ball():
    """On -|x - m|^2 a fixed step of 2 epsilon would jump about m for ever."""
    middle = np.float32(0.5 + np.random.default_rng(0).uniform(-0.05, 0.05, (3, 2, 1)))

    def logits(images):
        loss = -tf.reduce_sum((images - middle) ** 2, [1, 2, 3])
        return tf.stack([loss, tf.ones_like(loss)], -1)

    images = np.full((4, 3, 2, 1), 0.5, np.float32)
    for norm, epsilon in (("linf", 0.1), ("l2", 0.3)):
        attack = APGD(norm=norm, epsilon=epsilon, steps=100, loss="margin")
        found = run(attack, logits, images, np.ones(4))
        assert np.abs(found - middle).max() < epsilon / 20


# --- Which point is returned ---------------------------------------------------------------------


def test_an_example_is_done_when_it_is_misclassified():
    """It keeps its first such point, and when all have one, the attack ends."""
    bias = np.float32(-0.5 * W.sum() + 0.2)

    def logits(images):
        score = tf.linalg.matvec(tf.reshape(images, [-1, PIXELS]), W) + bias
        return tf.stack([tf.zeros_like(score), score], -1)

    images = np.full((8, *SHAPE), 0.5, np.float32)
    seen = []
    found = run(APGD(epsilon=0.1, steps=100), spy(logits, seen), images, np.ones(8), seed=1)
    assert len(seen) < 8  # the corner is two steps away
    path = path_of(seen, images, 1)
    wrong_at_once = path[0] @ W + bias <= 0
    assert 0 < wrong_at_once.sum() < 8
    np.testing.assert_array_equal(found.reshape(8, -1)[wrong_at_once], path[0][wrong_at_once])
    assert np.all(np.argmax(logits(found), -1) == 0)


@pytest.mark.parametrize("attack", [QUICK[0], QUICK[3]])
def test_misclassified_images_are_returned_as_they_are(attack):
    net = NETS[10]
    labels = right_labels(net)
    labels[[1, 4]] = (labels[[1, 4]] + 1) % 10
    seen = []
    found = run(attack, spy(net, seen), IMAGES, labels)
    np.testing.assert_array_equal(found[[1, 4]], IMAGES[[1, 4]])
    # Whoever sees all of them sees these two as they are.
    assert {len(x) for x in seen} <= {*range(7), 8} and 6 in {len(x) for x in seen}
    assert all(np.array_equal(x[[1, 4]], IMAGES[[1, 4]]) for x in seen if len(x) == 8)
    seen.clear()
    found = run(attack, spy(net, seen), IMAGES, (right_labels(net) + 1) % 10)
    np.testing.assert_array_equal(found, IMAGES)
    assert all(np.array_equal(x, IMAGES) for x in seen)


def test_one_pass_for_each_step():
    seen = []
    attack = APGD(epsilon=0.01, steps=9, loss="margin")
    run(attack, spy(linear, seen), IMAGES, ONES)
    # The images, x_0 to x_9, and at most two to compare the end with what there was.
    assert 11 <= len(seen) <= 13


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_restarts_are_never_worse_and_go_to_what_is_right(loss):
    net = NETS[10]
    labels = right_labels(net)
    attack = APGD(norm="l2", epsilon=0.1, steps=1, loss=loss)
    value = {
        "ce": lambda x: losses.cross_entropy(labels, net(x)),
        "margin": lambda x: losses.lead(labels, net(x)),
    }[loss]
    right, height, rises = np.ones(8, bool), np.full(8, -np.inf), 0
    for restarts in (1, 2, 5):
        seen = []
        found = run(attack.replace(restarts=restarts), spy(net, seen), IMAGES, labels, seed=3)
        still, reached = is_right(net, found, labels), np.asarray(value(found))
        assert np.all(still <= right)
        assert np.all(reached[still] >= height[still] - 1e-6)
        rises += np.sum(reached[still] > height[still] + 1e-4) if restarts > 1 else 0
        right, height = still, reached
        sizes = [len(x) for x in seen]
        assert sizes[-1] <= sizes[1]
    assert rises > 0


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.02), ("l2", 0.1)])
def test_it_leaves_no_more_right_points_than_pgd(norm, epsilon):
    net = make_net(10, seed=5)
    images = np.random.default_rng(1).random((60, *SHAPE), np.float32)
    labels = np.argmax(net(images), -1).astype(np.int32)
    pgd = attacks.PGD(norm=norm, epsilon=epsilon, steps=20, keep="best")
    left = {"pgd": is_right(net, run(pgd, net, images, labels, seed=1), labels).sum()}
    for name, attack in {
        "ce": APGD(norm=norm, epsilon=epsilon, steps=100),
        "targeted": APGDT(norm=norm, epsilon=epsilon, steps=50, targets=3),
    }.items():
        left[name] = is_right(net, run(attack, net, images, labels, seed=1), labels).sum()
    assert 0 < left["pgd"] < 60
    assert left["ce"] <= left["pgd"]
    assert left["targeted"] <= left["pgd"]


# --- Targets -------------------------------------------------------------------------------------


def blocks(bias):
    """Class k has the logit bias_k + the sum of the k-th pair of pixels."""

    def logits(images):
        return tf.reduce_sum(tf.reshape(images, [-1, len(bias), 2]), -1) + tf.constant(bias)

    return logits


def test_targets_follow_the_order_of_the_clean_logits():
    """Three classes: the target's pixels rise, the true class's fall, the third's stay."""
    bias, seen = [5.0, 0.0, 9.0], []  # the true class is 2, then comes 0, then 1
    images = np.full((1, 3, 2, 1), 0.5, np.float32)
    attack = APGDT(epsilon=0.1, steps=5)
    found = run(attack, spy(blocks(bias), seen), images, [2])
    path = path_of(seen, images, 5)
    np.testing.assert_allclose(path[-1][0, [0, 1]], 0.6, atol=1e-6)
    np.testing.assert_allclose(path[-1][0, [4, 5]], 0.4, atol=1e-6)
    np.testing.assert_array_equal(path[-1][0, [2, 3]], path[0][0, [2, 3]])
    # Class 1 had its turn too, class 2 had none; the point where 0 comes closest is returned.
    ends = np.stack([x.ravel() for x in seen[-4:]])
    assert np.any(np.all(np.abs(ends[:, [2, 3]] - 0.6) < 1e-6, -1))
    assert len(seen) < 2 * 6 + 12
    np.testing.assert_allclose(np.ravel(found)[[0, 1]], 0.6, atol=1e-6)


@pytest.mark.parametrize("classes", [5, 3])
def test_a_class_far_behind_is_found_by_its_turn(classes):
    """Only the last class in the order moves with the pixels."""
    images = np.full((4, 4, 3, 1), 0.5, np.float32)
    steady = tf.constant([0.0, -0.1, -0.2, -0.25][: classes - 1])

    def logits(images):
        last = 10 * tf.reduce_mean(images - 0.5, [1, 2, 3]) - 0.4
        return tf.concat([tf.tile(steady[None], [tf.shape(images)[0], 1]), last[:, None]], -1)

    for targets in (classes - 2, classes - 1):
        attack = APGDT(epsilon=0.1, steps=20, targets=targets)
        found = run(attack, logits, images, np.zeros(4), seed=3)
        moved = np.argmax(logits(tf.constant(found)), -1) != 0
        assert np.all(moved == (targets == classes - 1))


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(classes):
    net = NETS[classes]
    labels = right_labels(net)
    for attack in (APGD(epsilon=0.1, steps=10, loss="dlr"), APGDT(epsilon=0.1, steps=10)):
        found = run(attack, net, IMAGES, labels)
        assert np.all(np.isfinite(found)) and np.abs(found - IMAGES).max() <= 0.1 + 1e-6
        loss = losses.dlr if classes == 3 and isinstance(attack, APGD) else losses.lead
        before, after = (np.asarray(loss(labels, net(tf.constant(x)))) for x in (IMAGES, found))
        assert np.all(after > before)
    # With two classes all of these ascend the same lead.
    if classes == 2:
        all_of_them = [APGD(steps=5, loss=loss) for loss in ("dlr", "margin")] + [APGDT(steps=5)]
        found = [run(attack, linear, IMAGES, ONES) for attack in all_of_them]
        np.testing.assert_allclose(found[1], found[0], atol=1e-6)
        np.testing.assert_allclose(found[2], found[0], atol=1e-6)


# --- Random and broken classifiers ---------------------------------------------------------------


def test_gradients_are_means_over_the_passes():
    """What one pass adds the next one takes away."""
    calls, seen = [], []

    def noise(images):  # none for the images themselves
        calls.append(0)
        return np.float32(0 if np.array_equal(images, MIDDLE) else 2 * (-1) ** len(calls))

    def noisy(images):
        slope = tf.ensure_shape(tf.numpy_function(noise, [images], tf.float32), [])
        wrong = slope * tf.reduce_sum(images, [1, 2, 3])
        return linear(images) + tf.stack([wrong, tf.zeros_like(wrong)], -1)

    attack = APGD(norm="l2", epsilon=0.01, steps=3, loss="margin")
    run(attack, spy(linear, seen), MIDDLE, ONES, seed=1)
    quiet = path_of(seen, MIDDLE, 3)
    seen.clear()
    run(attack.replace(eot=2), spy(noisy, seen), MIDDLE, ONES, seed=1)
    twice = path_of(seen, MIDDLE, 7)
    np.testing.assert_array_equal(twice[::2], twice[1::2])
    np.testing.assert_allclose(twice[::2], quiet, atol=1e-5)


def test_values_that_are_not_numbers_do_no_harm():
    def steep(images):
        """The gradient is infinite, or no number, where a pixel is at 0.5."""
        root = tf.reduce_sum(tf.sqrt(tf.nn.relu(images - 0.5)), [1, 2, 3])
        return tf.stack([root, tf.fill(tf.shape(root), 100.0)], -1)

    def broken(images):
        total = tf.reduce_sum(images, [1, 2, 3])
        return tf.stack([tf.where(tf.abs(total - 3.0) > 1e-3, np.nan, 1.0) + 0 * total, total], 1)

    images = np.full((2, 3, 2, 1), 0.5, np.float32)
    for logits_fn in (steep, broken):
        for attack in (APGD(epsilon=0.1, steps=6), APGDT(norm="l2", steps=6)):
            found = run(attack, logits_fn, images, [1, 1])
            assert np.all(np.isfinite(found)) and found.min() >= 0 and found.max() <= 1


# --- What every attack owes ----------------------------------------------------------------------


@pytest.mark.parametrize("attack", QUICK)
def test_ball_range_seed_batch_labels_and_graph(attack):
    net = NETS[10]
    labels = right_labels(net)
    signature = [tf.TensorSpec([None, *SHAPE]), tf.TensorSpec([None], tf.int32)]
    signature += [tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=signature)  # with the usual autograph
    def call(images, labels, seed, numbers):
        return attack(net, images, labels, seed=random.as_seed(seed)._replace(examples=numbers))

    found = np.asarray(call(IMAGES, labels, 1, range(8)))
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    size = size_of(attack.norm, found - IMAGES)
    assert size.max() <= attack.epsilon + 1e-6 and size.min() > 0.3 * attack.epsilon
    np.testing.assert_array_equal(call(IMAGES, labels, 1, range(8)), found)
    assert np.any(call(IMAGES, labels, 2, range(8)).numpy() != found)
    for rows in ([5], [2, 7]):  # alone, and among others
        some = call(IMAGES[rows], labels[rows], 1, rows)
        np.testing.assert_allclose(some, found[rows], atol=1e-4)
    # Numbered by place where nothing else is said, step by step, and with any kind of labels.
    few, theirs = IMAGES[:2], labels[:2]
    for kind in (theirs, theirs[:, None], np.eye(10)[theirs]):
        np.testing.assert_allclose(attack(net, few, kind, seed=1), found[:2], atol=1e-4)


@pytest.mark.parametrize("attack", QUICK[::3])
def test_epsilon_zero_changes_nothing(attack):
    net = NETS[10]
    still = attack.replace(epsilon=0)
    np.testing.assert_array_equal(run(still, net, IMAGES, right_labels(net)), IMAGES)


@pytest.mark.parametrize("attack", QUICK)
def test_config_round_trip(attack):
    assert type(attack).from_config(attack.get_config()) == attack
    packed = keras.saving.serialize_keras_object(attack)
    assert keras.saving.deserialize_keras_object(packed) == attack
    assert eval(repr(attack), {"APGD": APGD, "APGDT": APGDT}) == attack  # noqa: S307
    assert attack.replace(steps=9).steps == 9


def test_defaults_are_autoattacks():
    assert repr(APGD(epsilon=0.5)) == (
        "APGD(norm='linf', epsilon=0.5, steps=100, restarts=1, loss='ce', rho=0.75, eot=1)"
    )
    assert repr(APGDT(epsilon=0.5)) == (
        "APGDT(norm='linf', epsilon=0.5, steps=100, restarts=1, rho=0.75, eot=1, targets=9)"
    )


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (APGD, {"norm": "l1"}, "Unknown norm 'l1'"),
        (APGD, {"epsilon": 8}, r"Did you mean 8/255\?"),
        (APGDT, {"epsilon": -1}, "epsilon >= 0"),
        (APGD, {"steps": 0}, "steps to be an integer of at least 1; got 0"),
        (APGD, {"restarts": 1.5}, "restarts to be an integer"),
        (APGD, {"eot": 0}, "eot to be an integer"),
        (APGD, {"loss": "dlrr"}, "Did you mean 'dlr'"),
        (APGD, {"loss": "kl"}, "Unknown loss of APGD"),
        (APGD, {"rho": 0}, "Expected rho above 0"),
        (APGDT, {"targets": 0}, "targets to be an integer of at least 1; got 0"),
    ],
)
def test_arguments_out_of_range(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_it_cannot_be_unrolled():
    with pytest.raises(ValueError, match="cannot be unrolled"):
        APGD()(NETS[10], IMAGES, right_labels(NETS[10]), unroll=True)
