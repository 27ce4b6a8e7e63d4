"""Watches a batch while it is attacked: how many passes it has taken, and how to stop it.

An attack on a batch is one graph, which may run for many minutes. It counts in a variable whenever
it asks the classifier, and stops there when it is told to; another thread waits for it, tells how
it goes and hears the user's Ctrl-C. No attack knows of this, so that it holds for every attack.
"""

from __future__ import annotations

import concurrent.futures
from typing import Callable, NamedTuple, TypeVar

import tensorflow as tf

from rlfat_tf.attacks import Attack
from rlfat_tf.core.types import Images, Logits, LogitsFn

SECONDS = 1.0  # between two looks at a batch
STOP = -(2**62)  # passes: so few that no count gets above 0 again

Result = TypeVar("Result")


class Standing(NamedTuple):
    """How far an attack is.

    Attributes:
        name: Of the attack.
        attack: The attack; None while clean images are classified.
        done: Examples that are done.
        total: Examples to do.
        robust: Examples of all that are still robust, as far as is known.
        seconds: Time spent.
        passes: Of the classifier over the batch that is attacked now; None when one has ended.
        running: Those of the seconds that went into the batch that is attacked now.
    """

    name: str
    attack: Attack | None
    done: int
    total: int
    robust: int
    seconds: float
    passes: int | None = None
    running: float = 0.0


OnProgress = Callable[[Standing], None]


class Watch:
    """Counts the passes of a classifier and stops between two of them."""

    def __init__(self) -> None:
        with tf.device("CPU:0"):
            self._passes = tf.Variable(0, trainable=False, dtype=tf.int64)

    @property
    def passes(self) -> int:
        """How many passes there were since the last call began."""
        return int(self._passes.numpy())

    def watched(self, logits_fn: LogitsFn) -> LogitsFn:
        """Returns the same classifier, whose passes in a graph are counted.

        Args:
            logits_fn: From images to logits.
        """

        def counting(images: Images) -> Logits:
            count = self._passes.assign_add(1)
            tf.raw_ops.Assert(condition=count > 0, data=["Stopped between two passes."])
            return logits_fn(images)

        return counting

    def call(self, work: Callable[[], Result], tell: Callable[[int], None]) -> Result:
        """Does the work on another thread, and tells of it in this one.

        Args:
            work: What to do; it asks the watched classifier.
            tell: Called every second with the number of passes so far. What it raises, and what a
                signal raises meanwhile, ends the work at its next pass and is raised here.
        """
        self._passes.assign(0)
        device = tf.zeros([]).device  # of this thread, for the other

        def there() -> Result:
            with tf.device(device):
                return work()

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            try:
                future = pool.submit(there)
                while not concurrent.futures.wait([future], SECONDS).done:
                    tell(self.passes)
            except BaseException:
                self._passes.assign(STOP)
                raise
            return future.result()
