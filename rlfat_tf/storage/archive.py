"""What a ``.keras`` file may hold: it is data, and loading it must not run what it says.

Keras's ``safe_mode`` refuses Lambda layers. Here whatever is no whole archive is refused, which
Keras 2 would read as a format of its past that no ``safe_mode`` guards, and every object of a
module that the file may not choose, which Keras 2 would import. Keras 2 also keeps TensorFlow
functions of a model as layers, and calls them when it builds the model: only those are loaded that
compute and do nothing else.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from rlfat_tf.core.compat import keras

PACKAGES = ("builtins", "keras", "tf_keras", "rlfat_tf", "tensorflow_addons")
# What Keras 2 makes of an operation in a functional model, and what loads a whole program.
OPERATIONS = ("TFOpLambda", "SlicingOpLambda")
PROGRAMS = (
    "ClassMethod", "InstanceMethod", "InstanceProperty", "TensorFlowOpLayer", "TFSMLayer"
)  # fmt: skip
COMPUTING_MODULES = ("__operators__", "bitwise", "image", "linalg", "math", "nn", "signal")
COMPUTING = frozenset(
    "argsort boolean_mask broadcast_to cast clip_by_value concat convert_to_tensor einsum "
    "expand_dims eye fill gather gather_nd identity linspace meshgrid norm one_hot ones ones_like "
    "pad range rank repeat reshape reverse roll shape size slice sort split squeeze stack "
    "stop_gradient strided_slice tensordot tile transpose unstack where zeros zeros_like".split()
)
DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, RuntimeError
)  # fmt: skip


class Damaged(ValueError):
    """A file is not whole."""


def check(path: Path) -> None:
    """Checks a ``.keras`` file before it is loaded.

    Raises:
        Damaged: If it is truncated or its content is not what was written.
        ValueError: If it names files outside of the archive, objects of foreign modules, or
            operations that do more than compute.
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
                    "with @keras.utils.register_keras_serializable() and import it first."
                )
            if "class_name" in entry:
                _check_operation(path, entry)


def _check_operation(path: Path, entry: dict[str, Any]) -> None:
    """Refuses a layer that is a TensorFlow function, unless that is known to compute only."""
    kinds = {str(entry.get(k)).split(">")[-1] for k in ("class_name", "registered_name")}
    settings = entry.get("config")
    function = settings.get("function") if isinstance(settings, dict) else None
    harmless = True
    if kinds & {*PROGRAMS}:
        harmless = False
    elif kinds & {*OPERATIONS}:
        module, _, name = re.sub(r"^compat\.v[12]\.", "", str(function)).rpartition(".")
        harmless = module.split(".")[0] in COMPUTING_MODULES if module else name in COMPUTING
    if not harmless:
        raise ValueError(
            f"{path} is refused: its layer {sorted(kinds)[0]} of {function!r} may do more than "
            "compute, and loading it would run it. If you trust the file, load it with Keras, "
            "save its weights, and set them in a model that is built by your own code."
        )


def _name(entry: dict[str, Any]) -> str:
    """Returns the name under which an object would be registered."""
    is_function = entry["class_name"] == "function"
    return str(entry.get("config") if is_function else entry.get("registered_name"))
