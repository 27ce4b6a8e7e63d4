"""The named recipes of flags/: a method, and what today's practice puts around it.

:func:`frames` makes them of this table: change it, never a file, and run
``python tools/write_recipes.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from recipe_datasets import CHOICE, DATASETS, SGD, Flags, Recipe, Setting
from recipe_methods import METHODS


class Frame(NamedTuple):
    """A named recipe.

    Attributes:
        method: Its method.
        title: What is put around it.
        notes: Where that comes from.
        flags: What it says beside the method's own flags.
        changes: Of the latter.
    """

    method: str
    title: str
    notes: tuple[str, ...]
    flags: Flags
    changes: Flags = {}


PYR = "the repository MTandHJ/PyTorch-Robust"
FAST = "the FastAT benchmark (the repository fzjcdt/FastAT_Benchmark)"
PANG = (
    'Source: the settings that Pang et al., "Bag of Tricks for Adversarial Training", ICLR 2021, '
    f"recommend, as {PYR} uses them.",
)
FASTAT = (
    f"Source: {FAST}: label smoothing, a one-cycle rate by epoch and an average of everything. The "
    "momentum stays constant here, where its schedule moves it between 0.85 and 0.95.",
)
WU = (
    'Source: Wu et al., "Adversarial Weight Perturbation Helps Robust Generalization", NeurIPS '
    "2020, and the authors' code.",
)
RICE = (
    'Source: Rice et al., "Overfitting in adversarially robust deep learning", ICML 2020, and the '
    "authors' code; the usual radius 0.5 stands for their 128/255.",
)
NO_FIGURES = "Nobody has published figures of this combination."
_TRICKS: Flags = {
    **SGD,
    "model": "resnet18",
    "epochs": "110",
    "lr_schedule": "step:100,105",
}
_AVERAGE: Flags = {
    **SGD,
    "model": "resnet18",
    "epochs": "100",
    "validation_examples": "1000",
    "lr_schedule": "onecycle:0.3,by=epoch",
    "label_smoothing": "0.4",
    "ema": "0.9995",
    "ema_ramp": "false",
    "ema_statistics": "average",
}
_LONG: Flags = {
    **SGD,
    "model": "preact_resnet18",
    "epochs": "200",
    "lr_schedule": "step:100,150",
}
_TRADES_AWP: Flags = {**_LONG, "awp": "0.005", "awp_warmup": "9"}
_ONE_STEP: Flags = {**_AVERAGE, "attack": "n_fgsm", "attack_bn": "train"}
_L2: Flags = {
    **_LONG,
    "normalize": "cifar10",
    "attack_norm": "l2",
    "epsilon": "0.5",
    "attack_step_size": "15/255",
    "attack_bn": "train",
}
_SHORT: Flags = {
    **SGD,
    "model": "preact_resnet18",
    "epochs": "30",
    "validation_examples": "1000",
    "lr_schedule": "onecycle:0.3",
    "label_smoothing": "0.1",
    "ema": "0.9993",
    "awp": "0.005",
    "awp_warmup": "15",
}
_SYNTHETIC: Flags = {
    **SGD,
    "model": "preact_resnet18-silu",
    "normalize": "cifar10",
    "validation_examples": "1024",
    "extra_data": "cifar10_ddpm.npz",
    "extra_share": "0.7",
    "extra_label_smoothing": "0.1",
    "epochs": "120",
    "batch_size": "1024",
    "learning_rate": "0.4",
    "lr_schedule": "cosine:warmup=3",
    "nesterov": "true",
    "decay_exclude": "batch_norm",
    "ema": "0.995",
    "ema_statistics": "raw",
    "attack_bn": "batch",
}
_GENERATED = (
    "First the images: cifar10_ddpm.npz, which the authors give away (the repository "
    "google-deepmind/deepmind-research, adversarial_robustness), in the working folder; or others.",
    "An epoch is one of the real images: 120 of them are 400 of 50,000 images in all.",
)


FRAMES = {
    "cifar10_pgdat_tricks": Frame("pgdat", "with the usual settings of today", PANG, _TRICKS),
    "cifar10_trades_tricks": Frame("trades", "with the usual settings of today", PANG, _TRICKS),
    "cifar10_pgdat_average": Frame(
        "pgdat", "with label smoothing and averaged weights", FASTAT, _AVERAGE
    ),
    "cifar10_pgdat_awp": Frame(
        "pgdat",
        "with AWP",
        WU,
        {**_LONG, "normalize": "cifar10", "attack_bn": "train", "awp": "0.01"},
    ),
    "cifar10_trades_awp": Frame(
        "trades",
        "with AWP",
        (
            *WU,
            f"On the pre-activation network, because {PYR} saw AWP end the training of ResNet-18 "
            "now and then.",
        ),
        _TRADES_AWP,
    ),
    "cifar10_nfgsm": Frame(
        "pgdat",
        "by one noisy step (N-FGSM)",
        (
            'Source: de Jorge et al., "Make Some Noise: Reliable and Efficient Single-Step '
            f'Adversarial Training", NeurIPS 2022, in the frame of {FAST}.',
        ),
        _ONE_STEP,
    ),
    "cifar10_nfgsm_short": Frame(
        "pgdat",
        "by one noisy step (N-FGSM), 30 epochs",
        (
            "Source: the settings of de Jorge et al., NeurIPS 2022, and the authors' code. The "
            "momentum stays constant here.",
        ),
        {
            **SGD,
            "model": "preact_resnet18",
            "epochs": "30",
            "learning_rate": "0.2",
            "lr_schedule": "cyclic:0.5",
            "attack": "n_fgsm",
            "attack_bn": "train",
        },
    ),
    "cifar10_fgsm_rs": Frame(
        "pgdat",
        "by one step from a random start (FGSM-RS), 15 epochs",
        (
            'Source: Wong et al., "Fast is better than free", ICLR 2020, and the authors\' code. '
            "Unstable: one seed in several overfits its single step, which the guard stops.",
        ),
        {
            **SGD,
            "model": "resnet18",
            "epochs": "15",
            "learning_rate": "0.2",
            "lr_schedule": "cyclic:0.5",
            "attack": "fgsm_rs",
            "attack_bn": "train",
        },
    ),
    "cifar10_pgdat_l2": Frame("pgdat", "in L2", RICE, _L2, {"attack_random_start": "radial"}),
    "cifar10_pgdat_awp_l2": Frame(
        "pgdat",
        "with AWP in L2",
        (*WU, "The usual radius 0.5 stands for their 128/255."),
        {**_L2, "awp": "0.01"},
        {"attack_random_start": "radial"},
    ),
    "cifar10_rlfat_p_frame": Frame(
        "rlfat_p",
        "in the frame of cifar10_pgdat_average",
        (f"{CHOICE}: what does RLFAT add to today's practice? {NO_FIGURES}",),
        _AVERAGE,
    ),
    "cifar10_rlfat_t_frame": Frame(
        "rlfat_t",
        "in the frame of cifar10_pgdat_average",
        (f"{CHOICE}: what does RLFAT add to today's practice? {NO_FIGURES}",),
        _AVERAGE,
    ),
    "cifar10_rlfat_t_awp": Frame(
        "rlfat_t",
        "in the frame of cifar10_trades_awp",
        (f"{CHOICE}: what does RLFAT add to today's practice? {NO_FIGURES}",),
        _TRADES_AWP,
    ),
    "cifar10_trades_short": Frame(
        "trades",
        "with all of today's practice in 30 epochs",
        (
            f"{CHOICE}: where to start, see docs/frame.md. The average looks back over four "
            f"epochs, and AWP sets in halfway. {NO_FIGURES}",
        ),
        _SHORT,
    ),
    "cifar10_trades_synthetic": Frame(
        "trades",
        "with a million generated images",
        (
            *_GENERATED,
            'Source: Rebuffi et al., "Data Augmentation Can Improve Robustness", NeurIPS 2021, and '
            "the authors' code.",
        ),
        _SYNTHETIC,
        {"trades_lambda": "5", "attack_random_start": "uniform"},
    ),
    "cifar10_hat_synthetic": Frame(
        "hat",
        "with a million generated images",
        (
            *_GENERATED,
            "Then a helper: python train.py --dataset=cifar10 --method=standard "
            "--model=preact_resnet18-silu --normalize=cifar10 --epochs=50 --optimizer=sgd "
            "--learning_rate=0.21 --lr_schedule=onecycle:0.25 --nesterov --weight_decay=5e-4 "
            "--augment=crop_flip",
            'Source: Rade & Moosavi-Dezfooli, "Reducing Excessive Margin to Achieve a Better '
            "Accuracy vs. Robustness Trade-off\", ICLR 2022, and the authors' code.",
        ),
        {**_SYNTHETIC, "helper_model": "runs/cifar10_standard"},
        {"hat_beta": "3.5", "attack_random_start": "uniform"},
    ),
}

_BEST = "best checkpoint"
PUBLISHED = {
    "cifar10_pgdat_tricks": f"84.15 / 48.72; ResNet-18, {_BEST}: {PYR}.",
    "cifar10_trades_tricks": f"82.35 / 49.54; ResNet-18, {_BEST}: {PYR}.",
    "cifar10_pgdat_average": f"82.36 / 50.49; ResNet-18, mean of 3 seeds, {_BEST}: {FAST}.",
    "cifar10_pgdat_awp": (
        f"81.2 / 55.4 PGD-20; {_BEST}, 54.3 the last: the authors' log. ResNet-18 of {PYR}: 82.32 "
        "/ 49.88 AutoAttack."
    ),
    "cifar10_trades_awp": f"82.75 / 51.86; ResNet-18, {_BEST}, the last 82.69 / 51.84: {PYR}.",
    "cifar10_nfgsm": (
        "78.59 / 47.77; ResNet-18, mean of 3 seeds, in about a quarter of the time of PGD-10: "
        f"{FAST}."
    ),
    "cifar10_fgsm_rs": f"77.70 / 41.35; ResNet-18: {PYR}.",
    "cifar10_pgdat_l2": "88.67 / 67.68; PreAct ResNet-18 at 0.5: RobustBench.",
    "cifar10_trades_synthetic": "83.53 / 56.66; the same network: RobustBench.",
    "cifar10_hat_synthetic": "86.86 / 57.09; the same network: RobustBench.",
    "cifar10_pgdat_awp_l2": (
        "- / 70.31; PreAct ResNet-18 at 128/255: the authors' AutoAttack log."
    ),
}
# What one step has no use for.
MANY_STEPS = ("attack_steps", "attack_step_size", "attack_random_start")


def frames() -> Iterator[Recipe]:
    """Yields the named recipes."""
    for name, frame in FRAMES.items():
        title, added = METHODS[frame.method]
        dataset = name.partition("_")[0]
        flags = {"dataset": dataset, "method": frame.method, **frame.flags, **added}
        flags.update(frame.changes)
        if "attack" in flags:
            flags = {flag: value for flag, value in flags.items() if flag not in MANY_STEPS}
        title = f"{title} {frame.title} on {DATASETS[dataset]}."
        yield Recipe(name, title, Setting(frame.notes, flags), PUBLISHED.get(name))
