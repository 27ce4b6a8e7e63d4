"""Whether a data set is held in memory or read again whenever it is needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from rlfat_tf.core.errors import unknown

MEMORY = ("auto", "always", "never")
MAX_BYTES = 16 * 2**30
SHARE = 4  # one part of so many: there are up to three copies while a run begins, and the network
ROOT = Path("/")
# Of control groups of version 2, which names no controller, and 1: where they are, and the names of
# the greatest size, of the size, and of what in it is copies of files, which can be given up.
GROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}


def check_memory(memory: str) -> None:
    """Raises ValueError if this is none of ``MEMORY``."""
    if memory not in MEMORY:
        raise unknown("value of memory:", memory, MEMORY)


def holds(memory: str, count: int, image_shape: tuple[int, ...]) -> bool:
    """Tells whether images are to be held in memory.

    Args:
        memory: ``"always"``, ``"never"`` or ``"auto"``: if they take at most 16 GiB and a
            quarter of what is free now.
        count: How many there are, in all parts.
        image_shape: Of one, uint8.

    Raises:
        ValueError: If they always are to be, and there is not so much memory.
    """
    check_memory(memory)
    if memory == "always":
        check_budget(count, image_shape)
    size = count * int(np.prod(image_shape))
    return memory != "never" and (
        memory == "always" or size <= min(MAX_BYTES, available() // SHARE)
    )


def available() -> int:
    """Returns how many bytes of memory are free for this process, as far as the system tells."""
    found = []
    try:
        lines = (ROOT / "proc/meminfo").read_text(encoding="ascii").splitlines()
        found = [1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line]
    except OSError:  # not on Linux
        pass
    if not found and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        found = [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return max(0, min((found or [2 * MAX_BYTES]) + _left_by_groups()))


def _left_by_groups() -> list[int]:
    """Returns what each control group of this process with a limit, as of a container, leaves."""
    try:
        lines = (ROOT / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in GROUPS.keys() & set(controllers.split(",")):
            folder, *names = GROUPS[controller]
            group = ROOT / folder / path.lstrip("/")
            # With those above; a container may see its own as the top, wherever its path leads.
            for each in {ROOT / folder, group, *group.parents}:
                left += _left_by(each, *names)
    return left


def _left_by(group: Path, limit: str, used: str, files: str) -> list[int]:
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        given_up = sum(int(line.split()[1]) for line in lines if line.split()[0] == files)
        return [int((group / limit).read_text()) - int((group / used).read_text()) + given_up]
    except (OSError, ValueError, IndexError):  # no such group, or no limit ("max")
        return []


def check_budget(count: int, shape: tuple[int, ...]) -> None:
    """Raises ValueError if uint8 images take more than 16 GiB, and more than what is free."""
    size = count * int(np.prod(shape))
    budget = max(MAX_BYTES, available())
    if size > budget:
        raise ValueError(
            f"{count} images of shape {shape} take {size / 2**30:.1f} GiB of memory, more than "
            f"the {budget / 2**30:.0f} GiB that there are for them. Leave them on disk "
            "(--memory=never), or read fewer examples (--train_examples, --test_examples) or "
            "smaller images (--image_size)."
        )
