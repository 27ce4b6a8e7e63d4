"""Makes one run: trains, evaluates, writes the result; whatever was begun goes on."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.measure import machine
from rlfat_tf.core.versions import versions
from rlfat_tf.run import train
from studies import evaluating, looks, rates, results
from studies.runs import Folders, Look, Run


def execute(run: Run, folders: Folders) -> dict[str, Any]:
    """Makes a run, or goes on with it, and writes its result.

    Args:
        run: The run.
        folders: Where things are.

    Returns:
        What its JSON file holds: the command, the settings, what computed it and when it was busy,
        ``seconds`` of training and of evaluation, ``epochs`` (the columns of ``metrics.csv``) and
        ``evaluation`` (:func:`studies.evaluating.evaluate_run`).

    Raises:
        NotPossible: If this version of the library cannot make it.
        signals.Interrupted: If a signal stopped it, after a backup.
    """
    steps = None if run.budget is None else rates.steps(run, folders)
    config = run.config(folders, steps)
    workdir = run.workdir(folders)
    commits = results.note_commit(workdir)
    summary = train.run(config)
    evaluation = evaluating.evaluate_run(run, workdir, config.epsilon, folders)
    settings = json.loads(config.to_json())
    evaluated = [part for checkpoint in evaluation.values() for part in checkpoint.values()]
    result = {
        "study": run.study,
        "run": run.name,
        "command": results.command(run),
        "config": {k: v for k, v in settings.items() if k not in ("workdir", "data_dir")},
        "commits": commits,
        "versions": versions(),
        "machine": machine(),
        "load": results.load(),
        "checkpoint": summary["checkpoint"],
        "steps": summary["steps"],
        "images_per_second": summary["images_per_second"],
        "seconds": {
            "training": round(summary["seconds"], 1),
            "evaluation": round(sum(part.get("seconds", 0.0) for part in evaluated), 1),
        },
        "epochs": results.epochs(workdir / "metrics.csv"),
        "evaluation": evaluation,
    }
    results.write(run.result(folders), result)
    return result


def is_finished(run: Run | Look, folders: Folders) -> bool:
    """Tells whether a run or a look has its result.

    Raises:
        NotPossible: If the result is of a run with other settings.
    """
    return results.read(run, folders) is not None


def check(each: Run | Look, folders: Folders) -> None:
    """Refuses a run or a look that cannot be made.

    Raises:
        NotPossible: If it cannot.
    """
    if isinstance(each, Look):
        looks.check(each, folders)
    else:
        each.config(folders)
