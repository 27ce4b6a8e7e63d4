"""A clean stop: SIGINT and SIGTERM are remembered, and acted on between two batches.

Several workers tell each other after every batch, since none can go on without the others: a signal
to one stops all. A second SIGINT stops at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from rlfat_tf.core.compat import keras
from rlfat_tf.core.types import Logs, Strategy
from rlfat_tf.run import distribution


class Interrupted(Exception):
    """The run was asked to stop by a signal; what it has done so far is on disk.

    Attributes:
        signal: The number of the signal.
    """

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


class Signals:
    """Remembers the signals that ask this process to stop, from :meth:`listen` to :meth:`restore`.

    Attributes:
        received: The number of the signal that came, here or to another worker; None before.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._handlers: dict[int, Any] = {}

    def listen(self) -> None:
        """Takes the signals over. Only the main thread of a process can: elsewhere, nothing."""
        if not self._handlers and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def restore(self) -> None:
        """Gives the signals back to whoever had them."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def asked_to_stop(self, strategy: Strategy) -> bool:
        """Tells whether a signal has come, here or to another worker; all workers must ask."""
        everywhere = distribution.gather_from_workers(strategy, [float(self.received or 0)])
        asked = int(everywhere.max())
        if asked:  # else one that came just now waits for the next time
            self.received = asked
        return bool(asked)

    def stop_if_asked(self, strategy: Strategy) -> None:
        """Raises :class:`Interrupted` if a signal has come."""
        if self.asked_to_stop(strategy):
            raise Interrupted(self.received or 0)


class StopTesting(keras.callbacks.Callback):
    """Stops an evaluation between two batches, where no part of it is worth a backup."""

    def __init__(self, signals: Signals):
        super().__init__()
        self._signals = signals

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stops if asked to."""
        self._signals.stop_if_asked(self.model.distribute_strategy)
