"""The summary of a finished run: what it reached, by what, and where everything lies."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import tensorflow as tf

from rlfat_tf.core.norms import NORMS
from rlfat_tf.core.versions import versions
from rlfat_tf.evaluation.suite import step_size
from rlfat_tf.methods import AdversarialModel
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.workdir import as_list


def summarise(
    config: TrainConfig, robust: AdversarialModel, progress: dict[str, Any]
) -> dict[str, Any]:
    """Puts together what ``summary.json`` says of the training; the test comes later."""
    best = progress["best_epoch"]
    scores = dict.fromkeys(robust.selected_by)
    if best is not None:
        scores.update(zip(robust.selected_by, as_list(progress["best"])))
    return {
        "dataset": config.dataset,
        "method": config.method,
        "model": config.model,
        "test_accuracy": None,
        "test_adv_accuracy": None,
        "test_attack": (
            f"PGD-20, {NORMS[config.attack_norm].title}, epsilon {config.epsilon:g}, "
            f"step {step_size(config.attack_norm, config.epsilon, 20):g}"
        ),
        "test_examples": 0,
        "checkpoint": "last (no epoch was validated)"
        if best is None
        else f"best, epoch {best + 1}",
        "selected_by": None if best is None else robust.selected_by[0],
        **scores,
        "steps": progress["step"],
        "overfitted": progress["overfitted"],
        "seconds": round(progress["seconds"], 3),
        "images_per_second": round(progress["trained"] / max(progress["seconds"], 1e-9), 3),
        "seed": config.seed,
        "workdir": str(config.run_dir),
        "versions": versions(),
        "machine": f"{platform.machine()}, {len(tf.config.list_physical_devices('GPU'))} GPUs",
    }


def show(config: TrainConfig, summary: dict[str, Any], served: Path | None) -> None:
    """Prints the summary for a person; ``served`` is the SavedModel of it, if there is one."""
    workdir = Path(config.run_dir)
    print(
        f"\n{summary['method']} on {summary['dataset']} ({summary['model']}), "
        f"{summary['steps']} steps, {summary['images_per_second']:.0f} images/s\n"
        f"  checkpoint       {summary['checkpoint']}\n"
        f"  clean accuracy   {summary['test_accuracy']:.2%} "
        f"of {summary['test_examples']} test images\n"
        f"  PGD-20 accuracy  {summary['test_adv_accuracy']:.2%} ({summary['test_attack']})\n"
        + "".join(f"  guard            {text}\n" for text in summary.get("overfitted", ()))
        + f"  folder           {workdir}"
        + (f"\n  SavedModel       {served}" if served else ""),
        flush=True,
    )
