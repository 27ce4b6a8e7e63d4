"""The tests' own NumPy: a small net with its gradient by hand, RBS, PGD and the methods' losses.

Written from the equations, so that nothing here shares code with the library.
"""

import numpy as np
import tensorflow as tf

from rlfat_tf.core import compat, random
from rlfat_tf.core.compat import keras

SHAPE = (6, 5, 2)  # height and width differ, so that a mix-up of the axes shows
CLASSES = 3
METHODS = ("standard", "pgdat", "trades", "rbsat_p", "rbsat_t", "rlfat_p", "rlfat_t")
ETA = {"rlfat_p": 0.5, "rlfat_t": 1.0}
BN_EPSILON = 1e-3


def images_and_labels(count=8, seed=0, shape=SHAPE):
    """Images in [0, 1], x' within 0.1 of them, labels. All are exact in float32."""
    rng = np.random.default_rng(seed)
    images = rng.random((count, *shape), np.float32)
    adversarial = np.clip(images + rng.uniform(-0.1, 0.1, images.shape), 0, 1).astype(np.float32)
    return images, adversarial, rng.integers(0, CLASSES, count).astype(np.int32)


def keras_net(*, batch_norm=False, dtype="float32", synchronized=False, seed=0, shape=SHAPE):
    """Flatten, Dense(5), perhaps batch normalisation, tanh, Dense(3) with weights of a seed."""
    layers = keras.layers
    with compat.dtype_policy(dtype):
        stack = [keras.Input(shape), layers.Flatten(), layers.Dense(5)]
        if batch_norm:
            stack.append(
                layers.BatchNormalization(
                    momentum=0.9, epsilon=BN_EPSILON, synchronized=synchronized
                )
            )
        logits_dtype = "float32" if dtype.startswith("mixed") else dtype
        stack += [layers.Activation("tanh"), layers.Dense(CLASSES, dtype=logits_dtype)]
        model = keras.Sequential(stack)
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else rng.normal(0, 0.5, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def needed(method):
    """The arguments that a method cannot be made without."""
    return {"helper_model": keras_net(seed=8)} if method == "hat" else {}


class Net:
    """The same net in float64 NumPy."""

    def __init__(self, model):
        weights = [np.asarray(w, np.float64) for w in model.get_weights()]
        self.norm = weights[2:6] if len(weights) == 8 else None
        self.w1, self.b1, self.w2, self.b2 = weights[:2] + weights[-2:]

    def forward(self, images, training=True):
        """Returns the logits and what the gradient needs."""
        x = np.asarray(images, np.float64).reshape(len(images), -1)
        pre = x @ self.w1 + self.b1
        normal = scale = None
        if self.norm is not None:
            gamma, beta, mean, variance = self.norm
            if training:
                mean, variance = pre.mean(0), pre.var(0)
            scale = 1 / np.sqrt(variance + BN_EPSILON)
            normal = (pre - mean) * scale
            pre = gamma * normal + beta
        hidden = np.tanh(pre)
        return hidden @ self.w2 + self.b2, (x, normal, scale, hidden, training)

    def backward(self, cache, d_logits):
        """Returns the gradients in the order of Keras' trainable weights, and the images'."""
        x, normal, scale, hidden, training = cache
        d_pre = d_logits @ self.w2.T * (1 - hidden**2)
        last = [hidden.T @ d_logits, d_logits.sum(0)]
        middle = []
        if self.norm is not None:
            middle = [(d_pre * normal).sum(0), d_pre.sum(0)]
            d_normal = d_pre * self.norm[0]
            if training:
                d_normal = d_normal - d_normal.mean(0) - normal * (d_normal * normal).mean(0)
            d_pre = d_normal * scale
        return [x.T @ d_pre, d_pre.sum(0), *middle, *last], d_pre @ self.w1.T


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(labels, logits):
    """The loss per example and its gradient with respect to the logits."""
    one_hot = labels if np.ndim(labels) == 2 else np.eye(logits.shape[-1])[labels]
    log_p = log_softmax(logits)
    return -(one_hot * log_p).sum(-1), np.exp(log_p) * one_hot.sum(-1, keepdims=True) - one_hot


def kl(logits_p, logits_q):
    """KL(p || q) per example and its gradients with respect to both logits."""
    log_p, log_q = log_softmax(logits_p), log_softmax(logits_q)
    p, ratio = np.exp(log_p), log_p - log_q
    value = (p * ratio).sum(-1)
    return value, p * (ratio - value[:, None]), np.exp(log_q) - p


def squared_distance(a, b):
    return ((a - b) ** 2).sum(-1), 2 * (a - b), 2 * (b - a)


def objective(method, net, x, x_adv, labels, shuffle, *, weights=None, training=True, lam=6.0):
    """Per-example loss, named terms and the gradient of the batch's mean loss.

    ``shuffle`` is RBS as a function of images, ``weights`` are sample weights.
    """
    eta, terms, passes = ETA.get(method, 0.0), {}, {}

    def f(name, images):
        logits, cache = net.forward(images, training)
        passes[name] = [cache, np.zeros_like(logits)]
        return logits

    if method in ("standard", "trades", "rbsat_t", "rlfat_t"):
        clean = f("clean", x)
        terms["clean_loss"], gradient = cross_entropy(labels, clean)
        passes["clean"][1] += gradient
        loss = terms["clean_loss"]
    if method != "standard":
        seen = f("seen", x_adv if method in ("pgdat", "trades") else shuffle(x_adv))
        if method in ("pgdat", "rbsat_p", "rlfat_p"):
            terms["adv_loss"], gradient = cross_entropy(labels, seen)
            passes["seen"][1] += gradient
            loss = terms["adv_loss"]
        else:
            terms["kl_loss"], d_clean, d_seen = kl(clean, seen)
            passes["clean"][1] += lam * d_clean
            passes["seen"][1] += lam * d_seen
            loss = loss + lam * terms["kl_loss"]
    if eta:
        whole = f("whole", x_adv)
        terms["alignment_loss"], d_seen, d_whole = squared_distance(seen, whole)
        passes["seen"][1] += eta * d_seen
        passes["whole"][1] += eta * d_whole
        loss = loss + eta * terms["alignment_loss"]
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    gradients = [
        net.backward(cache, d_logits * weights[:, None] / len(x))[0]
        for cache, d_logits in passes.values()
    ]
    return loss * weights, terms, [sum(parts) for parts in zip(*gradients)]


def shuffle_blocks(images, rows, columns):
    """RBS by cutting and joining, one image at a time; rows, columns: (starts, order)."""
    result = []
    for i, image in enumerate(np.asarray(images)):
        for axis, (starts, order) in enumerate((rows, columns)):
            starts, order = np.asarray(starts), np.asarray(order)
            if starts.ndim == 2:
                starts = starts[i]
            if order.ndim == 2:
                order = order[i]
            pieces = np.split(image, starts[1:], axis=axis)
            image = np.concatenate([pieces[j] for j in order], axis=axis)
        result.append(image)
    return np.stack(result)


def pgd(net, images, labels, *, start, epsilon, step_size, steps, reference=None):
    """Linf PGD; ascends CE, or KL from the ``reference`` logits. The start is a perturbation."""
    adversarial = images + start
    for _ in range(steps):
        logits, cache = net.forward(adversarial, training=False)
        if reference is None:
            d_logits = cross_entropy(labels, logits)[1]
        else:
            d_logits = kl(reference, logits)[2]
        direction = np.sign(net.backward(cache, d_logits)[1]).reshape(images.shape)
        adversarial = adversarial + step_size * direction
        adversarial = np.clip(np.clip(adversarial, images - epsilon, images + epsilon), 0, 1)
    return adversarial


def smooth(labels, delta, classes=CLASSES):
    """Label vectors with 1 - delta for the true class, the rest shared by the others."""
    rows = np.full((len(labels), classes), delta / (classes - 1))
    rows[np.arange(len(labels)), labels] = 1 - delta
    return rows


def numeric_gradients(function, net, step=1e-5):
    """Central differences of a function of no arguments by every weight of a plain net."""
    gradients = []
    for name in ("w1", "b1", "w2", "b2"):
        weights = getattr(net, name)
        gradient = np.zeros_like(weights)
        for index in np.ndindex(weights.shape):
            kept = weights[index]
            values = []
            for sign in (1, -1):
                weights[index] = kept + sign * step
                values.append(function())
            weights[index] = kept
            gradient[index] = (values[0] - values[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def check_objective(robust, terms, loss, batch, *, rtol=1e-6):
    """Compares an objective's terms, its loss and its weight gradient with NumPy's.

    ``terms`` makes the named terms of the net in NumPy, ``loss`` the per-example loss of them.
    ``batch`` is (images, x', labels). The gradient is that of central differences.
    """
    dtype, net = robust.model.compute_dtype, Net(robust.model)
    images, adversarial = (tf.constant(x, dtype) for x in batch[:2])
    with tf.GradientTape() as tape:
        result = robust.batch_objective(
            images, adversarial, tf.constant(batch[2]), random.as_seed(0), training=True
        )
        mean = tf.reduce_mean(result.loss)
    expected = terms(net)
    assert set(result.terms) == set(expected) == set(robust.terms)
    for name, values in expected.items():
        np.testing.assert_allclose(result.terms[name], values, rtol=rtol, atol=rtol * 1e-2)
    np.testing.assert_allclose(result.loss, loss(expected), rtol=rtol)
    gradients = tape.gradient(mean, robust.model.trainable_variables)
    numeric = numeric_gradients(lambda: loss(terms(net)).mean(), net)
    for ours, theirs in zip(gradients, numeric):
        wide = max(rtol, 1e-5)
        np.testing.assert_allclose(ours, theirs, rtol=wide, atol=wide * np.abs(theirs).max())
    return result
