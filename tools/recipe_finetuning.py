"""The recipes of flags/ that begin with weights of ImageNet, for a folder of photos.

:func:`finetuning` makes them of this table: change it, never a file, and run
``python tools/write_recipes.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipe_datasets import CHOICE, Flags, Recipe, Setting

_NOTES = (
    f"{CHOICE}, for a few thousand photos and one GPU; docs/tutorials/finetuning.md tells what "
    "each flag is for. Give your own folder: --dataset=folder:<path>.",
)
_FLAGS: Flags = {
    "dataset": "folder:photos",
    "method": "pgdat",
    "model": "keras:MobileNetV2",
    "weights": "imagenet",
    "freeze": "none",
    "image_size": "160",
    "augment": "crop_flip",
    "epochs": "30",
    "batch_size": "64",
    "attack": "n_fgsm",
    "epsilon": "4/255",
    "epsilon_warmup": "5",
    "attack_bn": "eval",
    "optimizer": "adamw",
    "learning_rate": "0.0002",
    "lr_schedule": "cosine:warmup=2",
    "weight_decay": "0.01",
    "ema": "0.998",
    "seed": "0",
}


def finetuning() -> Iterator[Recipe]:
    """Yields the recipes."""
    title = "PGD adversarial training by one noisy step, from ImageNet's weights, on a folder"
    yield Recipe("photos_finetune", f"{title} of photos.", Setting(_NOTES, _FLAGS))
