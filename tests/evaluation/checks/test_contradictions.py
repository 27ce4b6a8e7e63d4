"""Results that contradict each other give their own warning; sound ones give none."""

import pytest

from rlfat_tf.evaluation.checks import results as checks
from rlfat_tf.evaluation.intervals import wilson

EPSILON = 0.15


def result(robust, *, of=1000, attack=None, **more):
    interval = wilson(round(robust * of), of)
    extra = {} if attack is None else {"attack": attack}
    return {"robust_accuracy": robust, "interval": interval, "examples": of, **extra, **more}


def point(epsilon=EPSILON, **results):
    return {"epsilon": epsilon, "attacks": results, "worst_case_accuracy": 0.0}


def parts(square, *, of=1000, first="APGD(loss='ce')"):
    return {
        "attack": "AutoAttack(version='standard')",
        "components": {
            "apgd_ce": {"attack": first, "examples": of, "broken": of // 2},
            "square": {"attack": "Square(queries=5000)", "examples": of // 2, "broken": square},
        },
    }


SOUND = {
    "consistent": [point(pgd=result(0.5), autoattack=result(0.45, **parts(3)), square=result(0.6))],
    "within a point": [point(pgd=result(0.5), square=result(0.49))],
    "two of twenty": [point(pgd=result(0.5, of=20), square=result(0.4, of=20))],
    "one gradient attack is stronger": [
        point(fgsm=result(0.7), pgd=result(0.5), square=result(0.6))
    ],
    "few examples": [point(pgd=result(0.5), nattack=result(0.45, of=100))],
    "black boxes only": [point(square=result(0.1), spsa=result(0.5))],
    "unbounded": [point(spsa=result(0.0, bounded=False), pgd=result(0.5), square=result(0.6))],
    "only square in it": [
        point(autoattack=result(0.5, **parts(300, first="Square()")), square=result(0.4))
    ],
    "a cascade": [
        point(
            pgd=result(0.5, cumulative=True, broken=400),
            square=result(0.49, cumulative=True, broken=10, attack="Square()"),
            autoattack=result(0.45, cumulative=True, **parts(3)),
        )
    ],
    "square first in a cascade": [
        point(square=result(0.4, cumulative=True, broken=500), pgd=result(0.4, cumulative=True))
    ],
    "ten of autoattack": [point(autoattack=result(0.5, **parts(10)))],
    "falling": [point(e, pgd=result(1 - e)) for e in (0.5, 0.1, 0.3)],
    "hardly rising": [point(0.1, pgd=result(0.5)), point(0.2, pgd=result(0.51))],
    "one step": [
        point(e, fgsm=result(e), mine=result(e, attack="PGD(norm='linf', steps=1, keep='last')"))
        for e in (0.1, 0.2)
    ],
    "no epsilon": [point(None, pgd=result(0.5), square=result(0.6))],
    "other balls": [
        point(
            None,
            pgd_2=result(0.7, norm="linf", epsilon=2 / 255, attack="PGD()"),
            square_8=result(0.4, norm="linf", epsilon=8 / 255, attack="Square()"),
            square_l2=result(0.1, norm="l2", epsilon=2 / 255, attack="Square()"),
        )
    ],
    "other balls in a cascade": [
        point(
            None,
            pgd=result(0.5, cumulative=True, broken=400, norm="linf", epsilon=0.1),
            square=result(0.3, cumulative=True, broken=200, norm="linf", epsilon=0.2),
        )
    ],
    "no attack": [point()],
    "nothing": [],
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_results_give_no_warning(name):
    assert checks.check_results(SOUND[name]) == []


PGD = "PGD(norm='linf', steps=20)"
CONTRADICTIONS = {
    "square": (
        [point(fgsm=result(0.8), pgd=result(0.5), square=result(0.48))],
        "black-box",
        "At epsilon 0.15 square leaves 48.0% robust, the best attack with gradients, pgd, 50.0%",
    ),
    "three of twenty": (
        [point(pgd=result(0.5, of=20), spsa=result(0.35, of=20))],
        "black-box",
        "spsa leaves 35.0%",
    ),
    "own names": (
        [point(None, a=result(0.5, attack=PGD), b=result(0.3, attack="NAttack(epsilon=0.1)"))],
        "black-box",
        "At epsilon of its own b leaves 30.0% robust, the best attack with gradients, a, 50.0%",
    ),
    "an attack of one's own": (
        [
            point(
                pgd=result(0.5, attack=PGD, needs_gradients=True),
                mine=result(0.3, attack="Mine(epsilon=0.1)", needs_gradients=False),
            )
        ],
        "black-box",
        "mine leaves 30.0% robust, the best attack with gradients, pgd, 50.0%",
    ),
    "transfer on fewer examples": (
        [point(pgd=result(0.5), transfer=result(0.2, of=100))],
        "black-box",
        "transfer leaves 20.0%",
    ),
    "one ball of two": (
        [
            point(
                None,
                pgd=result(0.5, norm="linf", epsilon=0.1),
                square=result(0.3, norm="linf", epsilon=0.1),
                fgsm=result(0.2, norm="l2", epsilon=0.5),
            )
        ],
        "black-box",
        "At epsilon 0.1 square leaves 30.0% robust, the best attack with gradients, pgd, 50.0%",
    ),
    "last part": (
        [point(autoattack=result(0.47, **parts(30)), pgd=result(0.5))],
        "black-box",
        "square breaks 30 examples, of 1000 in all, that the parts of autoattack",
    ),
    "cascade": (
        [
            point(
                pgd=result(0.5, cumulative=True, broken=400),
                square=result(0.47, cumulative=True, broken=30),
            )
        ],
        "black-box",
        "square breaks 30 examples, of 1000 in all, that the parts of the cascade with gradients",
    ),
    "rising": (
        [point(0.3, pgd=result(0.5)), point(0.1, pgd=result(0.45)), point(0.2, pgd=result(0.4))],
        "larger-epsilon",
        "pgd leaves 40.0% robust at epsilon 0.2 and 50.0% at 0.3",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictory_results_give_their_warning(name):
    curve, expected, message = CONTRADICTIONS[name]
    (finding,) = checks.check_results(curve)
    assert finding.check == expected and message in finding.message


def test_of_each_kind_the_worst_is_reported():
    shares = {0.1: (0.6, 0.45), 0.2: (0.9, 0.3), 0.3: (0.8, 0.25)}
    curve = [point(e, pgd=result(a), square=result(b)) for e, (a, b) in shares.items()]
    found = checks.check_results(curve)
    assert [finding.check for finding in found] == ["black-box", "larger-epsilon"]
    assert "epsilon 0.2 square leaves 30.0%" in found[0].message
    assert "pgd leaves 60.0% robust at epsilon 0.1 and 90.0% at 0.2" in found[1].message
