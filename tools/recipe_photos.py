"""The recipes of flags/ for photos: from nothing, and from the weights of ImageNet.

:func:`photos` makes them of this table: change it, never a file, and run
``python tools/write_recipes.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipe_datasets import CHOICE, Flags, Recipe, Setting

_TITLE = "PGD adversarial training by one noisy step"
_FLAGS: Flags = {
    "method": "pgdat",
    "batch_size": "64",
    "attack": "n_fgsm",
    "epsilon": "4/255",
    "epsilon_warmup": "5",
    "attack_bn": "eval",
    "ema": "0.998",
    "seed": "0",
}
# By the end of a recipe's name: what it begins with, and the flags that follow from it.
WAYS: dict[str, tuple[str, str, Flags]] = {
    "scratch": (
        "from nothing",
        "docs/data.md tells what the flags for images of any size do.",
        {
            "model": "resnet18",
            "image_size": "128",
            "augment": "resized_crop+flip",
            "epochs": "90",
            "optimizer": "sgd",
            "momentum": "0.9",
            "learning_rate": "0.05",
            "lr_schedule": "cosine:warmup=5",
            "weight_decay": "0.0005",
        },
    ),
    "finetune": (
        "from ImageNet's weights",
        "docs/tutorials/finetuning.md tells what each flag is for.",
        {
            "model": "keras:MobileNetV2",
            "weights": "imagenet",
            "freeze": "none",
            "image_size": "160",
            "augment": "crop_flip",
            "epochs": "30",
            "optimizer": "adamw",
            "learning_rate": "0.0002",
            "lr_schedule": "cosine:warmup=2",
            "weight_decay": "0.01",
        },
    ),
}
# By its beginning: what it is of, what to know of that, and the flags that choose it.
SETS: dict[str, tuple[str, str, Flags]] = {
    "photos": (
        "a folder of photos",
        "for a few thousand photos and one GPU. Give your own folder: --dataset=folder:<path>;",
        {"dataset": "folder:photos"},
    ),
    "imagenette": (
        "Imagenette (ten classes of ImageNet)",
        "for one GPU;",
        {"dataset": "tfds:imagenette/320px-v2", "view": "centre"},
    ),
}


def photos() -> Iterator[Recipe]:
    """Yields the recipes."""
    for name, (title, known, chosen) in SETS.items():
        for way, (begins, more, flags) in WAYS.items():
            notes = (f"{CHOICE}, {known} {more}",)
            whole = {**_FLAGS, **chosen, **flags}
            yield Recipe(f"{name}_{way}", f"{_TITLE}, {begins}, on {title}.", Setting(notes, whole))
