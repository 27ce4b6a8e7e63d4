"""What ``eval.py`` does: the accuracy of a trained model on clean images and under attack."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rlfat_tf import checkpoint, data
from rlfat_tf.attacks import FGSM, LinfPGD
from rlfat_tf.attacks.pgd import check_epsilon
from rlfat_tf.config import TrainConfig, option
from rlfat_tf.errors import unknown
from rlfat_tf.evaluation.accuracy import clean_and_adversarial_accuracy
from rlfat_tf.versions import versions

ATTACKS = ("clean", "fgsm", "pgd")
FROM_RUN = ("dataset", "data_dir", "image_size", "epsilon", "seed")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The configuration of an evaluation; every field is a flag of ``eval.py``.

    What is not given is that of the run in ``workdir``.
    """

    workdir: str | None = option(None, "Folder of the run to evaluate.")
    model_path: str | None = option(None, "A .keras file to evaluate instead of a run.")
    checkpoint: str = option("best", "Of a run: best or last.", choices=checkpoint.CHECKPOINTS)
    dataset: str | None = option(None, "Data set; default: the run's.")
    data_dir: str | None = option(None, "Folder of prepared TFDS data sets.")
    download: bool = option(True, "Whether a missing data set may be downloaded.")
    image_size: int | None = option(None, "Resize images to this many pixels a side.")
    test_examples: int | None = option(None, "Use the first N test examples only.")
    batch_size: int = option(128, "Batch size.")
    attacks: str = option("clean,pgd", f"Attacks, joined by commas: {', '.join(ATTACKS)}.")
    epsilon: float | None = option(None, "Radius of the L-inf ball: 0.03 or 8/255.")
    steps: int = option(20, "Steps of pgd; its step size is epsilon / 10.")
    seed: int | None = option(None, "Seed of the attacks.")

    def __post_init__(self) -> None:
        if (self.workdir is None) == (self.model_path is None):
            raise ValueError(
                "Expected one of --workdir (the folder of a run) and --model_path (a .keras file)."
            )
        for name in self.attacks.split(","):
            if name not in ATTACKS:
                raise unknown("attack", name, ATTACKS)
        if self.epsilon is not None:
            check_epsilon(self.epsilon, "linf")
        if self.model_path is not None and (self.dataset is None or self.epsilon is None):
            raise ValueError("--model_path also needs --dataset and --epsilon.")


def run(config: EvalConfig) -> dict[str, Any]:
    """Evaluates a model and returns accuracies in [0, 1] with what they were measured by.

    Args:
        config: The evaluation.

    Raises:
        FileNotFoundError: If there is no such run or model.
        ValueError: If something does not fit together.
    """
    settings = dataclasses.asdict(config)
    if config.workdir is not None:
        checkpoint.model_path(config.workdir, config.checkpoint)  # complains before anything else
        path = Path(config.workdir) / "config.json"
        trained = TrainConfig.from_json(path.read_text(encoding="utf-8"))
        for name in FROM_RUN:
            if settings[name] is None:
                settings[name] = getattr(trained, name)
    model = checkpoint.load(str(config.workdir or config.model_path), config.checkpoint)
    classifier = getattr(model, "model", model)
    test = data.load(
        settings["dataset"],
        data_dir=settings["data_dir"],
        download=config.download,
        test_examples=config.test_examples,
        image_size=settings["image_size"],
    ).test
    epsilon, seed = settings["epsilon"], settings["seed"] or 0
    attacks = {
        "fgsm": FGSM(epsilon=epsilon),
        "pgd": LinfPGD(epsilon=epsilon, steps=config.steps, step_size=epsilon / 10 or None),
    }
    report: dict[str, Any] = {
        "model": config.workdir or config.model_path,
        "dataset": settings["dataset"],
        "test_examples": len(test.labels),
        "seed": seed,
        "versions": versions(),
        "attacks": {},
    }
    for name in config.attacks.split(","):
        attack = attacks.get(name)
        batches = data.evaluation_batches(test, batch_size=config.batch_size)
        clean, robust = clean_and_adversarial_accuracy(classifier, batches, attack, seed=seed)
        report["clean_accuracy"] = clean
        if attack is not None:
            report["attacks"][name] = {"robust_accuracy": robust, "attack": repr(attack)}
    return report
