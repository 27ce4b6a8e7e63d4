"""What ``eval.py`` says of the model that it judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlfat_tf.evaluation.classifier import Classifier
from rlfat_tf.evaluation.judged import digest_of, network_facts
from rlfat_tf.models import zoo
from rlfat_tf.run.eval_config import EvalConfig
from rlfat_tf.run.workdir import read_config, read_summary
from rlfat_tf.storage import checkpoint
from rlfat_tf.storage.reading import read_json
from rlfat_tf.storage.saved_model import MODEL_CARD

OF_CARD = {"network": "model", "method": "method", "training_attack": "training_attack",
           "training_data": "dataset"}  # fmt: skip


def judged_facts(config: EvalConfig, classifier: Classifier) -> dict[str, Any]:
    """Returns the network, its method of training and its file, as far as they are known.

    Args:
        config: The evaluation, completed.
        classifier: What is evaluated.

    Returns:
        ``network``, ``parameters``, ``method``, ``training_attack``, ``training_data``, ``epochs``
        (or ``steps``) and ``checkpoint``, those of them that are known; ``file`` (its name without
        folders) and ``sha256``.

    Raises:
        ValueError: If what the run says of itself is damaged.
    """
    facts, path = network_facts(classifier), Path(config.path)
    if config.path.startswith(zoo.PREFIX):
        shipped = zoo.card_of(config.path)
        path = shipped.path
        facts |= {
            "network": shipped.network,
            "method": shipped.method,
            "training_data": shipped.dataset,
        }
    if config.workdir is not None:
        run, summary = read_config(config.workdir), read_summary(Path(config.workdir))
        path = checkpoint.model_path(config.workdir, config.checkpoint)
        facts |= {
            "network": run.model,
            "method": run.method,
            "training_data": run.dataset,
            "epochs" if run.epochs else "steps": run.epochs or run.train_steps,
            "checkpoint": config.checkpoint,
        }
        if config.checkpoint == "best" and "checkpoint" in summary:
            facts["checkpoint"] = summary["checkpoint"]
    card = path / "assets.extra" / MODEL_CARD
    if card.is_file():
        told = read_json(card)
        facts |= {name: told[key] for name, key in OF_CARD.items() if key in told}
    return {**facts, "file": path.resolve().name, "sha256": digest_of(path)}
