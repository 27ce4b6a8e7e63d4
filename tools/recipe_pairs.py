"""flags/<dataset>_<method>.cfg: the settings of data sets and of methods, combined.

Change these tables, never a file, and run ``python tools/write_recipes.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from recipe_datasets import BASE, CHOICE, DATASETS, LAST, SONG, Recipe, Setting
from recipe_methods import CHANGES, LU, METHODS, OWN, UNREAD

SONG_METHODS = ("pgdat", "trades", "rbsat_p", "rbsat_t", "rlfat_p", "rlfat_t")
# Of a recipe that others have published figures for.
PUBLISHED = {
    "cifar10_mart": "79.23 / 47.83; ResNet-18: the repository MTandHJ/PyTorch-Robust.",
    "cifar10_hat": "84.90 / 49.08 attack not named; ResNet-18: the authors' README.",
    "cifar10_ikl": "85.31 / 57.13; WRN-34-10 with AWP: RobustBench.",
    "cifar100_ikl": "65.93 / 32.52; WRN-34-10 with AWP and AutoAugment: RobustBench.",
}
# The helper of HAT in the paper is trained as long as its network.
HELPER = (
    "First a helper, as in the paper of the same network and length: python train.py "
    "--dataset={name} --method=standard --model=resnet18 --epochs=50 --batch_size=128 "
    "--optimizer=sgd --learning_rate=0.21 --lr_schedule=onecycle:0.25 --nesterov "
    "--weight_decay=5e-4 --augment=crop_flip"
)


def _notes(dataset: str, method: str) -> tuple[str, ...]:
    """Where the settings come from, what to do first in front."""
    if method != "hat":
        return _sources(dataset, method)
    helper = f"First a helper: python train.py --dataset={dataset} --method=standard"
    if (dataset, method) in OWN:
        helper = HELPER.format(name=dataset)
    return (helper, *_sources(dataset, method))


def _sources(dataset: str, method: str) -> tuple[str, ...]:
    if (dataset, method) in OWN:
        return OWN[dataset, method].notes
    notes = BASE[dataset].notes
    if method == "local_global":
        return LU
    if notes[0] != SONG or method in SONG_METHODS:
        return notes
    if method == "standard":
        return (SONG, LAST)
    return (
        f"{CHOICE}: network, radius and length are those that Song et al. (ICLR 2020) use here.",
    )


def pairs() -> Iterator[Recipe]:
    """Yields one recipe for every data set and method."""
    for dataset, where in DATASETS.items():
        for method, (title, added) in METHODS.items():
            base = OWN.get((dataset, method), BASE[dataset]).flags
            flags = {**base, **added, **CHANGES.get((dataset, method), {})}
            flags = {k: v for k, v in flags.items() if k not in UNREAD.get(method, ())}
            flags = {"dataset": dataset, "method": method, **flags}
            notes = _notes(dataset, method)
            name = f"{dataset}_{method}"
            setting = Setting(notes, flags)
            yield Recipe(name, f"{title} on {where}.", setting, PUBLISHED.get(name))
