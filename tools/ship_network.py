"""Makes a network that comes with the library of a trained run, and measures what its card says.

    python tools/ship_network.py runs/cifar10_pgdat cifar10-linf-wrn16-2 --robust_examples=1000

Writes ``<name>.keras`` and ``<name>.json`` into ``rlfat_tf/models/weights``: clean accuracy on all
test images, robust accuracy on the first ones by AutoAttack. A killed evaluation goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

import rlfat_tf
from rlfat_tf.models.zoo import FOLDER, Pretrained
from rlfat_tf.run import cli
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.workdir import read_config, read_summary
from rlfat_tf.storage.files import replacing, write_text

LIMIT = 4_000_000  # bytes of one file of weights
PLACES = ("--workdir=", "--data_dir=", "--recipe=")  # which change nothing in the network


def history(run: Path) -> list[Path]:
    """Returns the runs that led to a run, each begun with the weights of the one before."""
    weights = read_config(run).weights
    before = history(Path(weights)) if weights and Path(weights).is_dir() else []
    return [*before, run]


def commands(runs: Sequence[Path]) -> str:
    """Returns the commands of these runs, one a line; a folder that the next one reads is named."""
    lines = [command(read_config(run)) for run in runs]
    for number, run in enumerate(runs[:-1]):
        here, shown = read_config(runs[number + 1]).weights, f"runs/{run.name}"
        lines[number] += f" --workdir={shown}"
        lines[number + 1] = lines[number + 1].replace(f"--weights={here}", f"--weights={shown}")
    return "\n".join(lines)


def command(config: TrainConfig) -> str:
    """Returns the command that trains such a network: what differs from the recipe's values."""
    said = [f"--dataset={config.dataset}", f"--method={config.method}", f"--model={config.model}"]
    recipe, _ = cli.parse(["train.py", *said], cli.new_values())
    usual = set(recipe.to_flags().splitlines())
    flags = [f for f in config.to_flags().splitlines() if f not in usual and f not in said]
    return " ".join(["python train.py", *said, *(f for f in flags if not f.startswith(PLACES))])


def ship(run: Path, name: str, robust_examples: int, folder: Path, attacks: str) -> Pretrained:
    """Writes the weights of a run's best checkpoint and their card.

    Args:
        run: The folder of a finished run.
        name: Of the network.
        robust_examples: How many test images are attacked.
        folder: Where the files go.
        attacks: What the robust accuracy is measured by, for instance ``autoattack``.

    Returns:
        The card.
    """
    config, runs = read_config(run), history(run)
    summaries = [read_summary(each) for each in runs]
    robust = rlfat_tf.load(run)
    network = robust.model
    with replacing(folder / f"{name}.keras") as path:
        network.save(path)
        if path.stat().st_size > LIMIT:
            raise SystemExit(f"{path.stat().st_size} bytes are more than the {LIMIT} of a network.")
    data_set = rlfat_tf.data.load(config.dataset, data_dir=config.data_dir, test_only=True)
    settings = {"epsilon": config.epsilon, "norm": config.attack_norm, "batch_size": 200}
    images, labels = data_set.test.images, data_set.test.labels
    clean = rlfat_tf.evaluation.evaluate(
        network, (images, labels), attacks="clean", checked=False, **settings
    )
    attacked = rlfat_tf.evaluation.evaluate(
        network,
        (images[:robust_examples], labels[:robust_examples]),
        attacks=attacks,
        report_dir=run / "shipping",
        **settings,
    )
    card = Pretrained(
        name=name,
        dataset=config.dataset,
        class_names=tuple(data_set.class_names),
        image_shape=tuple(data_set.image_shape),
        network=config.model,
        normalize=config.normalize,
        parameters=network.count_params(),
        method=config.method,
        norm=config.attack_norm,
        epsilon=config.epsilon,
        accuracy=round(clean["clean_accuracy"], 6),
        robust_accuracy=round(attacked["worst_case_accuracy"], 6),
        examples=clean["examples"],
        robust_examples=attacked["examples"],
        attack=attacks,
        command=commands(runs),
        hours=round(sum(summary["seconds"] for summary in summaries) / 3600, 2),
        machine=f"{platform.machine()}, {len(tf.config.list_physical_devices('GPU'))} GPUs",
        versions=summaries[-1]["versions"],
        licence="Apache-2.0, as the library",
        sha256=hashlib.sha256((folder / f"{name}.keras").read_bytes()).hexdigest(),
    )
    write_text(folder / f"{name}.json", json.dumps(dataclasses.asdict(card), indent=1) + "\n")
    return card


def main(argv: Sequence[str]) -> None:
    """Reads the command line, ships, and prints what the network reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("name", help="of the network: <data set>-<norm>-<network>")
    parser.add_argument("--robust_examples", type=int, default=1000)
    parser.add_argument("--attacks", default="autoattack")
    args = parser.parse_args(argv)
    card = ship(args.run, args.name, args.robust_examples, FOLDER, args.attacks)
    print(
        f"{card.name}: {card.accuracy:.2%} of {card.examples} test images classified correctly, "
        f"{card.robust_accuracy:.2%} of {card.robust_examples} under {card.attack}."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
