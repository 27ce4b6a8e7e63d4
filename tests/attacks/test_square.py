"""Square Attack: schedule, windows and the whole search against NumPy with the same draws."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf.attacks import square, windows
from rlfat_tf.attacks.square import Square
from rlfat_tf.core import random
from tests import reference

SHAPE = reference.SHAPE
NET = reference.keras_net(seed=4)
IMAGES = reference.images_and_labels(8, seed=1)[0]
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
NORMS = ("linf", "l2")
EPSILON = {"linf": 0.06, "l2": 0.8}


def l2(x, axis=(1, 2, 3)):
    return np.sqrt(np.square(np.asarray(x, np.float64)).sum(axis))


def negative_margin(logits, labels):
    logits = np.array(logits, np.float64)
    own = logits[np.arange(len(labels)), labels].copy()
    logits[np.arange(len(labels)), labels] = -np.inf
    return logits.max(-1) - own


def inside(found, images, norm, epsilon):
    assert found.min() >= 0 and found.max() <= 1
    delta = found - images
    size = np.abs(delta).max((1, 2, 3)) if norm == "linf" else l2(delta)
    assert np.all(size <= epsilon + 1e-6)
    return size


# The rules once more, for one example, with loops and slices.


def eta(side):
    """Algorithm 3's pattern from Eq. 2, of length 1."""

    def half(rows):
        values = np.zeros((rows, side))
        n = side // 2
        for r in range(rows):
            for s in range(side):
                reach = n - max(abs(r - rows // 2), abs(s - side // 2))
                values[r, s] = sum(1 / (n + 1 - k) ** 2 for k in range(reach + 1))
        return values

    both = np.concatenate([half(side // 2), -half(side - side // 2)])
    return both / np.linalg.norm(both)


def corner(draw, side, size):
    return int(np.floor(draw * (size - side + 1)))


def next_linf(x, best, draw, side, epsilon):
    r, s = (corner(u, side, size) for u, size in zip(draw[:2], x.shape))
    new = best.copy()
    for c in range(x.shape[2]):
        new[r : r + side, s : s + side, c] += 2 * epsilon * (-1 if draw[2 + c] < 0.5 else 1)
    return np.clip(np.clip(new, x - epsilon, x + epsilon), 0, 1)


def next_l2(x, best, draw, side, epsilon):
    (h, w, channels), nu = x.shape, best - x
    at = [corner(u, side, size) for u, size in zip(draw, (h, w, h, w))]
    one, two = np.zeros((2, h, w), bool)
    one[at[0] : at[0] + side, at[1] : at[1] + side] = True
    two[at[2] : at[2] + side, at[3] : at[3] + side] = True
    unused = max(epsilon**2 - np.sum(nu**2), 0)
    turned = eta(side) if draw[4] < 0.5 else eta(side).T
    new = nu.copy()
    for c in range(channels):
        old = nu[one, c]
        old = old / np.linalg.norm(old) if np.any(old) else old
        change = (-1 if draw[5 + c] < 0.5 else 1) * turned.ravel() + old
        available = np.sqrt(np.sum(nu[one | two, c] ** 2) + unused / channels)
        new[two, c] = 0
        new[one, c] = change / np.linalg.norm(change) * available
    return np.clip(x + new, 0, 1)


NEXT = {"linf": next_linf, "l2": next_l2}
PROPOSE = {"linf": windows.propose_linf, "l2": windows.propose_l2}


def test_the_schedule():
    attack = Square(queries=10_000)
    borders = {0: 1, 10: 1, 11: 2, 50: 2, 51: 4, 200: 4, 201: 8, 500: 8, 501: 16, 1000: 16}
    borders.update({1001: 32, 2000: 32, 2001: 64, 4000: 64, 4001: 128, 6000: 128, 6001: 256})
    borders.update({8000: 256, 8001: 512, 9999: 512})
    for query, divisor in borders.items():
        assert attack.share(query) == 0.8 / divisor
        # Half as many queries go through the same schedule twice as fast; or break it off.
        assert Square(queries=5000).share(query // 2) == attack.share(query // 2 * 2)
        plain = Square(queries=5000, rescale_schedule=False)
        assert plain.share(query) == attack.share(query)
    assert Square(p_init=0.05).share(0) == 0.05


def test_the_sides_of_the_windows():
    attack = Square(queries=10_000)
    # round(sqrt(0.8 / 2^k * 1024)), k = 0 ... 9
    first = [1, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert [attack.side(q, 32, 32) for q in first] == [29, 20, 14, 10, 7, 5, 4, 3, 2, 1]
    assert [attack.side(q, 28, 28) for q in (1, 11, 8001)] == [25, 18, 1]
    assert attack.side(1, 10, 40) == 10  # sqrt(0.8 * 400) = 18 does not fit
    assert attack.side(8001, 4, 4) == 1
    odd = attack.replace(norm="l2", p_init=0.1)
    # 10.1, 7.2, 5.1, 3.6, 2.5 and so on
    assert [odd.side(q, 32, 32) for q in first] == [11, 7, 5, 5, 3, 3, 3, 3, 3, 3]
    assert [odd.replace(p_init=1.0).side(1, n, n) for n in (1, 2, 3, 4, 6, 7)] == [1, 1, 3, 3, 5, 7]


def test_stripes():
    seed = random.as_seed(2).of_examples(8)
    points = windows.stripes(tf.constant(IMAGES), 0.06, seed).numpy()
    up, down = np.clip(IMAGES + 0.06, 0, 1), np.clip(IMAGES - 0.06, 0, 1)
    signs = np.where(points == up, 1, -1)
    np.testing.assert_allclose(points, np.where(signs > 0, up, down), atol=1e-7)
    assert np.all(signs == signs[:, :1])  # columns
    columns = signs[:, 0]
    assert 0.3 < (columns > 0).mean() < 0.7
    assert np.any(columns[:, :1] != columns[:, 1:]) and np.any(columns[..., 0] != columns[..., 1])
    assert np.any(columns[0] != columns[1])


@pytest.mark.parametrize("shape", [(10, 15, 2), (12, 11, 1), (4, 3, 3), (28, 28, 1)])
def test_tiles(shape):
    images = tf.fill([3, *shape], 0.5)
    delta = windows.tiles(images, 0.4, random.as_seed(2).of_examples(3)).numpy() - 0.5
    np.testing.assert_allclose(l2(delta), 0.4, rtol=1e-5)
    h, w, channels = shape
    side = max(min(h, w) // 5, 1)
    top, left = h % side // 2, w % side // 2
    upright = eta(side) * 0.4 / np.sqrt((h // side) * (w // side) * channels)
    kinds, covered = set(), np.zeros((h, w), bool)
    for row in range(top, top + h // side * side, side):
        for column in range(left, left + w // side * side, side):
            covered[row : row + side, column : column + side] = True
            for example in range(3):
                tile = delta[example, row : row + side, column : column + side]
                found = [
                    (turned, sign)
                    for c in range(channels)
                    for turned, expected in enumerate((upright, upright.T))
                    for sign in (-1, 1)
                    if np.allclose(tile[..., c], sign * expected, atol=1e-6)
                ]
                assert len(found) >= channels
                assert side < 2 or len({turned for turned, _ in found}) == 1
                kinds.update(found)
    assert len(kinds) == 4
    np.testing.assert_array_equal(delta[:, ~covered], 0)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 9])
def test_pattern(side):
    row, column = np.arange(-2, 10)[:, None], np.arange(-1, 12)[None, :]
    values = windows.pattern(row, column, tf.constant(side)).numpy()
    expected = np.zeros_like(values)
    expected[2 : 2 + side, 1 : 1 + side] = eta(side)[:10]
    np.testing.assert_allclose(values / np.linalg.norm(values), expected, atol=1e-6)
    if side == 3:  # n = 1: 1/1 + 1/4 in the middle of a half, 1/4 next to it
        half = [0.25, 1.25, 0.25], [-0.25, -0.25, -0.25], [-0.25, -1.25, -0.25]
        np.testing.assert_allclose(values[2:5, 1:4], half, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(7, 5, 3), (5, 6, 1)])
def test_proposals_against_numpy(norm, shape):
    rng = np.random.default_rng(3)
    images = rng.random((40, *shape), np.float32)
    images[:5, :, 0], images[5:9, 1] = 0, 1
    seed = random.as_seed(1).of_examples(40)
    epsilon = 0.1 if norm == "linf" else 0.7
    points = {"linf": windows.stripes, "l2": windows.tiles}[norm]
    best = points(tf.constant(images), epsilon, seed).numpy()
    numbers = (2 if norm == "linf" else 5) + shape[2]
    largest = np.float32(1 - 2**-23)
    for side in (1, 2, 5) if norm == "linf" else (3, 5):
        draw = rng.random((40, numbers), np.float32)
        draw[0], draw[1] = 0, largest  # the farthest places
        new = PROPOSE[norm](tf.constant(images), best, draw, tf.constant(side), epsilon).numpy()
        expected = [
            NEXT[norm](*row, side, epsilon)
            for row in zip(np.float64(images), np.float64(best), np.float64(draw))
        ]
        np.testing.assert_allclose(new, expected, atol=3e-6)
        inside(new, images, norm, epsilon)
        # Nothing but the windows changes.
        for k, (one, other) in enumerate(zip(new, best)):
            where = np.zeros(shape[:2], bool)
            for at in (0, 2)[: 1 if norm == "linf" else 2]:
                r, s = (corner(draw[k, at + i], side, shape[i]) for i in (0, 1))
                assert 0 <= r <= shape[0] - side and 0 <= s <= shape[1] - side
                where[r : r + side, s : s + side] = True
            np.testing.assert_allclose(one[~where], other[~where], atol=1e-6)
        best = new


def simulate(attack, images, labels, seed, chunk):
    """Algorithm 1 in NumPy on the tests' net; also gives the leads after every query."""
    twin = reference.Net(NET)
    _, height, width, channels = images.shape
    count = len(images)
    seed = random.as_seed(seed).of_examples(count).fold(0)
    start = windows.stripes if attack.norm == "linf" else windows.tiles
    best = np.float64(start(tf.constant(images), attack.epsilon, seed.fold(0)))
    ahead = negative_margin(twin.forward(best, training=False)[0], labels)
    numbers = channels + (2 if attack.norm == "linf" else 5)
    for first in range(1, attack.queries, chunk):
        draws = random.uniform(seed.fold(1, first), [count, chunk, numbers], 0.0, 1.0).numpy()
        for query in range(first, min(first + chunk, attack.queries)):
            side = attack.side(query, height, width)
            for k in np.flatnonzero(ahead < 0):
                draw = np.float64(draws[k, query - first])
                new = NEXT[attack.norm](np.float64(images[k]), best[k], draw, side, attack.epsilon)
                value = negative_margin(
                    twin.forward(new[None], training=False)[0], labels[k : k + 1]
                )[0]
                if value > ahead[k]:
                    best[k], ahead[k] = new, value
    return best, ahead


@pytest.mark.parametrize("norm, epsilon", [("linf", 0.4), ("l2", 2.2)])
def test_the_search_against_numpy(norm, epsilon, monkeypatch):
    monkeypatch.setattr(square, "CHUNK", 7)
    attack = Square(norm=norm, epsilon=epsilon, queries=25)
    found = tf.function(lambda x, y: attack(NET, x, y, seed=5))(IMAGES, LABELS).numpy()
    expected, ahead = simulate(attack, IMAGES, LABELS, 5, 7)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(np.argmax(NET(found), -1) != LABELS, ahead > 0)
    assert 0 < np.sum(ahead > 0) < 8
    inside(found, IMAGES, norm, epsilon)


@pytest.mark.parametrize("norm", NORMS)
def test_the_margin_never_gets_worse(norm):
    leads = []
    for queries in (1, 8, 40):
        attack = Square(norm=norm, epsilon=EPSILON[norm] / 4, queries=queries)
        attack = attack.replace(rescale_schedule=False)  # so that the shorter is the longer's start
        found = tf.function(lambda x, y, attack=attack: attack(NET, x, y))(IMAGES, LABELS)
        leads.append(negative_margin(NET(found), LABELS))
    assert np.all(np.diff(leads, axis=0) >= -1e-6) and np.all(leads[-1] > leads[0])
    more = attack.replace(restarts=2)
    found = tf.function(lambda x, y: more(NET, x, y))(IMAGES, LABELS)
    again = negative_margin(NET(found), LABELS)
    assert np.all(again >= leads[-1] - 1e-6) and np.any(again > leads[-1])


class Counter:
    """A classifier without gradients that counts its queries."""

    def __init__(self, correct):
        self.correct, self.queries = correct, []

    def __call__(self, images):
        self.queries.append(len(images))
        margin = self.correct(np.asarray(images), len(self.queries) - 1)
        return tf.constant(np.stack([margin, 0 * margin], -1), tf.float32)


@pytest.mark.parametrize("queries", [1, 5, 12])
def test_the_number_of_queries(queries, monkeypatch):
    monkeypatch.setattr(square, "CHUNK", 4)
    model = Counter(lambda images, _: np.ones(len(images)))
    attack = Square(epsilon=0.1, queries=queries)
    attack(model, IMAGES[:3], np.zeros(3, int))
    assert model.queries == [3] + [3] * queries  # the clean images, then the budget
    model = Counter(lambda images, _: np.ones(len(images)))
    attack.replace(restarts=2)(model, IMAGES[:3], np.zeros(3, int))
    # For each start a look at what stands, the budget, and the former point's margin.
    assert model.queries == 2 * ([3] + [3] * queries + [3])


def test_fooled_examples_leave(monkeypatch):
    monkeypatch.setattr(square, "CHUNK", 4)

    def margin(images, call):
        # Call 0 sees the clean images, call 1 the starts, then come the proposals.
        brightness = images[:, 0, 0, 0]
        margin = np.ones(len(images))
        margin[(brightness > 0.6) & (call >= 3)] = -1  # the last two, in the second query
        margin[(brightness < 0.1) & (call == 0)] = -1  # the first, to begin with
        return margin

    images = np.full((4, 3, 3, 1), [[[[0.5]]]], np.float32)
    images[:, 0, 0, 0] = 0.0, 0.5, 0.8, 0.9
    model = Counter(margin)
    found = Square(epsilon=0.05, queries=12)(model, images, np.zeros(4, int)).numpy()
    # In chunks of 4: proposals 1-4 for three of them, then for the one that is left.
    assert model.queries == [4, 3] + 4 * [3] + 7 * [1]
    np.testing.assert_array_equal(found[0], images[0])
    # If all are fooled, it stops within the chunk.
    model = Counter(margin)
    Square(epsilon=0.05, queries=12)(model, images[2:], np.zeros(2, int))
    assert model.queries == [2, 2, 2, 2]
    # A NaN counts as fooled, and a batch without a correct answer costs one query.
    model = Counter(lambda images, call: np.full(len(images), np.nan if call > 1 else 1.0))
    Square(epsilon=0.05, queries=12)(model, images, np.zeros(4, int))
    assert model.queries == [4, 4, 4]
    model = Counter(lambda images, _: np.ones(len(images)))
    same = Square(epsilon=0.05, queries=12)(model, images, np.ones(4, int))
    assert model.queries == [4]
    np.testing.assert_array_equal(same, images)


def test_the_point_that_fooled_is_the_one_returned():
    def margin(images, call):
        return -np.ones(len(images)) if call == 5 else np.ones(len(images))

    seen = []
    model = Counter(lambda images, call: seen.append(images) or margin(images, call))
    found = Square(epsilon=0.1, queries=12)(model, IMAGES[:1], np.zeros(1, int))
    np.testing.assert_array_equal(found, seen[5])
    assert len(seen) == 6


def test_images_of_another_rank_are_refused():
    with pytest.raises(ValueError, match=r"\[batch, height, width, channels\]; received \(2, 7\)"):
        Square(queries=2)(lambda x: x, np.zeros((2, 7), np.float32), [0, 1])
