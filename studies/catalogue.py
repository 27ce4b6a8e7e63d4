"""All studies: which runs, of which settings and seeds; ``studies/README.md`` has the questions.

A run belongs to one study and may be shown by others: no configuration is trained twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.runs import Look, Recipe, Run, Study

METHODS = ("pgdat", "trades", "rbsat_p", "rbsat_t", "rlfat_p", "rlfat_t")

# The regime in which robust networks overfit: few images, many epochs, nothing against it.
A1: dict[str, Any] = {
    "dataset": "cifar10",
    "model": "wrn-10-1",
    "train_examples": 500,
    "validation_examples": 500,
    "validation_every": 5,
    "test_examples": 100,  # the library's own test; the study's comes after it
    "epochs": 100,
    "batch_size": 50,
    "epsilon": 0.03,
    "attack_steps": 7,
    "attack_step_size": 0.0075,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "augment": "flip",
    "export": False,
    "distribution": "none",
}
A2: dict[str, Any] = {
    **A1,
    "model": "wrn-10-2",
    "train_examples": 1000,
    "epochs": 120,
    "batch_size": 64,
}


def frame(steps_per_epoch: int, awp: float) -> dict[str, Any]:
    """Today's frame: an average over about four epochs, label smoothing, AWP."""
    average = round(1 - 1 / (4 * steps_per_epoch), 4)
    return {"label_smoothing": 0.1, "ema": average, "awp": awp}


# Today's frame for one-step training, after FAST-AT's benchmark, on a small scale.
FAST: dict[str, Any] = {
    **A1,
    "train_examples": 5000,
    "validation_every": 1,
    "epochs": 15,
    "batch_size": 128,
    "epsilon": 8 / 255,
    "attack_steps": 10,
    "attack_step_size": ...,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "lr_schedule": "onecycle:0.3",
    "weight_decay": 5e-4,
    "augment": "crop_flip",
    "label_smoothing": 0.1,
    "ema": round(1 - 1 / (4 * 39), 4),
}

# All of CIFAR-10 at equal time. The network: wrn-10-2 where N-FGSM has at least 8 epochs an hour
# with it, else wrn-10-1.
C: dict[str, Any] = {
    **FAST,
    "model": "wrn-10-2",
    "train_examples": 49000,
    "validation_examples": 1000,
    "ema": 0.0,  # made of the number of steps
}
ONE_STEP: dict[str, Any] = {"attack": "n_fgsm", "attack_steps": ...}


def seeds(
    study: str,
    recipe: str,
    flags: Mapping[str, Any],
    number: int,
    minutes: int,
    **more: Any,
) -> list[Run]:
    """Returns the runs of one recipe, of seeds 0, 1, ...

    A flag whose value is ``...`` is left at the library's default.
    """
    given = {name: value for name, value in flags.items() if value is not ...}
    return [Run(study, recipe, seed, given, minutes, **more) for seed in range(number)]


def _of_methods(
    study: str, base: Mapping[str, Any], few: int, minutes: int, **more: Any
) -> list[Run]:
    runs = []
    for method in METHODS:
        number = 3 if method in ("pgdat", "rlfat_p") else few
        runs += seeds(study, method, {**base, "method": method}, number, minutes, **more)
    standard = {**base, "method": "standard"}
    return [*runs, *seeds(study, "standard", standard, few, minutes // 3, **more)]


def _within(study: str, runs: list[Run], *recipes: str) -> list[Run]:
    """Returns the runs of some recipes, which another study has made."""
    return [run for run in runs if run.study == study and run.recipe in recipes]


def _c(recipe: str, budget: int = 60, **flags: Any) -> Run:
    # The rate ends at 0 without overfitting, so that the last checkpoint is about the best.
    evaluated: dict[str, Any] = {"examples": 1000, "autoattack": 200, "checkpoints": ("best",)}
    (run,) = seeds("c", recipe, {**C, **flags}, 1, budget + 20, budget=budget, **evaluated)
    return run


def _differences(study: str, *pairs: tuple[str, str]) -> tuple[Any, ...]:
    return tuple(((study, one), (study, other)) for one, other in pairs)


def _recipes(study: str, *recipes: str) -> tuple[Recipe, ...]:
    return tuple((study, recipe) for recipe in recipes)


RLFAT_PAIRS = (
    ("rlfat_p", "pgdat"),
    ("rlfat_t", "trades"),
    ("rlfat_p", "rbsat_p"),
    ("rlfat_t", "rbsat_t"),
    ("rbsat_p", "pgdat"),
    ("rbsat_t", "trades"),
)

LOST = ("pgdat", "rlfat_p", "trades", "rlfat_t")
# What study b puts into the frame: of which study, which method minus which.
BARE = (("a2", "rlfat_p", "pgdat"), ("a1", "rlfat_t", "trades"))

a1 = _of_methods("a1", A1, 3, 16)
a2 = _of_methods("a2", A2, 1, 75, autoattack=300)
b = [
    *seeds("b", "pgdat-frame", {**A2, "method": "pgdat", **frame(15, 0.01)}, 2, 90, autoattack=300),
    *seeds(
        "b", "rlfat_p-frame", {**A2, "method": "rlfat_p", **frame(15, 0.01)}, 2, 100, autoattack=300
    ),
    *seeds("b", "trades-frame", {**A1, "method": "trades", **frame(10, 0.005)}, 2, 20),
    *seeds("b", "rlfat_t-frame", {**A1, "method": "rlfat_t", **frame(10, 0.005)}, 2, 22),
]
of_frame = [
    *seeds("frame", "pgdat-frame", {**A1, "method": "pgdat", **frame(10, 0.01)}, 1, 20),
    *seeds("frame", "rlfat_p-frame", {**A1, "method": "rlfat_p", **frame(10, 0.01)}, 1, 22),
    *seeds("frame", "pgd10", {**FAST, "method": "pgdat"}, 1, 45),
    *seeds("frame", "n_fgsm", {**FAST, "method": "pgdat", **ONE_STEP}, 1, 18),
]
# FGSM from a random start where catastrophic overfitting is likely: a wide ball, and no remedy.
DRIVEN: dict[str, Any] = {
    **A1,
    "method": "pgdat",
    "train_examples": 5000,
    "validation_every": 1,
    "epochs": 30,
    "batch_size": 128,
    "epsilon": 16 / 255,
    "attack": "fgsm_rs",
    "attack_steps": ...,
    "attack_step_size": ...,
}
of_frame += [
    run
    for guard in ("off", "rollback")
    for run in seeds("frame", f"fgsm_rs-guard_{guard}", {**DRIVEN, "guard": guard}, 1, 20)
]
c = [
    _c("n_fgsm-60", method="pgdat", **ONE_STEP),
    _c("pgd10-60", method="pgdat"),
    _c("pgd2-60", method="pgdat", attack_steps=2),
    _c("n_fgsm-20", 20, method="pgdat", **ONE_STEP),
    _c("local_global-60", method="local_global", attack_steps=2, attack_step_size=5 / 255),
    _c("local_global-20", 20, method="local_global", attack_steps=2, attack_step_size=5 / 255),
    # These two smooth labels in their own way, and bring attacks of their own.
    _c("feature_scattering-60", method="feature_scattering", label_smoothing=...),
    _c("atld-60", method="atld", label_smoothing=...),
    _c("trades2-60", method="trades", attack_steps=2),
    _c("rlfat_t2-60", method="rlfat_t", attack_steps=2),
]
f = [
    *seeds("f", "standard-lsp", {**A1, "method": "standard", "regularizer": "lsp"}, 3, 8),
    *seeds("f", "pgdat-lsp", {**A1, "method": "pgdat", "regularizer": "lsp"}, 3, 18),
    *(
        run
        for method, minutes in (("standard", 8), ("pgdat", 18))
        for reading in ("laplacian", "relative")
        for run in seeds(
            "f",
            f"{method}-lsp_{reading}",
            {**A1, "method": method, "regularizer": "lsp", "lsp_reading": reading},
            1,
            minutes,
        )
    ),
]

_looked_at = [
    run for run in a1 if run.seed == 0 and run.recipe in ("pgdat", "trades", "rlfat_p", "rlfat_t")
]
d = [
    *(Look("d", "local", run, 3) for run in _looked_at),
    *(Look("d", "corruptions", run, 5) for run in c),
]
e = [Look("e", "forms", run, 60) for run in c if run.recipe == "atld-60"]

# In the order of what they are worth.
STUDIES: dict[str, Study] = {
    "a2": Study(
        "RLFAT where robust networks overfit: 1,000 images, wrn-10-2",
        tuple(a2),
        compared=_differences("a2", *RLFAT_PAIRS),
        drawn=(("a2", "pgdat"), ("a2", "rlfat_p")),
        lost=_recipes("a2", *LOST),
    ),
    "c": Study(
        "All of CIFAR-10, robustness at equal time",
        tuple(c),
        compared=_differences(
            "c",
            ("n_fgsm-60", "pgd10-60"),
            ("n_fgsm-20", "pgd10-60"),
            ("local_global-60", "pgd10-60"),
            ("local_global-20", "pgd10-60"),
            ("rlfat_t2-60", "trades2-60"),
        ),
    ),
    "a1": Study(
        "RLFAT where robust networks overfit: 500 images, wrn-10-1",
        tuple(a1),
        compared=_differences("a1", *RLFAT_PAIRS),
        drawn=(("a1", "pgdat"), ("a1", "rlfat_p")),
        lost=_recipes("a1", *LOST),
    ),
    "b": Study(
        "RLFAT inside today's frame: average, label smoothing, AWP",
        (
            *b,
            *_within("a2", a2, "pgdat", "rlfat_p"),
            *_within("a1", a1, "trades", "rlfat_t"),
        ),
        compared=(
            *(((study, one), (study, other)) for study, one, other in BARE),
            *((("b", f"{one}-frame"), ("b", f"{other}-frame")) for _, one, other in BARE),
            *(
                (("b", f"{recipe}-frame"), (study, recipe))
                for study, one, other in BARE
                for recipe in (other, one)
            ),
        ),
        drawn=(
            *_recipes("a2", "pgdat", "rlfat_p"),
            *_recipes("b", "pgdat-frame", "rlfat_p-frame"),
        ),
        lost=tuple(
            recipe
            for study, one, other in BARE
            for each in (other, one)
            for recipe in ((study, each), ("b", f"{each}-frame"))
        ),
        changes=tuple(
            (
                (("b", f"{one}-frame"), ("b", f"{other}-frame")),
                ((study, one), (study, other)),
            )
            for study, one, other in BARE
        ),
    ),
    "f": Study(
        "LSP beside standard training and PGDAT",
        (*f, *_within("a1", a1, "standard", "pgdat")),
        compared=(
            (("f", "standard-lsp"), ("a1", "standard")),
            (("f", "standard-lsp_laplacian"), ("a1", "standard")),
            (("f", "standard-lsp_relative"), ("a1", "standard")),
            (("f", "pgdat-lsp"), ("a1", "pgdat")),
            (("f", "pgdat-lsp_laplacian"), ("a1", "pgdat")),
            (("f", "pgdat-lsp_relative"), ("a1", "pgdat")),
        ),
        drawn=(("a1", "pgdat"), ("f", "pgdat-lsp")),
        lost=(("a1", "pgdat"), ("f", "pgdat-lsp")),
    ),
    "d": Study("What networks look at, and what disturbs them", (), tuple(d)),
    "e": Study(
        "What PGD-20 overlooks in methods whose training attack has one step",
        tuple(run for run in c if run.recipe in ("pgd10-60", "feature_scattering-60", "atld-60")),
        tuple(e),
    ),
    "frame": Study(
        "Today's frame on a small scale, and one-step training",
        (*_within("a1", [run for run in a1 if run.seed == 0], "pgdat", "rlfat_p"), *of_frame),
        compared=(
            (("frame", "pgdat-frame"), ("a1", "pgdat")),
            (("frame", "rlfat_p-frame"), ("a1", "rlfat_p")),
            (("frame", "rlfat_p-frame"), ("frame", "pgdat-frame")),
            (("frame", "n_fgsm"), ("frame", "pgd10")),
        ),
        drawn=(
            *_recipes("a1", "pgdat", "rlfat_p"),
            *_recipes("frame", "pgdat-frame", "rlfat_p-frame"),
        ),
        lost=(
            *_recipes("a1", "pgdat", "rlfat_p"),
            *_recipes("frame", "pgdat-frame", "rlfat_p-frame"),
        ),
    ),
}
