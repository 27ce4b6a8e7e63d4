"""What :class:`benchmarks.torch_side.TorchSide` starts: one job in PyTorch, run line by line.

python -m benchmarks.torch_worker step FOLDER
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch

from benchmarks.network_file import Network
from benchmarks.torch_nets import copy_of
from benchmarks.torch_side import ARRAYS, FOUND, NETWORK, NEW_ARRAYS
from benchmarks.torch_step import TorchStep, tensors

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], "np.ndarray | None"]


def step(
    network: Network, arrays: Arrays, *, repeat: int, **settings: Any
) -> tuple[dict[str, Any], Run]:
    """Training steps; says the loss on given x' and orders of rows and columns before any step."""
    images, labels = tensors(arrays["images"], arrays["labels"])
    points, _ = tensors(arrays["points"], arrays["labels"])
    order = torch.from_numpy(arrays["rows"]), torch.from_numpy(arrays["columns"])
    check = TorchStep(network, **{**settings, "compiled": False})
    loss = check.loss(images, points, labels, *order).item()
    trained = TorchStep(network, **settings)

    def run(arrays: Arrays) -> None:
        for _ in range(repeat):
            trained(images, labels)

    return {"loss": loss}, run


def attack(
    network: Network, arrays: Arrays, *, kind: str, arguments: dict[str, Any], parts: list[Any]
) -> tuple[dict[str, Any], Run]:
    """An attack of torchattacks."""
    import torchattacks

    net = copy_of(network)
    theirs = getattr(torchattacks, kind)(net, **arguments)
    if parts:
        # Its own parts have 10 steps, and Square a shortened schedule: not standard AutoAttack's.
        made = [getattr(torchattacks, name)(net, **of_part) for name, of_part in parts]
        theirs._autoattack = torchattacks.MultiAttack(made)

    def run(arrays: Arrays) -> np.ndarray:
        found = theirs(_nchw(arrays["images"]), torch.from_numpy(arrays["labels"].astype(np.int64)))
        return found.detach().numpy().transpose(0, 2, 3, 1)

    return {}, run


def logits(network: Network, arrays: Arrays) -> tuple[dict[str, Any], Run]:
    """The logits of the copy."""
    net = copy_of(network)
    return {}, lambda given: net(_nchw(given["images"])).numpy()


def _nchw(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


JOBS: dict[str, Callable[..., tuple[dict[str, Any], Run]]] = {
    "step": step,
    "attack": attack,
    "logits": logits,
}


def read_arrays(folder: Path) -> Arrays:
    """Reads what the job works on."""
    with np.load(folder / ARRAYS, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def main(job: str, folder: Path) -> None:
    """Prepares the job by the first line, and runs it once a further line."""
    answers, lines = sys.stdout, iter(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):  # libraries print
        network = Network.load(folder / NETWORK)
        arrays = read_arrays(folder)
        ready, run = JOBS[job](network, arrays, **json.loads(next(lines)))
        print(json.dumps(ready), file=answers, flush=True)
        for line in lines:
            if line.strip() == NEW_ARRAYS:
                arrays = read_arrays(folder)
            found = run(arrays)
            if found is not None:
                np.save(folder / FOUND, found)
            print("{}", file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
