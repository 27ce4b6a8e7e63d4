"""Catches evaluations that are wrong: by what they are given, by the classifier, by the results.

Robust accuracy that is too high looks like success. These checks look for the usual reasons; what
each means and what to do is in ``docs/evaluation_checks.md``. None of them proves robustness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rlfat_tf.attacks import Attack, Fast
from rlfat_tf.attacks.wrapping import innermost
from rlfat_tf.core import norms
from rlfat_tf.core.types import Array, Images, Labels
from rlfat_tf.data import Pixels
from rlfat_tf.evaluation.checks.findings import Finding, finding
from rlfat_tf.evaluation.checks.model import check_classifier
from rlfat_tf.evaluation.classifier import Classifier

# Maximum norm, below: less than half a grey level in every pixel; above: every image can become
# uniformly grey. Euclidean, below: less than what is reported of any size of image (36/255 and 0.25
# are the small ones), but usual in the maximum norm; above: more than twice what the literature
# goes to (3 to 5 on ImageNet). So the usual radius of one norm is found where the other is meant.
USUAL_EPSILON = {"linf": (0.5 / 255, 0.5), "l2": (0.1, 10.0)}
# By class or by name in the suite: of reports that do not say what needs gradients.
BLACK_BOX = ("square", "nattack", "spsa", "transfer")
# Equally strong attacks break different examples: after APGD and FAB, Square still breaks a few
# tenths of a per cent of a sound network's. One or two examples are chance at any size.
NOISE_SHARE, NOISE_EXAMPLES = 0.01, 2

Record = Mapping[str, Any]
# By how much a result is wrong, and the finding.
Case = tuple[float, Finding]


def images_in_range(images: Images) -> Finding | None:
    """Looks for images outside of [0, 1].

    Args:
        images: float32 [n, H, W, C], NumPy.
    """
    low, high = float(np.min(images)), float(np.max(images))
    if low >= 0 and high <= 1:  # false for NaN
        return None
    return finding(
        "images-out-of-range",
        f"Expected images in [0, 1]; received values from {low:g} to {high:g}. Attacks clip to "
        "[0, 1] and epsilon is in its unit: divide 8-bit images by 255, and put any other scaling "
        "inside of the model.",
    )


def epsilon_unit(epsilon: float | None, norm: str) -> Finding | None:
    """Looks for a radius that seems to be in another unit than pixels in [0, 1].

    Args:
        epsilon: Radius of the ball; None and 0 pass.
        norm: ``"linf"`` or ``"l2"``.
    """
    low, high = USUAL_EPSILON[norm]
    if not epsilon or low <= epsilon < high:
        return None
    unit = "divided by 255 twice" if epsilon < low else "meant in units of 0 to 255"
    # The maximum norm's radii are the smaller ones.
    mistaken = (norm == "l2") == (epsilon < low)
    guess = f"{unit}, or the radius of the other norm" if mistaken else unit
    return finding(
        "epsilon-unit",
        f"epsilon {epsilon:.3g} in the norm {norm} is outside of the usual {low:.2g} to {high:g}; "
        f"was it {guess}? It is in units of pixels in [0, 1]: for instance "
        f"{'8 / 255' if norm == 'linf' else '0.5'}.",
    )


def check_model(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    clean: Array,
    *,
    epsilon: float | None,
    norm: str | None,
) -> list[Finding]:
    """Checks a classifier on a few examples, before it is evaluated.

    The checks build on each other: where one finds something, those that presuppose the opposite
    are left out. Those that need gradients are left out where there are none.

    Args:
        classifier: Whom to check.
        images: float32 [n, H, W, C], NumPy.
        labels: int32 [n].
        clean: Which examples are correctly classified, bool [n].
        epsilon: Radius of the evaluation; None if its attacks bring theirs.
        norm: Of the evaluation; None if its attacks are of several. In another one than ``"linf"``
            and ``"l2"``, too, the checks are made in the maximum norm.

    Returns:
        What was found, at best nothing.
    """
    if norm not in norms.NORMS:  # several, or one in which there are no attacks to check by
        norm, epsilon = "linf", None
    unit = epsilon_unit(epsilon, norm)
    outside = None if isinstance(images, Pixels) else images_in_range(images)  # 8-bit ones are
    if outside:
        return [outside]
    radius = epsilon or norms.get(norm).usual_epsilon
    found = check_classifier(classifier, images, labels, clean, epsilon=radius, norm=norm)
    return [unit, *found] if unit else found


def check_attacks(attacks: Mapping[str, Attack]) -> list[Finding]:
    """Checks whether attacks are what their names say.

    Args:
        attacks: By name.
    """
    quick = [
        finding(
            "not-autoattack",
            f"{name} is two parts of AutoAttack in fewer steps, without FAB and Square: it is not "
            "AutoAttack, robust accuracy may be lower under that, and masked gradients would stay "
            "hidden. Rank networks by it; report autoattack.",
        )
        for name, attack in attacks.items()
        if isinstance(innermost(attack), Fast)
    ]
    quick += _short_steps(attacks)
    budgets = {name: getattr(innermost(attack), "budget", 1.0) for name, attack in attacks.items()}
    return quick + [
        finding(
            "reduced-budget",
            f"{name} runs with {budget:g} times its steps and queries: it is not AutoAttack as the "
            "literature means it, and robust accuracy may be lower under that. Leave the budget "
            "at 1 for figures to compare.",
        )
        for name, budget in budgets.items()
        if budget < 1
    ]


def _short_steps(attacks: Mapping[str, Attack]) -> list[Finding]:
    """Looks for walks that end before the border of their ball."""
    found = []
    for name, attack in attacks.items():
        inner = innermost(attack)
        steps, length, epsilon = (
            getattr(inner, each, None) for each in ("steps", "step_size", "epsilon")
        )
        if not steps or length is None or epsilon is None or steps * length >= 0.999 * epsilon:
            continue
        found.append(
            finding(
                "short-steps",
                f"{name} takes {steps} steps of length {length:.3g}, together shorter than epsilon "
                f"{epsilon:.3g}: it cannot reach the border of the ball, and robust accuracy is "
                "lower than it looks. Leave the step size at its default, or take more steps.",
            )
        )
    return found


def check_results(curve: Sequence[Record]) -> list[Finding]:
    """Checks the results of attacks against each other.

    Args:
        curve: Of every epsilon ``{"epsilon": ..., "attacks": {name: record}}``, with
            ``robust_accuracy``, ``interval`` and ``examples`` in a record, ``bounded`` if it is
            not, ``cumulative`` if it saw only what those before it had left, ``needs_gradients``,
            ``broken``, or that in its ``components``, and ``norm`` and ``epsilon`` of its ball.

    Returns:
        Of every kind of contradiction the greatest one found.
    """
    kinds = [case for point in curve for case in _black_box(point)], list(_rises(curve))
    return [max(cases, key=lambda case: case[0])[1] for cases in kinds if cases]


def _black_box(point: Record) -> Iterator[Case]:
    """Yields attacks without gradients that are stronger than all with them, in the same ball."""
    balls: dict[Any, dict[str, Record]] = {}
    for name, record in point["attacks"].items():
        if record.get("bounded", True):
            ball = record.get("norm"), record.get("epsilon")
            balls.setdefault(ball, {})[name] = record
    for (_, epsilon), attacks in balls.items():
        yield from _in_one_ball(point["epsilon"] or epsilon, attacks)


def _in_one_ball(epsilon: float | None, attacks: Mapping[str, Record]) -> Iterator[Case]:
    cascade = all(record.get("cumulative") for record in attacks.values())
    black_box = {name for name, record in attacks.items() if _is_black_box(name, record)}
    white_box = [name for name in attacks if name not in black_box]
    advice = (
        "Without gradients an attack knows less, so the gradients are masked or their attacks too "
        "weak: robust accuracy may be lower still; look for what masks them, use more steps, "
        "restarts and losses."
    )
    for name in sorted(black_box) if white_box and not cascade else ():
        record = attacks[name]
        if all(_is_stronger(record, attacks[other]) for other in white_box):
            best = min(white_box, key=lambda other: attacks[other]["robust_accuracy"])
            low, high = record["robust_accuracy"], attacks[best]["robust_accuracy"]
            yield (
                high - low,
                finding(
                    "black-box",
                    f"At epsilon {_number(epsilon)} {name} leaves {low:.1%} robust, "
                    f"the best attack with gradients, {best}, {high:.1%}. {advice}",
                ),
            )
    ensembles = {name: _parts(name, attacks[name]) for name in white_box}
    if cascade:  # whose attacks are the parts of one ensemble
        ensembles = {"the cascade": [p for name in attacks for p in _parts(name, attacks[name])]}
    for name, parts in ensembles.items():
        after_gradients = False
        for part, record, examples in parts:
            if not _is_black_box(part, record):
                after_gradients = True
            elif after_gradients and _beyond_noise(record["broken"], examples):
                broken = record["broken"]
                message = (
                    f"At epsilon {_number(epsilon)} {part} breaks {broken} examples, of "
                    f"{examples} in all, that the parts of {name} with gradients had left robust. "
                    f"{advice}"
                )
                yield broken / examples, finding("black-box", message)


def _parts(name: str, record: Record) -> list[tuple[str, Record, int]]:
    """Returns the parts of an attack, which run one after the other, with the number of examples.

    An attack without parts is its own only one.
    """
    parts = record.get("components") or {name: record}
    return [(part, inner, record["examples"]) for part, inner in parts.items()]


def _rises(curve: Sequence[Record]) -> Iterator[Case]:
    """Yields attacks under which accuracy rises with epsilon."""
    points = sorted((p for p in curve if p["epsilon"] is not None), key=lambda p: p["epsilon"])
    for name in points[0]["attacks"] if points else ():
        lowest, radius = 1.0, 0.0
        for point in points:
            record = point["attacks"][name]
            accuracy = record["robust_accuracy"]
            if accuracy < lowest:
                lowest, radius = accuracy, point["epsilon"]
            risen = round((accuracy - lowest) * record["examples"])
            if _beyond_noise(risen, record["examples"]) and not _is_one_step(name, record):
                message = (
                    f"{name} leaves {lowest:.1%} robust at epsilon {_number(radius)} and "
                    f"{accuracy:.1%} at {_number(point['epsilon'])}. The larger ball holds the "
                    "smaller one, so the attack is at fault: adapt its step size and number of "
                    "steps to epsilon, and look for what masks gradients."
                )
                yield accuracy - lowest, finding("larger-epsilon", message)


def _kind(name: str, record: Record) -> str:
    """Returns the class of an attack in lower case, which its ``repr`` begins with.

    Of an attack on 8-bit pixels, that of the attack which runs there.
    """
    described = str(record.get("attack", name)).removeprefix("EightBit(attack=")
    return described.split("(")[0].lower()


def _is_black_box(name: str, record: Record) -> bool:
    parts = record.get("components")
    if parts:
        return all(_is_black_box(part, inner) for part, inner in parts.items())
    if "needs_gradients" in record:
        return not record["needs_gradients"]
    return _kind(name, record) in BLACK_BOX


def _is_one_step(name: str, record: Record) -> bool:
    """Tells a single step, which overshoots at a larger epsilon even on sound networks."""
    return name == "fgsm" or ", steps=1," in str(record.get("attack"))


def _is_stronger(one: Record, other: Record) -> bool:
    """Tells whether one attack leaves clearly fewer examples robust than another."""
    if one["examples"] == other["examples"]:
        gap = other["robust_accuracy"] - one["robust_accuracy"]
        return _beyond_noise(round(gap * one["examples"]), one["examples"])
    return bool(one["interval"][1] < other["interval"][0])  # they saw different examples


def _beyond_noise(examples: int, of: int) -> bool:
    return examples > max(NOISE_EXAMPLES, NOISE_SHARE * of)


def _number(epsilon: float | None) -> str:
    return "of its own" if epsilon is None else f"{epsilon:.4g}"
