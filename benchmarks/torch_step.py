"""The steps of PGDAT, RLFAT_P and RLFAT_T in PyTorch, as a user would write them for a CPU.

Memory format channels_last, no gradient of a weight while attacking, batch normalisation in
inference mode while attacking: the same work as ours, step for step.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable

import numpy as np
import torch
from torch.nn import functional

from benchmarks.network_file import Network
from benchmarks.torch_nets import trainable_copy_of

METHODS = ("pgdat", "rlfat_p", "rlfat_t")
TRADES_LAMBDA = 6.0
ETA = {"rlfat_p": 0.5, "rlfat_t": 1.0}


class TorchStep:
    """Trains the copy of a Keras network.

    Args:
        network: The Keras network.
        method: One of ``METHODS``.
        epsilon: Radius, maximum norm.
        steps: Of the attack.
        step_size: Of the attack.
        bfloat16: Whether to compute under autocast.
        compiled: Whether to hand the network to ``torch.compile``.
    """

    def __init__(
        self,
        network: Network,
        *,
        method: str,
        epsilon: float,
        steps: int,
        step_size: float,
        bfloat16: bool = False,
        compiled: bool = False,
    ):
        self.net = trainable_copy_of(network).to(memory_format=torch.channels_last)
        self.forward: Callable[[Any], Any] = torch.compile(self.net) if compiled else self.net
        self.method, self.epsilon, self.steps = method, epsilon, steps
        self.step_size, self.bfloat16 = step_size, bfloat16
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-3)
        self.generator = torch.Generator().manual_seed(0)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """The network's logits, float32."""
        cast = torch.autocast("cpu", torch.bfloat16) if self.bfloat16 else contextlib.nullcontext()
        with cast:
            return self.forward(images).float()

    def attack(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """PGD on the cross-entropy from a uniform start, or on the KL divergence."""
        self.net.eval()
        self.net.requires_grad_(False)
        start = torch.rand(images.shape, generator=self.generator) * 2 - 1
        if self.method == "rlfat_t":
            start = 0.001 * torch.randn(images.shape, generator=self.generator) / self.epsilon
            with torch.no_grad():
                clean = functional.softmax(self.logits(images), -1)
        points = (images + self.epsilon * start).contiguous(memory_format=torch.channels_last)
        for _ in range(self.steps):
            points.requires_grad_(True)
            logits = self.logits(points)
            if self.method == "rlfat_t":
                log = functional.log_softmax(logits, -1)
                loss = functional.kl_div(log, clean, reduction="sum")
            else:
                loss = functional.cross_entropy(logits, labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, points)
            moved = points.detach() + self.step_size * gradient.sign()
            delta = (moved - images).clamp(-self.epsilon, self.epsilon)
            points = (images + delta).clamp(0, 1)
        self.net.requires_grad_(True)
        self.net.train()
        return points

    def blocks(self, size: int) -> torch.Tensor:
        """An axis cut in two at random, its parts exchanged at random."""
        cut, swap = torch.randint(size, (2,), generator=self.generator).tolist()
        return torch.roll(torch.arange(size), cut if swap % 2 else 0)

    def loss(
        self, images: Any, points: Any, labels: Any, rows: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        """The method's objective on given adversarial images and orders of rows and columns."""
        if self.method == "pgdat":
            return functional.cross_entropy(self.logits(points), labels)
        shuffled = points[:, :, rows][:, :, :, columns]
        if self.method == "rlfat_p":
            shuffled_logits, logits = self.logits(shuffled), self.logits(points)
            loss = functional.cross_entropy(shuffled_logits, labels)
        else:
            clean, shuffled_logits = self.logits(images), self.logits(shuffled)
            logits = self.logits(points)
            log = functional.log_softmax(shuffled_logits, -1)
            kl = functional.kl_div(log, functional.softmax(clean, -1), reduction="batchmean")
            loss = functional.cross_entropy(clean, labels) + TRADES_LAMBDA * kl
        alignment = (shuffled_logits - logits).square().sum(-1).mean()
        return loss + ETA[self.method] * alignment

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """One optimisation step."""
        points = self.attack(images, labels)
        rows, columns = (self.blocks(size) for size in images.shape[2:])
        self.optimizer.zero_grad()
        self.loss(images, points, labels, rows, columns).backward()
        self.optimizer.step()


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Moves NHWC images and labels to PyTorch, channels_last."""
    moved = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    return (
        moved.contiguous(memory_format=torch.channels_last),
        torch.from_numpy(labels.astype(np.int64)),
    )
