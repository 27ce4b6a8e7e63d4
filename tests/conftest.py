"""Loads :mod:`tests.fixtures`, unless this process only hands the tests to workers (pytest -n).

Such a process runs no test, and the workers wait for it: it need not import TensorFlow.
"""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Loads them where tests run."""
    hands_out = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not hands_out:
        config.pluginmanager.import_plugin("tests.fixtures")
