"""What all tests share: two logical CPU devices, and what is dear and made once.

A test pays for its seconds, most of which go into importing TensorFlow and tracing graphs:

- ``trained`` is a finished run, made once; ``trained_copy`` is a copy that a test may change.
- ``forks`` starts ``train.py`` and other programs in processes that have imported everything
  already, and ends them with the test.
- ``strategy2`` is two devices in one process.
- ``tfds_data_dir`` is where real images lie, if they do.

:mod:`tests.runs` has the configuration of a tiny run and what it means that two runs ended alike;
:mod:`tests.reference` has small networks and the equations in NumPy.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
import tensorflow as tf

# Distribution is tested on two devices. They must exist before TensorFlow initialises, hence here.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration(), tf.config.LogicalDeviceConfiguration()],
)

# Every mirrored strategy of a process numbers its collectives from the same start, and TensorFlow
# refuses a number that it has met with another shape. Tests make many strategies: each gets numbers
# of its own, by the attribute that TensorFlow keeps for tests.
_key_bases = itertools.count(step=1000)
tf.distribute.MirroredStrategy._collective_key_base = property(lambda self: next(_key_bases))


def _attributes_of_keras() -> dict[tuple[str, str], object]:
    """Whatever stands in Keras's modules and in the classes that they define."""
    tf.keras.Model  # noqa: B018 - imports Keras
    found: dict[tuple[str, str], object] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "keras":
            for key, value in list(vars(module).items()):
                found[name, key] = value
                if isinstance(value, type) and value.__module__.startswith("keras."):
                    owner = f"{value.__module__}.{value.__qualname__}"
                    found.update({(owner, each): of for each, of in vars(value).items()})
    return found


_before = _attributes_of_keras()
import rlfat_tf  # noqa: E402, F401 - it may initialise TensorFlow
from rlfat_tf.core.compat import KERAS_3  # noqa: E402

_after = _attributes_of_keras()
CHANGED_IN_KERAS = [key for key, value in _before.items() if _after.get(key) is not value]
del _before, _after

from rlfat_tf.run import train  # noqa: E402
from tests import runs  # noqa: E402
from tests.forks import Forks  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that start programs; skips tests marked `current` when Keras 2 runs.

    Those files take longest. When two workers share the files, none of them is left for the end.
    """
    starting = {item.path for item in items if "all_forks" in item.fixturenames}
    items.sort(key=lambda item: item.path not in starting)
    if KERAS_3:
        return
    skip = pytest.mark.skip(reason="end-to-end on the current stack only; this is Keras 2")
    for item in items:
        if item.get_closest_marker("current"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def tfds_data_dir() -> Path:
    """The folder of prepared TensorFlow Datasets that TFDS_DATA_DIR names."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder:
        pytest.skip("set TFDS_DATA_DIR to a folder of prepared TensorFlow Datasets")
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        pytest.fail(f"TFDS_DATA_DIR names {folder}, which is not a folder")
    return path


@pytest.fixture
def strategy2() -> tf.distribute.MirroredStrategy:
    """A mirrored strategy over the two logical CPU devices."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runs.Trained]:
    """A run that nothing happened to, of :data:`tests.runs.TRAINED`; it must stay as it is."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    made = runs.Trained(folder, train.run(runs.config(folder, **runs.TRAINED)))
    before = made.files()
    yield made
    assert made.files() == before, "a test has changed the run that all share"


@pytest.fixture
def trained_copy(trained: runs.Trained, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(trained.folder, tmp_path / "copy"))


@pytest.fixture(scope="session")
def all_forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """What starts programs in processes that need not import TensorFlow anew."""
    made = Forks(tmp_path_factory.mktemp("forks"))
    yield made
    made.close()


@pytest.fixture
def forks(all_forks: Forks) -> Iterator[Forks]:
    """The same, whose processes end with the test."""
    with all_forks.leaving_none():
        yield all_forks
