"""Whether a data set is held in memory or read again whenever it is needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from rlfat_tf.core.errors import unknown

MEMORY = ("auto", "always", "never")
MAX_BYTES = 16 * 2**30
SHARE = 4  # one part of so many: there are up to three copies while a run begins, and the network
_LIMIT, _USED = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))


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
        ValueError: If they always are to be, and take more than this library loads.
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
    found = [2 * MAX_BYTES]
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found[1:] = [1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line]
    except OSError:  # not on Linux
        pass
    try:
        found.append(int(_LIMIT.read_text()) - int(_USED.read_text()))
    except (OSError, ValueError):  # no limit of a container
        pass
    return max(0, min(found))


def check_budget(count: int, shape: tuple[int, ...]) -> None:
    """Raises ValueError if ``count`` uint8 images of a shape do not fit into the budget."""
    size = count * int(np.prod(shape))
    if size > MAX_BYTES:
        raise ValueError(
            f"{count} images of shape {shape} take {size / 2**30:.1f} GiB of memory, more than "
            f"the {MAX_BYTES / 2**30:.0f} GiB that this library loads. Leave them on disk "
            "(--memory=never), or read fewer examples (--train_examples, --test_examples) or "
            "smaller images (--image_size)."
        )
