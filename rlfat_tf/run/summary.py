"""The summary of a finished run: what it reached, by what, and where everything lies."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import tensorflow as tf

from rlfat_tf.core.versions import versions
from rlfat_tf.run.config import TrainConfig


def summarise(
    config: TrainConfig, progress: dict[str, Any], accuracy: tuple[float, float], data_set: Any
) -> dict[str, Any]:
    """Puts together what ``summary.json`` says."""
    workdir = Path(config.run_dir)
    clean, adversarial = accuracy
    best = progress["best_epoch"]
    return {
        "dataset": config.dataset,
        "method": config.method,
        "model": config.model,
        "test_accuracy": clean,
        "test_adv_accuracy": adversarial,
        "test_attack": f"PGD-20, L-inf, epsilon {config.epsilon:g}, step {config.epsilon / 10:g}",
        "test_examples": len(data_set.test.labels),
        "checkpoint": "last (no validation split)" if best is None else f"best, epoch {best + 1}",
        "val_adv_accuracy": progress["best"],
        "steps": progress["step"],
        "seconds": round(progress["seconds"], 3),
        "images_per_second": round(progress["trained"] / max(progress["seconds"], 1e-9), 3),
        "seed": config.seed,
        "workdir": str(workdir),
        "versions": versions(),
        "machine": f"{platform.machine()}, {len(tf.config.list_physical_devices('GPU'))} GPUs",
    }


def show(config: TrainConfig, summary: dict[str, Any]) -> None:
    """Prints the summary for a person."""
    workdir = Path(config.run_dir)
    served = workdir / "export"
    print(
        f"\n{summary['method']} on {summary['dataset']} ({summary['model']}), "
        f"{summary['steps']} steps, {summary['images_per_second']:.0f} images/s\n"
        f"  checkpoint       {summary['checkpoint']}\n"
        f"  clean accuracy   {summary['test_accuracy']:.2%} "
        f"of {summary['test_examples']} test images\n"
        f"  PGD-20 accuracy  {summary['test_adv_accuracy']:.2%} ({summary['test_attack']})\n"
        f"  everything in    {workdir}"
        + (f"\n  SavedModel in    {served}" if served.is_dir() else ""),
        flush=True,
    )
