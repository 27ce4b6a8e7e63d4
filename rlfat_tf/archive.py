"""What a ``.keras`` file may hold: it is data, and loading it must not run what it says.

Keras's ``safe_mode`` refuses Lambda layers. Here whatever is no whole archive is refused, which
Keras 2 would read as a format of its past that no ``safe_mode`` guards, and every object of a
module that the file may not choose, which Keras 2 would import.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from rlfat_tf.compat import keras

PACKAGES = ("builtins", "keras", "tf_keras", "rlfat_tf", "tensorflow_addons")
DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, RuntimeError
)  # fmt: skip


class Damaged(ValueError):
    """A file is not whole."""


def check(path: Path) -> None:
    """Checks a ``.keras`` file before it is loaded.

    Raises:
        Damaged: If it is truncated or its content is not what was written.
        ValueError: If it names files outside of the archive, or objects of foreign modules.
    """
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
            names = file.namelist()
            config = json.loads(file.read("config.json"))
    except DAMAGE as error:
        raise Damaged(f"{path} is damaged, or is no .keras file ({error}).") from error
    if broken is not None:
        raise Damaged(f"{path} is damaged: its part {broken} is not what was written.")
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise ValueError(f"{path} is refused: it names the file {name!r}, outside of itself.")
    _check_objects(path, config)


def _check_objects(path: Path, config: Any) -> None:
    """Refuses objects that are neither of a known package nor registered, however deep."""
    pending = [config]
    while pending:
        entry = pending.pop()
        if isinstance(entry, list):
            pending.extend(entry)
        elif isinstance(entry, dict):
            pending.extend(entry.values())
            module = entry.get("module") if "class_name" in entry else None
            foreign = module is not None and str(module).split(".")[0] not in PACKAGES
            if foreign and keras.saving.get_registered_object(_name(entry)) is None:
                raise ValueError(
                    f"{path} is refused: it names {_name(entry)!r} of the module {module!r}, which "
                    "loading it would import. If you trust it, decorate that class or function "
                    "with @keras.saving.register_keras_serializable() and import it first."
                )


def _name(entry: dict[str, Any]) -> str:
    """Returns the name under which an object would be registered."""
    is_function = entry["class_name"] == "function"
    return str(entry.get("config") if is_function else entry.get("registered_name"))
