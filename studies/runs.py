"""What a study is made of, as data: the runs that it trains and the looks that it takes at them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlfat_tf.run.builders import warn_of_ignored_flags
from rlfat_tf.run.config import TrainConfig

Recipe = tuple[str, str]  # the study to which it belongs, and its name
Pair = tuple[Recipe, Recipe]  # the first minus the second

WINDOW = 8  # of runs with a budget: the average of the weights covers an 8th of their steps


class NotPossible(ValueError):
    """This version of the library cannot make that run."""


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where things are.

    Attributes:
        results: The JSON files of finished runs, a folder for each study.
        runs: The folders of the runs themselves, a folder for each study.
        data_dir: Of prepared TFDS data sets; None for TFDS's own.
    """

    results: Path = Path("results/studies")
    runs: Path = Path("runs/studies")
    data_dir: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One training and its evaluation.

    Attributes:
        study: The study to which it belongs; others may show it too.
        recipe: What is trained, the same for all seeds.
        seed: Of the training.
        flags: Of ``train.py``, beside the seed.
        minutes: About how long it takes on two slow cores, with its evaluation.
        examples: How many test images are evaluated, clean and by PGD-20 and CW.
        autoattack: How many of them by AutoAttack.
        checkpoints: Which of its checkpoints are evaluated.
        budget: Minutes of training; its steps follow from the measured time of a step.
    """

    study: str
    recipe: str
    seed: int
    flags: Mapping[str, Any]
    minutes: int
    examples: int = 2000
    autoattack: int = 100
    checkpoints: tuple[str, ...] = ("best", "last")
    budget: int | None = None

    @property
    def name(self) -> str:
        """Its name within the study."""
        return f"{self.recipe}-seed{self.seed}"

    @property
    def of(self) -> Recipe:
        """What it shares with other seeds."""
        return self.study, self.recipe

    @property
    def key(self) -> str:
        """Its name among all runs: ``a1/pgdat-seed0``."""
        return f"{self.study}/{self.name}"

    def result(self, folders: Folders) -> Path:
        """Returns the file of its result."""
        return folders.results / f"{self.key}.json"

    def workdir(self, folders: Folders) -> Path:
        """Returns the folder in which it is trained and evaluated."""
        return folders.runs / self.key

    def config(self, folders: Folders, steps: int | None = None) -> TrainConfig:
        """Returns its configuration.

        Args:
            folders: Where things are.
            steps: Of a run with a budget, how many it has.

        Raises:
            NotPossible: If the library lacks a flag or a value, or would ignore one.
        """
        flags = {**self.flags, "seed": self.seed, "data_dir": folders.data_dir}
        flags["workdir"] = str(self.workdir(folders))
        if self.budget is not None:
            steps = steps or 1000
            flags.update(epochs=None, train_steps=steps)
            if "ema" in flags:
                flags["ema"] = round(1 - WINDOW / max(steps, 2 * WINDOW), 5)
        known = {field.name for field in dataclasses.fields(TrainConfig)}
        missing = [f"--{name}" for name in flags if name not in known]
        if missing:
            raise NotPossible(f"{self.key} needs {', '.join(missing)}, which is not there yet.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                config = TrainConfig(**flags)
                warn_of_ignored_flags(config)
        except (ValueError, UserWarning) as error:
            raise NotPossible(f"{self.key}: {error}") from error
        return config


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """A measurement of networks that runs have left, without training.

    Attributes:
        study: The study to which it belongs.
        kind: What is measured, a name of :data:`studies.looks.KINDS`.
        run: Whose best checkpoint is looked at.
        minutes: About how long it takes on two slow cores.
    """

    study: str
    kind: str
    run: Run
    minutes: int

    @property
    def name(self) -> str:
        """Its name within the study."""
        return f"{self.kind}-{self.run.study}-{self.run.name}"

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.run.seed

    @property
    def key(self) -> str:
        """Its name among all runs and looks."""
        return f"{self.study}/{self.name}"

    def result(self, folders: Folders) -> Path:
        """Returns the file of its result."""
        return folders.results / f"{self.key}.json"


@dataclasses.dataclass(frozen=True)
class Study:
    """A question and what is run to answer it.

    Attributes:
        title: The question in a few words.
        runs: In their order; those of other studies are shared with them.
        looks: In their order, after the runs.
        compared: Pairs of recipes whose difference is of interest, first minus second.
        drawn: Recipes whose robust accuracy is drawn by epoch; the picture stands for the study in
            the README.
        lost: Recipes whose loss from the best checkpoint to the last is in the table.
        changes: Pairs of pairs: how the difference of the first pair differs from that of the
            second.
    """

    title: str
    runs: tuple[Run, ...]
    looks: tuple[Look, ...] = ()
    compared: tuple[Pair, ...] = ()
    drawn: tuple[Recipe, ...] = ()
    lost: tuple[Recipe, ...] = ()
    changes: tuple[tuple[Pair, Pair], ...] = ()
