"""The peers' attacks, made to do what ours does: same budget, same step, same network.

What had to be set, because a default differs, is listed in README.md beside this file.
"""

from __future__ import annotations

import argparse
import atexit
import functools
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from benchmarks.subject import Subject
from benchmarks.torch_side import TorchSide
from rlfat_tf.attacks import PGD
from rlfat_tf.attacks.autoattack import AutoAttack
from rlfat_tf.core import random
from rlfat_tf.core.compat import keras
from rlfat_tf.evaluation.classifier import as_classifier

# From images, labels and numbers of examples, NumPy, to points of the same shape as the images.
Run = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]


def our_attack(name: str, args: argparse.Namespace) -> Any:
    """Makes our attack of a row."""
    if name == "pgd":
        steps = max(1, round(20 * args.budget))
        ball = {"norm": args.norm, "epsilon": args.epsilon, "step_size": args.epsilon / 10}
        return PGD(**ball, steps=steps, random_start="uniform", keep="best")
    whole = AutoAttack(norm=args.norm, epsilon=args.epsilon, budget=args.budget)
    return whole if name == "autoattack" else whole.components[name]


def our_run(model: Any, attack: Any, seed: int) -> Run:
    """Compiles our attack once for batches of any size."""
    signature = [
        tf.TensorSpec([None, *model.input_shape[1:]], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.int32),
    ]
    logits_fn = as_classifier(model).logits_fn

    @tf.function(input_signature=signature)
    def run(images: Any, labels: Any, examples: Any) -> Any:
        draws = random.as_seed(seed)._replace(examples=examples)
        return attack(logits_fn, images, labels, seed=draws)

    run.get_concrete_function()
    return run


def foolbox_pgd(subject: Subject, attack: Any, args: argparse.Namespace) -> tuple[str, Run]:
    """foolbox's PGD on the TensorFlow network; returns the last point of every example."""
    import foolbox

    kind = foolbox.attacks.L2PGD if args.norm == "l2" else foolbox.attacks.LinfPGD
    theirs = kind(abs_stepsize=attack.step_size, steps=attack.steps, random_start=True)
    # The compiled network: foolbox itself is eager, and would otherwise pay for Keras' eager calls.
    model = foolbox.TensorFlowModel(subject.logits_fn, bounds=(0, 1))
    tf.random.set_seed(args.seed)

    def run(images: np.ndarray, labels: np.ndarray, _: np.ndarray) -> Any:
        # int64, as its predictions: EagerPy finds no common type under NumPy 2.
        criterion = foolbox.criteria.Misclassification(tf.constant(labels, tf.int64))
        return theirs(model, tf.constant(images), criterion, epsilons=args.epsilon)[1]

    return repr(theirs), run


def art_pgd(subject: Subject, attack: Any, args: argparse.Namespace) -> tuple[str, Run]:
    """ART's PGD on the TensorFlow network; returns the last point of every example."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(
        model=lambda images, training=False: subject.logits_fn(images),
        nb_classes=subject.num_classes,
        input_shape=subject.images.shape[1:],
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum"),
        clip_values=(0.0, 1.0),
    )
    arguments = {
        "norm": 2 if args.norm == "l2" else "inf",
        "eps": args.epsilon,
        "eps_step": attack.step_size,
        "max_iter": attack.steps,
        "num_random_init": 1,
    }
    theirs = ProjectedGradientDescent(
        classifier, **arguments, batch_size=args.batch_size, verbose=False
    )
    np.random.seed(args.seed)  # ART draws from NumPy's global generator
    listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"ProjectedGradientDescent({listed})", lambda x, y, _: theirs.generate(x, y)


def cleverhans_pgd(subject: Subject, attack: Any, args: argparse.Namespace) -> tuple[str, Run]:
    """cleverhans' PGD on the TensorFlow network; its own loop is eager."""
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    arguments = {
        "eps": args.epsilon,
        "eps_iter": attack.step_size,
        "nb_iter": attack.steps,
        "norm": 2 if args.norm == "l2" else np.inf,
        "clip_min": 0.0,
        "clip_max": 1.0,
        "rand_init": True,
        "sanity_checks": False,
    }
    tf.random.set_seed(args.seed)

    def run(images: np.ndarray, labels: np.ndarray, _: np.ndarray) -> Any:
        y = tf.constant(labels, tf.int64)
        return projected_gradient_descent(subject.logits_fn, tf.constant(images), y=y, **arguments)

    listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"projected_gradient_descent({listed})", run


def torchattacks_pgd(subject: Subject, attack: Any, args: argparse.Namespace) -> tuple[str, Run]:
    """torchattacks' PGD on the network's copy."""
    kind = "PGDL2" if args.norm == "l2" else "PGD"
    arguments = {"eps": args.epsilon, "alpha": attack.step_size, "steps": attack.steps}
    return described(kind, arguments), _torch_run(subject, kind, arguments)


def described(kind: str, arguments: dict[str, Any]) -> str:
    """Returns a call as one would write it."""
    listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"{kind}({listed})"


def _torch_run(
    subject: Subject, kind: str, arguments: dict[str, Any], parts: Sequence[Any] = ()
) -> Run:
    """Starts an attack of torchattacks on the network's copy."""
    side = TorchSide(
        "attack", subject.network, {}, kind=kind, arguments=arguments, parts=list(parts)
    )
    atexit.register(side.close)
    return lambda images, labels, _: side(images=images, labels=labels)


def torchattacks_part(name: str, ball: dict[str, Any], attack: Any, classes: int) -> dict[str, Any]:
    """Returns the arguments of torchattacks' class that equal those of our component."""
    targets = {"n_classes": min(classes, 10)}  # for at most 9 targets
    if name == "square":
        return {**ball, "n_queries": attack.queries, "resc_schedule": attack.rescale_schedule}
    if name == "apgd_ce":
        return {**ball, "steps": attack.steps, "loss": "ce"}
    if name == "apgd_t":
        return {**ball, "steps": attack.steps, **targets}
    return {**ball, "steps": attack.steps, "multi_targeted": True, **targets}


def torchattacks_run(
    name: str, subject: Subject, attack: Any, args: argparse.Namespace
) -> tuple[str, Run]:
    """torchattacks' class of that name on the network's copy, with the parameters of ours."""
    kinds = {"apgd_ce": "APGD", "apgd_t": "APGDT", "fab_t": "FAB", "square": "Square"}
    norm = {"linf": "Linf", "l2": "L2"}[args.norm]
    ball = {"norm": norm, "eps": args.epsilon, "seed": args.seed, "n_restarts": 1}

    def part(name: str, attack: Any) -> tuple[str, dict[str, Any]]:
        return kinds[name], torchattacks_part(name, ball, attack, subject.num_classes)

    if name != "autoattack":
        kind, arguments = part(name, attack)
        return described(kind, arguments), _torch_run(subject, kind, arguments)
    parts = [part(*component) for component in attack.components.items()]
    arguments = {
        "norm": norm, "eps": args.epsilon, "n_classes": subject.num_classes, "seed": args.seed,
    }  # fmt: skip
    text = ", ".join(described(*each) for each in parts)
    return (
        f"AutoAttack(version='standard') with [{text}]",
        _torch_run(subject, "AutoAttack", arguments, parts),
    )


# By attack, the peers that have it.
PEERS: dict[str, dict[str, Callable[..., tuple[str, Run]]]] = {
    "pgd": {"foolbox": foolbox_pgd, "ART": art_pgd},
    **{
        name: {"torchattacks": functools.partial(torchattacks_run, name)}
        for name in ("apgd_ce", "apgd_t", "fab_t", "square", "autoattack")
    },
}
