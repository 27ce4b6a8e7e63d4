"""Flags of ``eval.py`` that go together or not: what is refused, and what is warned of."""

from __future__ import annotations

import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlfat_tf.core.errors import warn
from rlfat_tf.evaluation import suite

# Of each flag that is a setting of the attacks, the name that the setting has.
SETTINGS = {
    "steps": "steps",
    "step_size": "step_size",
    "restarts": "restarts",
    "loss": "loss",
    "budget": "budget",
    "autoattack": "version",
    "autoattack_parts": "custom",
    "source_model": "source",
}
# Settings that all attacks have to do with: each is run with them, refuses them or warns itself.
OF_ALL = ("eot", "pixels")
# Flags that belong to another flag: the value of that one for which they do nothing, and why.
BELONGING: tuple[tuple[str, Any, tuple[str, ...], str], ...] = (
    ("pictures", False, ("compare", "brightness", "gamma"), "for --pictures"),
    ("inference", None, ("inference_backward",), "for --inference"),
    ("test_subset", "first", ("subset_seed",), "for --test_subset=stratified"),
)


class _Noting(suite.Settings):
    """Settings that note which of them are read, once they are complete."""

    def __getattribute__(self, name: str) -> Any:
        values = object.__getattribute__(self, "__dict__")
        values.get("noted", set()).add(name)
        return object.__getattribute__(self, name)


def read_by(attack: str, settings: dict[str, Any]) -> set[str]:
    """Returns the names of the settings of which an attack is made.

    It is made of settings that note it, so that no table of them can be wrong.

    Args:
        attack: Its name in ``--attacks``; it exists in the norm.
        settings: Of :class:`rlfat_tf.evaluation.suite.Settings`.
    """
    noting = _Noting(**settings)
    noted: set[str] = set()
    vars(noting)["noted"] = noted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the plan has warned already
        suite.EVALUATION_ATTACKS[attack].make(noting)
    return noted


def check_attacks(attacks: str, targeted: str | None) -> None:
    """Refuses an evaluation by nothing, and a target that no attack would have.

    Raises:
        ValueError: If no attack is named, or not even ``clean``, or a name is wrong.
    """
    if not attacks.strip(" ,"):
        raise ValueError(
            "Expected --attacks to name at least one of clean, "
            f"{', '.join(suite.EVALUATION_ATTACKS)}; received {attacks!r}."
        )
    if not suite.parse(attacks) and targeted is not None:
        able = [name for name, entry in suite.EVALUATION_ATTACKS.items() if entry.aims]
        raise ValueError(
            f"--targeted={targeted} needs an attack that it aims, in --attacks: {', '.join(able)}. "
            f"Received --attacks={attacks}."
        )


def check_checkpoint(checkpoint: str, model_path: str | None) -> None:
    """Refuses to choose a checkpoint of a model that is no run, which has one only.

    Raises:
        ValueError: If that is asked.
    """
    if checkpoint == "best" or model_path is None:
        return
    if not (Path(model_path) / "checkpoints").is_dir():
        raise ValueError(
            f"--checkpoint={checkpoint} needs the folder of a run, which has several; "
            f"{model_path} is one model. Leave --checkpoint out, or give --workdir."
        )


def warn_of_ignored_flags(config: Any, norm: str, radius: float) -> None:
    """Warns of flags that are not at their default, though nothing in the evaluation reads them.

    Args:
        config: The :class:`rlfat_tf.run.eval_config.EvalConfig`, of which the plan has been made.
        norm: Of the evaluation.
        radius: One of its radii.
    """
    chosen = suite.parse(config.attacks)
    why = _settings_unread(config, chosen, norm, radius)
    if not chosen:
        why.update(dict.fromkeys((*OF_ALL, "cascade"), "for attacks"))
    for other, off, flags, text in BELONGING:
        if getattr(config, other) == off:
            why.update(dict.fromkeys(flags, text))
    default = type(config)
    given = [
        f"--{flag} ({text})"
        for flag, text in why.items()
        if getattr(config, flag) != getattr(default, flag)
    ]
    if given:
        warn(
            f"This evaluation makes no use of {', '.join(given)}. Leave out what is of no use, or "
            "give what it is for."
        )


def _settings_unread(
    config: Any, chosen: Sequence[str], norm: str, radius: float
) -> dict[str, str]:
    """Returns the flags of settings that no chosen attack reads, and which attacks would."""
    source = types.SimpleNamespace(logits_fn=None, name="source")  # is not run here
    settings = {**config.settings(source), "norm": norm, "epsilon": radius}
    read = {
        name: read_by(name, settings)
        for name, entry in suite.EVALUATION_ATTACKS.items()
        if norm in entry.norms
    }
    unread = {}
    for flag, setting in SETTINGS.items():
        readers = [name for name, noted in read.items() if setting in noted]
        if not set(readers) & set(chosen):
            unread[flag] = f"for {', '.join(readers)}"
    return unread
