"""FGSM-RS and N-FGSM against NumPy on a linear model, where the sign of the gradient is known."""

import numpy as np
import pytest

from rlfat_tf import attacks, evaluation
from rlfat_tf.core import random
from tests.attacks.recording import AWAY, IMAGES, MIDDLE, ONES, linear, run, spy

EPSILON = 0.1
SEED = random.as_seed(7)
SIGN = np.sign(AWAY).reshape(IMAGES.shape[1:])
LINFPGD = attacks.LinfPGD(epsilon=EPSILON)


def noise(radius):
    return random.uniform(SEED.fold(0), IMAGES.shape, -radius, radius).numpy()


@pytest.mark.parametrize("images", [IMAGES, MIDDLE])
def test_fgsm_rs(images):
    start = np.clip(images + noise(EPSILON), 0, 1)
    delta = np.clip(start + 1.25 * EPSILON * SIGN - images, -EPSILON, EPSILON)
    seen = []
    found = run(attacks.FGSMRS(epsilon=EPSILON), spy(linear, seen), images, ONES, SEED)
    np.testing.assert_allclose(found, np.clip(images + delta, 0, 1), atol=1e-6)
    # The one gradient is that of the clipped start, not of the start.
    assert len(seen) == 1
    np.testing.assert_allclose(seen[0], start, atol=1e-7)


@pytest.mark.parametrize("factors", [(2.0, 1.0), (0.5, 1.5)])
@pytest.mark.parametrize("images", [IMAGES, MIDDLE])
def test_n_fgsm(images, factors):
    radius, step = (EPSILON * factor for factor in factors)
    given = {} if factors == (2.0, 1.0) else {"start_radius": radius, "step_size": step}
    start = np.clip(images + noise(radius), 0, 1)
    seen = []
    attack = attacks.NFGSM(epsilon=EPSILON, **given)
    found = run(attack, spy(linear, seen), images, ONES, SEED)
    np.testing.assert_allclose(found, np.clip(start + step * SIGN, 0, 1), atol=1e-6)
    np.testing.assert_allclose(seen[0], start, atol=1e-7)
    assert len(seen) == 1 and attack.reach == pytest.approx(radius + step)
    size = np.abs(found - images).max()
    assert EPSILON < size <= attack.reach + 1e-6


def test_where_pgd_clips_its_start():
    seen = {}
    for clip_start in (False, True):
        seen[clip_start] = []
        attack = LINFPGD.replace(steps=1, clip_start=clip_start)
        run(attack, spy(linear, seen[clip_start]), IMAGES, ONES, SEED)
    (free,), (clipped,) = seen.values()
    assert free.min() < 0 and free.max() > 1
    np.testing.assert_array_equal(clipped, np.clip(free, 0, 1))


def test_what_is_fixed_and_what_follows_epsilon():
    rs, noisy = attacks.FGSMRS(epsilon=0.2), attacks.NFGSM(epsilon=0.2)
    assert (rs.step_size, rs.reach, rs.steps) == (0.25, 0.2, 1)
    assert (noisy.step_size, noisy.start_radius, noisy.steps) == (0.2, 0.4, 1)
    assert noisy.replace(epsilon=0.1).reach == pytest.approx(0.3)
    for kind in (attacks.FGSMRS, attacks.NFGSM):
        for wrong in ({"steps": 2}, {"norm": "l2"}, {"random_start": "none"}):
            with pytest.raises(TypeError, match="takes these arguments"):
                kind(**wrong)


@pytest.mark.parametrize("wrap", [lambda attack: attack, lambda attack: transfer(attack)])
def test_robustness_is_not_measured_outside_of_the_ball(wrap):
    attack = wrap(attacks.NFGSM(epsilon=EPSILON))
    with pytest.raises(ValueError, match=r"may be 0\.3 away .* ball of radius epsilon=0\.1"):
        evaluation.evaluate(linear, (IMAGES, ONES), attacks={"mine": attack})


def transfer(attack):
    return attacks.Transfer(attack=attack, source=evaluation.classifier.Classifier(linear, "net"))


@pytest.mark.parametrize(
    "attack",
    [
        LINFPGD.replace(steps=2),
        LINFPGD.replace(steps=2, random_start="gaussian"),
        attacks.L2PGD(epsilon=0.5, steps=2, random_start="radial"),
        attacks.FGSMRS(epsilon=EPSILON),
        attacks.NFGSM(epsilon=EPSILON),
        attacks.FeatureScatter(epsilon=EPSILON, iterations=2),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_a_scale_multiplies_all_lengths(attack):
    def call(images, labels, scale):
        return attack(linear, images, labels, seed=SEED, scale=scale)

    same = attack(linear, MIDDLE, ONES, seed=SEED)
    np.testing.assert_array_equal(call(MIDDLE, ONES, np.float32(1)), same)
    np.testing.assert_array_equal(call(MIDDLE, ONES, 0.0), MIDDLE)
    half = attack.replace(epsilon=attack.epsilon / 2)
    if getattr(attack, "random_start", None) == "gaussian":  # whose start is a length as well
        first = random.normal(SEED.fold(0), MIDDLE.shape, 5e-4).numpy()
        step = half.step_size
        expected = np.clip(np.clip(first + step * SIGN, -0.05, 0.05) + step * SIGN, -0.05, 0.05)
        np.testing.assert_allclose(call(MIDDLE, ONES, 0.5) - MIDDLE, expected, atol=1e-6)
    else:
        halved = half(linear, MIDDLE, ONES, seed=SEED)
        np.testing.assert_allclose(call(MIDDLE, ONES, 0.5), halved, atol=1e-6)


def test_an_attack_of_python_numbers_cannot_be_scaled():
    with pytest.raises(ValueError, match=r"APGD cannot be scaled.*PGD, FGSMRS.*scales = True"):
        attacks.APGD(epsilon=0.1)(linear, IMAGES, ONES, scale=0.5)
