"""What the recipes in flags/ are made of, and the settings of data sets; see recipe_pairs.py."""

from __future__ import annotations

from typing import NamedTuple

Flags = dict[str, str]


class Setting(NamedTuple):
    """Flags, and where they come from in whole sentences."""

    notes: tuple[str, ...]
    flags: Flags


class Recipe(NamedTuple):
    """One file of flags/.

    Attributes:
        name: Of the file, without its ending.
        title: What it is, a sentence.
        setting: What it says.
        published: Per cent, clean / under AutoAttack; the network and where from.
    """

    name: str
    title: str
    setting: Setting
    published: str | None = None


DATASETS = {
    "digits": "scikit-learn's handwritten digits (8x8): the embedded data set",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "stl10": "STL-10",
    "svhn_cropped": "SVHN",
}

LAST = "Best is last: as in the authors' code there is no validation split."
CHOICE = "Source: our choice"

# The settings of a data set for every method that has none of its own below.
SONG = (
    'Source: Song et al., "Robust Local Features for Improving the Generalization of Adversarial '
    "Training\", ICLR 2020, section 4 and the configuration of the authors' code."
)
SONG_ATTACK = (
    "The authors' code attacks with --attack_bn=train; docs/batch_normalization.md compares."
)
_PAPER: Flags = {
    "augment": "flip",
    "validation_fraction": "0",
    "batch_size": "32",
    "epsilon": "0.03",
    "attack_step_size": "0.0075",
    "attack_bn": "eval",
    "optimizer": "adam",
    "learning_rate": "0.001",
    "lr_schedule": "constant",
    "weight_decay": "0",
    "seed": "4557077",
}
_CIFAR: Flags = {**_PAPER, "model": "w32-10", "train_steps": "79800"}
_STL10: Flags = {**_PAPER, "model": "w40-2", "train_steps": "29700", "attack_steps": "7"}
_MADRY: Flags = {
    "model": "small_cnn",
    "augment": "none",
    "epochs": "20",
    "batch_size": "128",
    "epsilon": "0.3",
    "attack_steps": "40",
    "attack_step_size": "0.01",
    "attack_bn": "eval",
    "optimizer": "adam",
    "learning_rate": "0.001",
    "seed": "0",
}
SGD: Flags = {
    "augment": "crop_flip",
    "batch_size": "128",
    "epsilon": "8/255",
    "attack_steps": "10",
    "attack_step_size": "2/255",
    "attack_bn": "eval",
    "optimizer": "sgd",
    "momentum": "0.9",
    "learning_rate": "0.1",
    "weight_decay": "0.0005",
    "seed": "0",
}
BASE = {
    "digits": Setting(
        (f"{CHOICE}, for a run of a few minutes on two CPU cores.",),
        {
            "model": "wrn-10-1",
            "augment": "none",
            "epochs": "40",
            "batch_size": "32",
            "epsilon": "0.15",
            "attack_steps": "7",
            "attack_step_size": "0.04",
            "attack_bn": "eval",
            "optimizer": "adam",
            "learning_rate": "0.003",
            "lr_schedule": "cosine",
            "seed": "0",
        },
    ),
    "mnist": Setting(
        (
            "Source: radius, steps and step size as in the experiments of Madry et al. (ICLR 2018) "
            "and TRADES; the rest is our choice.",
        ),
        _MADRY,
    ),
    "fashion_mnist": Setting(
        (f"{CHOICE}: as for MNIST, with a third of the radius and flips.",),
        {**_MADRY, "augment": "flip", "epsilon": "0.1", "attack_steps": "20"},
    ),
    "cifar10": Setting((SONG, SONG_ATTACK, LAST), {**_CIFAR, "attack_steps": "10"}),
    "cifar100": Setting((SONG, SONG_ATTACK, LAST), {**_CIFAR, "attack_steps": "7"}),
    "stl10": Setting((SONG, SONG_ATTACK, LAST), _STL10),
    "svhn_cropped": Setting(
        (f"{CHOICE}: radius and attack are the usual ones, the rate is lower as in most work.",),
        {
            **SGD,
            "model": "preact_resnet18",
            "augment": "none",
            "epochs": "60",
            "learning_rate": "0.01",
            "lr_schedule": "step:50,55",
        },
    ),
}
