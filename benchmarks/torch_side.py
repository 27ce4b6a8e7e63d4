"""The side of a comparison that runs in PyTorch, in a process of its own without TensorFlow.

With both in one process ``torch.compile`` ends in a segmentation fault where PyTorch brings Triton,
and their threads get into each other's way. Networks and arrays go by file; a line on the standard
input runs the side once, and a line back says that it has finished. So pairs are still measured in
turn, and a run costs a fraction of a millisecond more than its own time.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.network_file import Network

NETWORK, ARRAYS, FOUND = "network.npz", "arrays.npz", "found.npy"
NEW_ARRAYS = "arrays"  # the line that says so


class TorchSide:
    """Starts the process, and is called to run it once.

    Args:
        job: A name of :data:`benchmarks.torch_worker.JOBS`.
        network: The network.
        arrays: What it works on, by name.
        settings: The other arguments of the job, as JSON.

    Attributes:
        answer: What the job said when it was ready.

    Raises:
        ImportError: If PyTorch, or what else the job needs, is not installed.
        RuntimeError: If the process ends.
    """

    def __init__(
        self, job: str, network: Network, arrays: dict[str, np.ndarray], **settings: Any
    ) -> None:
        for package in ("torch", *(["torchattacks"] if job == "attack" else [])):
            if importlib.util.find_spec(package) is None:
                raise ImportError(package)
        self._scratch = tempfile.TemporaryDirectory()
        self._folder = Path(self._scratch.name)
        network.save(self._folder / NETWORK)
        self._give(arrays)
        command = [sys.executable, "-m", "benchmarks.torch_worker", job, str(self._folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer: dict[str, Any] = self._ask(json.dumps(settings))

    def __call__(self, **arrays: np.ndarray) -> Any:
        """Runs once, on the arrays of the last time or on others; returns what it found, if any."""
        if arrays:
            self._give(arrays)
        self._ask(NEW_ARRAYS if arrays else "")
        found = self._folder / FOUND
        return np.load(found, allow_pickle=False) if found.exists() else None

    def _give(self, arrays: dict[str, np.ndarray]) -> None:
        names: dict[str, Any] = arrays
        np.savez(self._folder / ARRAYS, **names)

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._scratch.cleanup()

    def __enter__(self) -> TorchSide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, line: str) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("The process of PyTorch has no standard input and output.")
        stdin.write(line + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(
                f"The process of PyTorch ended with status {self._process.wait()}; its own "
                "message stands above."
            )
        return dict(json.loads(answer))
