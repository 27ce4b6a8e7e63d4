"""The momentum method against NumPy."""

import numpy as np
import pytest

from rlfat_tf.attacks import MIM
from tests import reference

IMAGES, _, LABELS = reference.images_and_labels(8, seed=1)
NET = reference.keras_net(seed=4)


def numpy_mim(net, images, labels, *, epsilon, steps, size, decay):
    """Every point of the way."""
    x, average, points = images.astype(np.float64), np.zeros(images.shape), []
    for _ in range(steps):
        logits, cache = net.forward(x)
        gradient = net.backward(cache, reference.cross_entropy(labels, logits)[1])[1]
        gradient = gradient.reshape(images.shape)
        average = decay * average + gradient / np.abs(gradient).mean((1, 2, 3), keepdims=True)
        x = x + size * np.sign(average)
        x = np.clip(np.clip(x, images - epsilon, images + epsilon), 0, 1)
        points.append(x)
    return points


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_the_best_point_of_the_papers_way(decay):
    net = reference.Net(NET)
    way = numpy_mim(net, IMAGES, LABELS, epsilon=0.1, steps=4, size=0.04, decay=decay)
    found = MIM(epsilon=0.1, steps=4, step_size=0.04, decay=decay)(NET, IMAGES, LABELS).numpy()
    candidates = [IMAGES, *way]
    logits = [net.forward(x)[0] for x in candidates]
    loss = np.stack([reference.cross_entropy(LABELS, z)[0] for z in logits])
    wrong = np.stack([z.argmax(-1) != LABELS for z in logits])
    best = np.argmax(np.where(wrong, 1e3, 0) + loss, 0)
    for i, chosen in enumerate(best):
        chosen = 0 if wrong[0, i] else chosen  # what is wrong already stays
        np.testing.assert_allclose(found[i], candidates[chosen][i], atol=1e-5)
