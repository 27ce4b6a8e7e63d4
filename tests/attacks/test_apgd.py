"""APGD against an independent NumPy version of the paper's Algorithm 1, and its step-size rule."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks.apgd import APGD, APGDT, ascend, checkpoints
from rlfat_tf.attacks.passes import gradient_of
from rlfat_tf.attacks.points import Ball
from rlfat_tf.attacks.targets import target_class
from rlfat_tf.core import losses
from tests import reference

IMAGES, _, _ = reference.images_and_labels(12, seed=1)
NET = reference.keras_net(seed=4)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)


def correct(images, labels=LABELS):
    return np.argmax(NET(images), -1) == labels


def sizes(found, norm, images=IMAGES):
    delta = np.abs(np.asarray(found, np.float64) - images).reshape(len(images), -1)
    return delta.max(-1) if norm == "linf" else np.sqrt((delta**2).sum(-1))


def test_checkpoints_by_hand():
    # p: 0.22, +0.19, +0.16, +0.13, +0.10, +0.07, then +0.06
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == [1]


class Numpy:
    """Algorithm 1 of one example, float64."""

    def __init__(self, loss, norm, epsilon, steps, rho=0.75):
        self.loss, self.norm, self.epsilon = loss, norm, epsilon
        self.steps, self.rho, self.halvings = steps, rho, []

    def project(self, x, centre):
        delta = x - centre
        if self.norm == "linf":
            delta = np.clip(delta, -self.epsilon, self.epsilon)
        else:
            delta *= min(1.0, self.epsilon / max(np.linalg.norm(delta), 1e-30))
        return np.clip(centre + delta, 0, 1)

    def direction(self, gradient):
        return np.sign(gradient) if self.norm == "linf" else gradient / np.linalg.norm(gradient)

    def run(self, centre, start):
        ends = [0] + [w for w in checkpoints(self.steps)]
        eta, x, before = 2 * self.epsilon, start, start
        value, gradient = self.loss(x)
        values = [value]
        best, best_value, best_gradient = x, value, gradient
        marks = {0: (eta, None)}
        for k in range(1, self.steps + 1):
            z = self.project(x + eta * self.direction(gradient), centre)
            alpha = 0.75 if k > 1 else 1.0
            new = self.project(x + alpha * (z - x) + (1 - alpha) * (x - before), centre)
            value, gradient = self.loss(new)
            values.append(value)
            if value > best_value:
                best, best_value, best_gradient = new, value, gradient
            x, before = new, x
            if k in ends:
                last = ends[ends.index(k) - 1]
                rises = sum(values[i + 1] > values[i] for i in range(last, k))
                one = rises < self.rho * (k - last)
                two = last > 0 and marks[last] == (eta, best_value)
                marks[k] = (eta, best_value)
                if one or two:
                    self.halvings.append(k)
                    eta /= 2
                    marks[k] = (eta, best_value)
                    x, gradient = best, best_gradient
                    values[-1] = best_value
        return best, best_value


@pytest.mark.parametrize("norm, epsilon", [("linf", 0.1), ("l2", 0.6)])
def test_the_ascent_is_that_of_the_paper(norm, epsilon):
    """A loss that no point misclassifies: KL-free, smooth, with its maximum inside the ball."""
    rng = np.random.default_rng(3)
    centre, moves, scale = (
        rng.uniform(low, high, (5, 4, 3, 1)).astype(np.float32)
        for low, high in ((0.3, 0.7), (-0.08, 0.08), (0.2, 3.0))
    )
    peak = centre + moves

    def logits_fn(rows):
        def logits(points):
            height, top = tf.gather(scale, rows), tf.gather(peak, rows)
            value = -tf.reduce_sum(height * (points - top) ** 2, [1, 2, 3])
            return tf.stack([value - 50.0, tf.zeros_like(value)], -1)

        return logits

    start = np.clip(
        centre + rng.uniform(-1, 1, centre.shape) * (0.1 if norm == "linf" else 0.05), 0, 1
    )

    def look_at(rows):
        labels = tf.ones_like(rows)
        return lambda x: gradient_of(logits_fn(rows), lambda z: z[:, 0], x, labels=labels)

    ball = Ball(tf.constant(centre), norm, epsilon)
    found = ascend(look_at, ball, tf.constant(start, tf.float32), steps=40, rho=0.75)
    for i in range(5):

        def loss(x, i=i):
            delta = x - peak[i]
            return -(scale[i] * delta**2).sum() - 50, -2 * scale[i] * delta

        expected = Numpy(loss, norm, epsilon, 40)
        point, value = expected.run(centre[i], start[i])
        assert expected.halvings
        assert loss(found[i].numpy().astype(np.float64))[0] == pytest.approx(value, abs=1e-4)
        np.testing.assert_allclose(found[i], point, atol=5e-3)


@pytest.mark.parametrize("loss", ["ce", "dlr", "margin"])
def test_on_a_linear_model_it_reaches_the_corner(loss):
    weights = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    images = (0.3 + 0.4 * IMAGES).astype(np.float32)

    def logits_fn(x):
        return tf.matmul(tf.reshape(x, [-1, 60]), weights) + [[100.0, 0.0]]

    labels = np.zeros(12, np.int32)
    found = APGD(epsilon=0.1, steps=20, loss=loss)(logits_fn, images, labels)
    corner = images + 0.1 * np.sign(weights[:, 1] - weights[:, 0]).reshape(reference.SHAPE)
    if loss == "ce":  # flat in float32 so far from the boundary: any point will do
        assert sizes(found, "linf", images).max() <= 0.1 + 1e-6
    else:
        np.testing.assert_allclose(found, corner, atol=1e-5)


def test_restarts_go_on_only_where_it_failed():
    one, three = (APGD(epsilon=0.04, steps=4, restarts=n)(NET, IMAGES, LABELS) for n in (1, 3))
    broken = ~correct(one)
    np.testing.assert_array_equal(np.asarray(three)[broken], np.asarray(one)[broken])
    assert correct(three).sum() <= correct(one).sum()


def test_targets_are_the_wrong_classes_in_the_order_of_their_logits():
    logits = tf.constant([[1.0, 4.0, 3.0, 2.0], [9.0, 0.0, 5.0, 7.0]])
    order = [target_class(logits, tf.constant([1, 3]), rank).numpy().tolist() for rank in range(3)]
    assert order == [[2, 0], [3, 2], [0, 1]]


@pytest.mark.parametrize("classes, targets", [(2, 1), (3, 2), (5, 4), (12, 9)])
def test_number_of_targets_and_few_classes(classes, targets):
    weights = np.random.default_rng(0).normal(size=(60, classes)).astype(np.float32)
    calls = []

    def logits_fn(x):
        return tf.matmul(tf.reshape(x, [-1, 60]), weights)

    labels = np.argmax(logits_fn(IMAGES), -1)
    attack = APGDT(epsilon=0.3, steps=10)
    assert attack._aims(logits_fn, IMAGES, labels).shape == (12, targets)
    found = attack(logits_fn, IMAGES, labels)
    assert (np.argmax(logits_fn(found), -1) == labels).mean() < 0.5
    assert not calls


def test_eot_averages_a_randomised_classifier():
    generator = tf.random.Generator.from_seed(1)

    def noisy(images):
        return NET(images + generator.normal(tf.shape(images), 0.0, 0.2))

    attack = APGD(epsilon=0.06, steps=10, eot=8)
    found = tf.function(lambda: attack(noisy, IMAGES, LABELS), autograph=False)().numpy()
    assert sizes(found, "linf").max() <= 0.06 + 1e-6
    before, after = (losses.cross_entropy(LABELS, NET(x)).numpy().mean() for x in (IMAGES, found))
    assert after > before
